/**
 * The player without its looks: follows the event's state, decides what is shown (`machine`), keeps it playing
 * (`playback`), remembers choices (`prefs`). It publishes one `Snapshot`; pages, the JavaScript API and tests read that
 * and call the methods.
 */
import { Store } from '../store'
import { eventOrigins, type Origin, type PageAddress, type PlayerOptions } from './address'
import type { EngineError, EngineOptions, MediaEngine } from './engine'
import { nextPhase, type Phase } from './machine'
import { liveLatency } from './latency'
import { NativeEngine } from './native-engine'
import { lacks, parseOffer, sameTrack, type Offer } from './offer'
import { Playback, type Carried, type PlaybackStatus } from './playback'
import { PreferenceStore } from './prefs'
import { StateSource, type Connection } from './source'
import { applyMessage, type EventState } from './state'
import { findLanguage, initialAudio, initialCaptions, type Level, type Track } from './tracks'

export interface TimeInfo {
  /** Seconds behind live, by the event's clock where it is known; null when nothing plays. */
  latency: number | null
  /** Seconds behind where a viewer at the live edge stands; 0 at the live edge. */
  behind: number
  atLive: boolean
  /** Seconds that one can go back from the live edge. */
  window: number
  /** Unix milliseconds of the playing position on the event's clock, to the second; null when unknown. */
  date: number | null
}

export interface Snapshot {
  phase: Phase
  connection: Connection
  event: EventState | null
  playback: PlaybackStatus
  /** Autoplay is off and the viewer has not pressed play yet. */
  awaitsPlay: boolean
  /** The browser refused sound; the viewer can turn it on. */
  soundBlocked: boolean
  muted: boolean
  volume: number
  levels: readonly Level[]
  /** Picked by hand, or -1 for automatic. */
  level: number
  currentLevel: number
  audioTracks: readonly Track[]
  audioTrack: number
  captionTracks: readonly Track[]
  captionTrack: number
  cues: readonly VTTCue[]
  time: TimeInfo
  /** Whether a picture of the past stands in while the element is empty. */
  frozen: boolean
  error: EngineError | null
  /** Longer without a word from the daemon than a viewer should wonder about. */
  offline: boolean
}

/** From here on behind the live edge, the button offers the way back. */
const AT_LIVE_TOLERANCE = 3
/** A DVR window shorter than this is just the hold-back and a few segments: no seek bar. */
export const DVR_MINIMUM = 20
/** A lost connection is shown after this time; most are over before. */
const OFFLINE_AFTER = 3000
/** New tracks are loaded within this time, spread over the viewers. */
const RELOAD_SPREAD = 1500
/** How long the playlist is waited for that says which tracks there are now. */
const OFFER_WITHIN = 5000
/** How long an answer on the event's status is waited for before a refused playlist is repaired as a failure. */
const ANSWER_WITHIN = 1000

const NO_TIME: TimeInfo = { latency: null, behind: 0, atLive: true, window: 0, date: null }

const INITIAL: Snapshot = {
  phase: 'connecting',
  connection: 'connecting',
  event: null,
  playback: 'idle',
  awaitsPlay: false,
  soundBlocked: false,
  muted: false,
  volume: 1,
  levels: [],
  level: -1,
  currentLevel: -1,
  audioTracks: [],
  audioTrack: -1,
  captionTracks: [],
  captionTrack: -1,
  cues: [],
  time: NO_TIME,
  frozen: false,
  error: null,
  offline: false,
}

/** Keeps the old list when nothing in it changed, so that nothing is drawn again for it. */
function keepEqual<T>(before: readonly T[], after: readonly T[]): readonly T[] {
  return JSON.stringify(before) === JSON.stringify(after) ? before : after
}

const tenth = (value: number): number => Math.round(value * 10) / 10

export class PlayerCore {
  readonly store = new Store<Snapshot>(INITIAL)
  readonly video: HTMLVideoElement
  readonly playback: Playback
  readonly preferences: PreferenceStore
  /** Holds the last picture while the element is emptied. */
  readonly freezeFrame: HTMLCanvasElement

