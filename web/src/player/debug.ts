/**
 * `window.__boothcast`: what end-to-end tests and support read. Stable: names here are kept, new ones may be added; read
 * only, but for `core` and `hls`, which are the objects themselves and promise nothing.
 */
import type Hls from 'hls.js'
import type { PlayerCore, Snapshot } from './core'
import type { PlaybackCounters } from './playback'

export interface Stats {
  /** `connecting`, `holding`, `live`, `draining`, `paused`, `ended`, `gone`, `denied`. */
  phase: Snapshot['phase']
  /** As the daemon said last. */
  status: string | null
  /** `idle`, `loading`, `playing`, `stalled`, `paused`. */
  playback: Snapshot['playback']
  connection: Snapshot['connection']
  engine: 'hls.js' | 'native' | null
  /** The server that it plays from, by PATHWAY-ID; null when the event has one alone. */
  pathway: string | null
  /** Times that it went on from another server because nothing came. */
  moves: number
  /** `currentTime` in seconds. */
  position: number
  /** Seconds that can be played without loading. */
  buffered: number
  /** End of the last buffered range in the element's time. */
  buffered_end: number
  /** Seconds behind the newest listed moment (sound or picture, whichever is newer), and what is aimed at. */
  latency: number | null
  target_latency: number | null
  /** Seconds behind live as the page shows it: by the event's clock where it is known. */
  live_latency: number | null
  /** Seconds of the target that stalls have added to the playlist's hold-back. */
  extra_hold_back: number
  /** Event timeline (PROGRAM-DATE-TIME) at `position`, Unix milliseconds. */
  playing_date: number | null
  /** Seconds that one can go back. */
  window: number
  playback_rate: number
  muted: boolean
  decoded_frames: number
  dropped_frames: number
  width: number
  height: number
  /** Bytes of sound decoded, where the browser tells (Chromium). */
  audio_bytes: number | null
  video_bytes: number | null
  stalls: number
  stalled_seconds: number
  resumes: number
  jumps: number
  reloads: number
  /** Times that the page was told of trouble. */
  alarms: number
  /** Lines that automatic quality does not exceed because this machine did not keep up, null for any. */
  most_height: number | null
  levels: { height: number; bitrate: number }[]
  /** Index by hand or -1, and the one on screen. */
  level: number
  current_level: number
  /** Bits per second as measured. */
  bandwidth: number | null
  audio_tracks: { name: string; language: string }[]
  audio_track: number
  caption_tracks: { name: string; language: string }[]
  caption_track: number
  /** Texts of the captions on screen. */
  captions: string[]
  errors: PlaybackCounters['errors']
}

export interface DebugHandle {
  version: 1
  readonly core: PlayerCore
  readonly video: HTMLVideoElement
  readonly hls: Hls | null
  stats(): Stats
}

declare global {
  interface Window {
    __boothcast?: DebugHandle
  }
}

/** Non-standard counters that Chromium has. */
type ChromiumVideo = HTMLVideoElement & { webkitAudioDecodedByteCount?: number; webkitVideoDecodedByteCount?: number }

export function exposeForTests(core: PlayerCore): void {
  const hls = (): Hls | null => {
    const engine = core.playback.engine
    return engine?.kind === 'hls.js' ? (engine as unknown as { hls: Hls }).hls : null
  }
  window.__boothcast = {
    version: 1,
    core,
    video: core.video,
    get hls() {
      return hls()
    },
    stats() {
      const snapshot = core.store.value
      const video = core.video as ChromiumVideo
      const engine = core.playback.engine
      const { counters } = core.playback
      const quality = video.getVideoPlaybackQuality()
      const end = video.buffered.length > 0 ? video.buffered.end(video.buffered.length - 1) : 0
      const names = (tracks: Snapshot['audioTracks']) => tracks.map(({ name, language }) => ({ name, language }))
      return {
        phase: snapshot.phase,
        status: snapshot.event?.status ?? null,
        playback: snapshot.playback,
        connection: snapshot.connection,
        engine: engine?.kind ?? null,
        pathway: hls()?.levels[hls()?.loadLevel ?? -1]?.attrs['PATHWAY-ID'] ?? null,
        moves: counters.moves,
        position: video.currentTime,
        buffered: Math.max(0, end - video.currentTime),
        buffered_end: end,
        latency: engine?.latency() ?? null,
        target_latency: hls()?.targetLatency ?? null,
        live_latency: snapshot.time.latency,
        extra_hold_back: core.playback.pace.extra,
        playing_date: engine?.playingDate()?.getTime() ?? null,
        window: snapshot.time.window,
        playback_rate: video.playbackRate,
        muted: video.muted,
        decoded_frames: quality.totalVideoFrames,
        dropped_frames: quality.droppedVideoFrames,
        width: video.videoWidth,
        height: video.videoHeight,
        audio_bytes: video.webkitAudioDecodedByteCount ?? null,
        video_bytes: video.webkitVideoDecodedByteCount ?? null,
        stalls: counters.stalls,
        stalled_seconds: counters.stalledMs / 1000,
        resumes: counters.resumes,
        jumps: counters.jumps,
        reloads: counters.reloads,
        alarms: counters.alarms,
        most_height: core.playback.strain.most,
        levels: snapshot.levels.map(({ height, bitrate }) => ({ height, bitrate })),
        level: engine?.level() ?? -1,
        current_level: engine?.currentLevel() ?? -1,
        bandwidth: hls()?.bandwidthEstimate ?? null,
        audio_tracks: names(snapshot.audioTracks),
        audio_track: snapshot.audioTrack,
        caption_tracks: names(snapshot.captionTracks),
        caption_track: snapshot.captionTrack,
        captions: snapshot.cues.map((cue) => cue.text),
        errors: [...counters.errors],
      }
    },
  }
}
