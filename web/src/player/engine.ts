import type { Level, Track } from './tracks'

/** What went wrong, in a form that pages put into words. */
export interface EngineError {
  code:
    /** The playlist or a segment cannot be had; tried again by itself. */
    | 'network'
    /** What arrived cannot be decoded; tried again by itself. */
    | 'media'
    /** This browser lacks what it takes to play (no MSE, or none of the codecs). Final. */
    | 'unsupported'
  /** The technical detail, for reports. */
  detail: string
  /** HTTP status where there is one. */
  httpStatus: number | null
}

export interface EngineEvents {
  /** The playlist is there: tracks and levels are known. */
  onReady(): void
  /** Something arrived: a slow line is not a broken one. */
  onActivity(): void
  /** Levels, tracks or the selection among them changed. */
  onTracks(): void
  /** Playback cannot go on without `core` doing something about it. */
  onFatal(error: EngineError): void
  /** Something failed and is being dealt with. */
  onTrouble(error: EngineError): void
}

/** What can be played now, in seconds of the element's time. */
export interface LiveWindow {
  start: number
  /** The newest moment that exists. */
  edge: number
  /** Where a viewer at the live edge stands: `edge` less the hold-back. */
  target: number
}

export interface EngineOptions {
  url: string
  /** Index of the audio track to start with, once the tracks are known. */
  chooseAudio(tracks: readonly Track[]): number
  chooseCaptions(tracks: readonly Track[]): number
  /** A level picked by hand survives a reload by its height; null is automatic. */
  height: number | null
  /** Seconds behind the newest moment to begin at; null as the playlist says. */
  holdBack: number | null
  /** Bits per second that were measured before, null when nothing was. */
  bandwidth: number | null
}

/** Plays one playlist on one element. An engine is used once: to load anew, destroy it and make another. */
export interface MediaEngine {
  readonly kind: 'hls.js' | 'native'
  /** The playlist was read: levels and tracks can be asked for. */
  readonly ready: boolean
  load(): void
  destroy(): void
  /** Goes on loading after a fatal network error, without giving up what is buffered. */
  resumeLoading(): void
  /** Goes on from another server, where the playlist names one. @returns whether it does. */
  moveOn(): boolean
  /** Tries to repair after a fatal media error, without loading anew. */
  recoverMedia(): void
  levels(): Level[]
  /** The level picked by hand, -1 when automatic. */
  level(): number
  /** The level on screen, -1 when unknown. */
  currentLevel(): number
  setLevel(index: number): void
  audioTracks(): Track[]
  audioTrack(): number
  setAudioTrack(index: number): void
  captionTracks(): Track[]
  captionTrack(): number
  setCaptionTrack(index: number): void
  /** Keeps automatic quality to at most so many lines; null for what the player's size shows. */
  setMostHeight(height: number | null): void
  /** Bits per second as measured, null when unknown. */
  bandwidth(): number | null
  liveWindow(): LiveWindow | null
  /** Seconds behind the newest moment that the playlist asks to stay, null when unknown. */
  holdBack(): number | null
  /** Stays so many seconds behind the newest moment instead. Where `paced` is false, the browser keeps its own counsel. */
  setHoldBack(seconds: number): void
  readonly paced: boolean
  /** Seconds behind the newest listed moment, 0 at least; null when unknown. */
  latency(): number | null
  /** The wall clock of the event at the playing position. */
  playingDate(): Date | null
}