  readonly #source: StateSource
  readonly #ends = new AbortController()
  #started: boolean
  #height: number | null = null
  #reloadTimer: number | null = null
  /** What the playlist offers now, beside what the engine read of it; ends with that engine. */
  #offer: { engine: MediaEngine; now: Offer } | null = null
  #offlineTimer: number | null = null
  /** Which server's word was taken last. */
  #speaker = 0
  /** The newest engine and the server it was given. */
  #loading: { engine: MediaEngine; from: number } | null = null

  constructor(
    private readonly page: PageAddress,
    readonly options: PlayerOptions,
    preferences = new PreferenceStore(),
  ) {
    this.preferences = preferences
    this.#started = options.autoplay
    const video = document.createElement('video')
    video.playsInline = true
    video.preload = 'auto'
    video.muted = options.muted
    video.volume = preferences.value.volume
    // Cast devices would need addresses and rights of their own.
    video.disableRemotePlayback = true
    this.video = video
    this.freezeFrame = document.createElement('canvas')
    this.playback = new Playback(video, {
      makeEngine: (events, carried) => this.#makeEngine(events, carried),
      stillLive: async () => {
        await Promise.race([this.#source.refresh(), new Promise((late) => setTimeout(late, ANSWER_WITHIN))])
        return this.store.value.phase === 'live'
      },
      visible: () => document.visibilityState === 'visible',
      onChange: () => this.#update(),
      onBlocked: (what) => {
        if (what === 'sound') this.store.patch({ soundBlocked: true })
        else this.store.patch({ awaitsPlay: true })
      },
      onError: (error) => {
        this.store.patch({ error })
        // A refused playlist mostly means that the status has changed and the word of it is still on its way.
        if (error?.httpStatus) void this.#source.refresh()
      },
      onDrained: () => this.#decide(),
      onFreeze: (frozen) => this.#freeze(frozen),
    })
    this.#followCaptions()
    this.#source = new StateSource(
      eventOrigins(page, options.preview, null, [])[0]!.state,
      (message, at) => this.#message(message, at),
      (connection) => this.#connection(connection),
    )
    this.store.patch({ muted: video.muted, volume: video.volume, awaitsPlay: !options.autoplay })
  }

  start(): void {
    const { signal } = this.#ends
    this.#source.start()
    // Fetched now, used when the event starts: by then the daemon may have been replaced by one with other files.
    if (this.options.engine !== 'native') import('./hls-engine').catch(() => undefined)
    addEventListener('online', () => {
      void this.#source.refresh()
      this.playback.hurry()
    }, { signal })
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') void this.#source.refresh()
    }, { signal })
  }

  destroy(): void {
    this.#ends.abort()
    this.#source.stop()
    if (this.#reloadTimer !== null) clearTimeout(this.#reloadTimer)
    if (this.#offlineTimer !== null) clearTimeout(this.#offlineTimer)
    this.playback.stop()
  }

  play(): void {
    this.#started = true
    this.store.patch({ awaitsPlay: false })
    if (this.playback.running) this.playback.play()
    else {
      this.playback.wanted = true
      this.#decide()
    }
  }

  pause(): void {
    this.playback.pause()
  }

  togglePlay(): void {
    const { playback } = this.store.value
    if (playback === 'idle' || playback === 'paused' || this.store.value.awaitsPlay) this.play()
    else this.pause()
  }

  setMuted(muted: boolean): void {
    this.video.muted = muted
    // Silence at volume 0 would look like a broken button.
    if (!muted && this.video.volume === 0) this.setVolume(0.5)
    this.store.patch({ soundBlocked: false })
    this.#update()
  }

  /** @param volume 0 to 1; anything above 0 also ends a mute. */
  setVolume(volume: number): void {
    const clamped = Math.min(1, Math.max(0, volume))
    this.video.volume = clamped
    if (clamped > 0) {
      this.video.muted = false
      this.store.patch({ soundBlocked: false })
    }
    this.preferences.set({ volume: clamped })
    this.#update()
  }

  setAudioTrack(index: number): void {
    const track = this.store.value.audioTracks.find((one) => one.index === index)
    if (!track) return
    this.preferences.set({ language: { language: track.language, name: track.name } })
    const engine = this.playback.engine
    const own = this.#offered() ? sameTrack(engine?.audioTracks() ?? [], track) : index
    // A language that came while it was live: the new engine starts with it.
    if (own === -1) this.playback.reload()
    else engine?.setAudioTrack(own)
    this.#update()
  }

  /** By BCP 47 tag or name; a language that is not offered is remembered for when it is. @returns whether it is. */
  setLanguage(wish: string): boolean {
    const index = findLanguage(this.store.value.audioTracks, wish)
    if (index >= 0) this.setAudioTrack(index)
    else this.preferences.set({ language: { language: wish, name: wish } })
    return index >= 0
  }

  /** -1 switches captions off. */
  setCaptionTrack(index: number): void {
    const track = this.store.value.captionTracks.find((one) => one.index === index)
    if (!track && index >= 0) return
    this.preferences.set({ captions: track ? track.language || track.name : 'off' })
    const engine = this.playback.engine
    const own = track && this.#offered() ? sameTrack(engine?.captionTracks() ?? [], track) : index
    if (track && own === -1) this.playback.reload()
    else engine?.setCaptionTrack(own)
    this.#update()
  }

  /** By tag or name, null for off. @returns whether it could be done. */
  setCaptions(wish: string | null): boolean {
    if (wish === null || wish === 'off') {
      this.setCaptionTrack(-1)
      return true
    }
    const index = findLanguage(this.store.value.captionTracks, wish)
    if (index >= 0) this.setCaptionTrack(index)
    else this.preferences.set({ captions: wish })
    return index >= 0
  }

  /** On with the language last used, or off. */
  toggleCaptions(): void {
    const { captionTracks, captionTrack, audioTracks, audioTrack } = this.store.value
    if (captionTrack >= 0) {
      this.#lastCaptions = captionTrack
      this.setCaptionTrack(-1)
      return
    }
    const heard = audioTracks.find((track) => track.index === audioTrack)
    const same = heard ? findLanguage(captionTracks, heard.language) : -1
    const index = captionTracks.some((track) => track.index === this.#lastCaptions) ? this.#lastCaptions : same
    this.setCaptionTrack(index >= 0 ? index : (captionTracks[0]?.index ?? -1))
  }
  #lastCaptions = -1

  /** -1 is automatic. */
  setLevel(index: number): void {
    this.#height = this.store.value.levels.find((level) => level.index === index)?.height ?? null
    this.playback.engine?.setLevel(index)
    this.#update()
  }

  /** The rung of that many lines, null for automatic. @returns whether there is one. */
  setQuality(height: number | null): boolean {
    const level = height === null ? null : this.store.value.levels.find((one) => one.height === height)
    if (level === undefined) return false
    this.setLevel(level?.index ?? -1)
    return true
  }

  /** @param behind seconds behind the live edge */
  seekBehind(behind: number): void {
    const window = this.playback.engine?.liveWindow()
    if (!window) return
    this.playback.seek(window.target - Math.max(0, behind))
    this.#update()
  }

  /** @param seconds forward, or back when negative */
  seekBy(seconds: number): void {
    this.playback.seek(this.video.currentTime + seconds)
    this.#update()
  }

  goLive(): void {
    this.seekBehind(0)
    this.play()
  }

  /** The servers that carry the event, the page's own first. */
  #origins(): Origin[] {
    const { event } = this.store.value
    return eventOrigins(this.page, this.options.preview, event?.hlsUrl ?? null, event?.otherOrigins ?? [])
  }

  /** @param at which of the servers says so */
  #message(message: unknown, at: number): boolean {
    const previous = this.store.value.event
    const root = this.#origins()[at]?.root ?? this.page.root
    let event = applyMessage(previous, message, root, Date.now())
    // Another server has a say from when it is on air: before, nobody was sent to it, and its status is not the event's.
    if (at > 0 && at !== this.#speaker && event?.status !== 'started') return false
    this.#speaker = at
    if (event === previous) return true
    // Which others there are is for the page's own server to say: each one names those that are not itself.
    if (at > 0 && event && previous) event = { ...event, hlsUrl: previous.hlsUrl, otherOrigins: previous.otherOrigins }
    this.store.patch({ event })
    if (at === 0) this.#source.setOthers(this.#origins().slice(1).map((origin) => origin.state))
    this.#decide()
    if (previous && event && event.tracksVersion !== previous.tracksVersion && this.store.value.phase === 'live') {
      this.#reloadTimer ??= window.setTimeout(() => {
        this.#reloadTimer = null
        void this.#tracksChanged()
      }, Math.random() * RELOAD_SPREAD)
    }
    return true
  }

  /**
   * Takes in which tracks there are now. Playback goes on without a break when what plays is still what the viewer wants;
   * when it is gone (then the floor is what is left), or one that was missed has come, the engine is replaced.
   */
  async #tracksChanged(): Promise<void> {
    const { playback, preferences, options } = this
    const engine = playback.engine
    if (!engine?.ready) return playback.reload()
    const offer = await this.#fetchOffer()
    if (playback.engine !== engine || !playback.running) return
    // A list that the browser follows by itself tells us no indices of its own.
    if (!offer || engine.kind === 'native') return playback.reload()
    const present = engine.audioTracks()
    const audio = initialAudio(offer.audio, preferences.value.language, options.language)
    const captions = initialCaptions(offer.captions, preferences.value.captions, options.captions)
    if (lacks(offer.audio, audio, present) || lacks(offer.captions, captions, engine.captionTracks())) return playback.reload()
    this.#offer = { engine, now: offer }
    const wanted = sameTrack(present, offer.audio[audio])
    if (wanted >= 0 && wanted !== engine.audioTrack()) engine.setAudioTrack(wanted)
    const shown = sameTrack(engine.captionTracks(), offer.captions[captions])
    if (shown !== engine.captionTrack()) engine.setCaptionTrack(shown)
    this.#update()
  }

  async #fetchOffer(): Promise<Offer | null> {
    const origins = this.#origins()
    const { playlist } = origins[this.#source.at] ?? origins[0]!
    try {
      const response = await fetch(playlist, { cache: 'no-store', signal: AbortSignal.timeout(OFFER_WITHIN) })
      return response.ok ? parseOffer(await response.text()) : null
    } catch {
      return null
    }
  }

  #offered(): Offer | null {
    return this.#offer?.engine === this.playback.engine ? this.#offer.now : null
  }

  #connection(connection: Connection): void {
    this.store.patch({ connection })
    if (connection === 'online') {
      if (this.#offlineTimer !== null) clearTimeout(this.#offlineTimer)
      this.#offlineTimer = null
      this.store.patch({ offline: false })
      this.playback.hurry()
    } else {
      this.#offlineTimer ??= window.setTimeout(() => this.store.patch({ offline: true }), OFFLINE_AFTER)
    }
    this.#decide()
  }

  #decide(): void {
    const { phase: current, event, connection } = this.store.value
    const phase = nextPhase(current, {
      status: event?.status ?? null,
      connection,
      preview: this.options.preview !== null,
      holding: this.playback.holding,
    })
    if (phase !== current) this.store.patch({ phase })
    if (phase === 'live') {
      if (this.#started) this.playback.start()
    } else if (phase === 'draining') {
      this.playback.drain()
    } else if (this.playback.running) {
      this.playback.stop()
      this.store.patch({ error: null, cues: [] })
    }
  }

  async #makeEngine(events: ConstructorParameters<typeof NativeEngine>[2], carried: Carried): Promise<MediaEngine | null> {
    const { preferences, options, video } = this
    const origins = this.#origins()
    // From the server that is heard, or from the next one when the last engine was given no playlist.
    const from = this.#loading && !this.#loading.engine.ready ? this.#loading.from + 1 : this.#source.at
    const origin = origins[from % origins.length]!
    const made = <E extends MediaEngine>(engine: E): E => {
      this.#loading = { engine, from: from % origins.length }
      return engine
    }
    const engineOptions: EngineOptions = {
      url: origin.playlist,
      chooseAudio: (tracks) => initialAudio(tracks, preferences.value.language, options.language),
      chooseCaptions: (tracks) => initialCaptions(tracks, preferences.value.captions, options.captions),
      height: this.#height,
      ...carried,
    }
    if (options.engine !== 'native') {
      // A chunk of its own: the page with its countdown does not wait for it.
      const { HlsEngine } = await import('./hls-engine')
      if (HlsEngine.supported()) return made(new HlsEngine(video, engineOptions, events))
    }
    return NativeEngine.supported(video) ? made(new NativeEngine(video, engineOptions, events)) : null
  }

  #update(): void {
    const { playback, video, store } = this
    const { engine } = playback
    const before = store.value
    store.patch({
      playback: playback.status,
      muted: video.muted,
      volume: video.volume,
      soundBlocked: before.soundBlocked && video.muted,
    })
    // While it is loaded anew, the menus stay as they were.
    if (engine?.ready || !playback.running) {
      const offer = this.#offered()
      const audio = engine?.audioTracks() ?? []
      const captions = engine?.captionTracks() ?? []
      /** The engine's choice, by its place in the list that is shown. */
      const shown = (list: readonly Track[], all: readonly Track[], index: number): number =>
        offer ? sameTrack(list, all.find((track) => track.index === index)) : index
      store.patch({
        levels: keepEqual(before.levels, engine?.levels() ?? []),
        level: engine?.level() ?? -1,
        currentLevel: engine?.currentLevel() ?? -1,
        audioTracks: keepEqual(before.audioTracks, offer?.audio ?? audio),
        audioTrack: shown(offer?.audio ?? [], audio, engine?.audioTrack() ?? -1),
        captionTracks: keepEqual(before.captionTracks, offer?.captions ?? captions),
        captionTrack: shown(offer?.captions ?? [], captions, engine?.captionTrack() ?? -1),
      })
    }
    const time = this.#time()
    if (JSON.stringify(time) !== JSON.stringify(before.time)) store.patch({ time })
  }

  #time(): TimeInfo {
    const engine = this.playback.engine
    const window = engine?.liveWindow()
    if (!engine || !window) return NO_TIME
    const behind = Math.max(0, window.target - this.video.currentTime)
    const date = engine.playingDate()
    const serverNow = Date.now() + (this.store.value.event?.clockOffset ?? 0)
    const latency = liveLatency(date?.getTime() ?? null, serverNow, engine.latency())
    return {
      latency: latency === null ? null : tenth(latency),
      behind: tenth(behind),
      atLive: behind < AT_LIVE_TOLERANCE,
      window: Math.floor(Math.max(0, window.target - window.start)),
      date: date ? Math.round(date.getTime() / 1000) * 1000 : null,
    }
  }

  #freeze(frozen: boolean): void {
    const { video, freezeFrame } = this
    if (frozen) {
      // What is on screen already, when a second try follows a first that showed nothing.
      if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || video.videoWidth === 0) return
      freezeFrame.width = video.videoWidth
      freezeFrame.height = video.videoHeight
      freezeFrame.getContext('2d')?.drawImage(video, 0, 0)
    }
    this.store.patch({ frozen })
  }

  /** Cues of whichever captions track is on; the engines leave its mode at `hidden`, so that only we draw it. */
  #followCaptions(): void {
    const { textTracks } = this.video
    const update = () => {
      const cues: VTTCue[] = []
      for (const track of textTracks) {
        if (track.mode === 'disabled' || (track.kind !== 'subtitles' && track.kind !== 'captions')) continue
        for (const cue of track.activeCues ?? []) cues.push(cue as VTTCue)
      }
      const before = this.store.value.cues
      if (cues.length !== before.length || cues.some((cue, i) => cue !== before[i])) this.store.patch({ cues })
    }
    textTracks.addEventListener('addtrack', ({ track }) => track?.addEventListener('cuechange', update))
    textTracks.addEventListener('change', update)
    textTracks.addEventListener('removetrack', update)
  }
}
