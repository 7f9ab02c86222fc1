/**
 * Keeps one media element playing one playlist for as long as it is told to. It loads, notices when playback stands
 * still, repairs from the mildest means to the strongest (load on, jump to the live edge, load anew), and plays out what
 * it holds when told to drain. It never gives up: between two tries it waits at most `RETRY_MAX`.
 */
import type { EngineError, EngineEvents, EngineOptions, MediaEngine } from './engine'
import { Pace } from './pace'
import { Strain } from './rungs'

/** First wait before a repair; doubled up to `RETRY_MAX`. */
const RETRY_MIN = 300
/** Longest wait between two tries: a player is back within 5 s of the stream. */
const RETRY_MAX = 1600
/** How often playback is looked at. */
const TICK = 150
/** A standstill this long is a stall that the viewer sees: the wait sign shows and it is counted. */
const STALL_AFTER = 350
/** When nothing has arrived for this long at a standstill, another server is turned to where there is one… */
const MOVE_AFTER = 1200
/** … and then the next one after this. */
const MOVE_AGAIN = 4000
/** A standstill this long is not going to end by itself: jump over a hole, to the live edge. */
const JUMP_AFTER = 2500
/** … and this long without anything arriving either: load everything anew. Doubled with each try that fails… */
const RELOAD_AFTER = 5500
/** … up to this. */
const RELOAD_MAX = 22_000
/** Data may arrive and yet not play: a standstill this many times longer is ended regardless. */
const RELOAD_REGARDLESS = 2.5
/**
 * A viewer who follows the live edge and was thrown back this far by a stall is taken to it again. Less is made up for by
 * playing a little faster (`pace`).
 */
const FOLLOW_WITHIN = 3
/** Such a jump needs time to show its effect. */
const FOLLOW_AGAIN = 4000
/** Answers that say "not for you, or no more": an event that pauses or ends gives them before the word of it arrives. */
const REFUSALS = [401, 403, 404, 410]
/** How often the decoder is looked at. */
const SAMPLE_EVERY = 1000
/** While draining, the end of what is held is reached when playback stands still for this long at the edge… */
const DRAINED_AT_EDGE = 300
/** … or this long before it, since the rest is still served for a hold-back time but may not arrive. */
const DRAINED_BEFORE_EDGE = 1200
/** Playing this long without trouble forgives the failures before it. */
const HEALTHY_AFTER = 3000
/** A second media error within this time is not repaired in place again. */
const MEDIA_ERROR_AGAIN = 10_000

export interface PlaybackCounters {
  /** Times playback stood still although it was wanted, after it had begun. */
  stalls: number
  stalledMs: number
  /** Repairs of each kind. */
  resumes: number
  jumps: number
  reloads: number
  /** Times that it went on from another server because nothing came. */
  moves: number
  /** Times that the page was told of trouble; what passes or belongs to a pause or an end is not. */
  alarms: number
  /** The newest errors, oldest first. */
  errors: { at: string; code: string; detail: string; fatal: boolean }[]
}

/** Errors kept for reports. */
const MAX_ERRORS = 50

export interface PlaybackHost {
  /** Makes an engine for the present choices; null when this browser can play nothing of the kind. */
  makeEngine(events: EngineEvents, carried: Carried): Promise<MediaEngine | null>
  /** Asks whether the event is still on air, and answers soon, also when nobody answers. */
  stillLive(): Promise<boolean>
  /** Whether the viewer sees the page; browsers drop pictures of those not seen. */
  visible(): boolean
  /** Something that `Playback` shows has changed. */
  onChange(): void
  /** Sound (muted playback began instead) or all playback is refused until the viewer does something. */
  onBlocked(what: 'sound' | 'playback'): void
  /** A fatal error, or null once playback is well again. */
  onError(error: EngineError | null): void
  /** What was held when draining began is played out. */
  onDrained(): void
  /** A picture should stay on screen while the element is emptied. */
  onFreeze(frozen: boolean): void
}

/** What one engine leaves to the next. */
export type Carried = Pick<EngineOptions, 'holdBack' | 'bandwidth'>

export type PlaybackStatus =
  /** Nothing is loaded. */
  | 'idle'
  /** Loading; nothing was shown yet. */
  | 'loading'
  | 'playing'
  /** Standing still against our will. */
  | 'stalled'
  /** Paused by the viewer. */
  | 'paused'

export class Playback {
  readonly counters: PlaybackCounters = { stalls: 0, stalledMs: 0, resumes: 0, jumps: 0, reloads: 0, moves: 0, alarms: 0, errors: [] }
  engine: MediaEngine | null = null
  /** Whether the viewer wants it to play, as opposed to what it does. */
  wanted = true

  readonly pace = new Pace()
  readonly strain = new Strain()

  #generation = 0
  #running = false
  #draining = false
  #ready = false
  #shown = false
  #stalled = false
  /** When the present or last stall began. */
  #stallBegan = -Infinity
  /** Something could not be had or was repaired: a stall after it is not for want of distance. */
  #lastTrouble = -Infinity
  #lastSample = -Infinity
  #carried: Carried = { holdBack: null, bandwidth: null }
  #doubting = false
  #alarmed = false
  #jumped = false
  #broken = false
  #failures = 0
  #lastPosition = -1
  #lastProgress = 0
  #lastActivity = 0
  #reloadAfter = RELOAD_AFTER
  #lastMediaError = -Infinity
  #healthySince = 0
  /** The viewer is at the live edge by wish: did not seek back, did not pause. */
  #following = true
  #lastJump = -Infinity
  #lastMove = -Infinity
  #retryTimer: number | null = null
  #ticker: number | null = null

  constructor(
    readonly video: HTMLVideoElement,
    private readonly host: PlaybackHost,
    /** Monotonic milliseconds. */
    private readonly now: () => number = () => performance.now(),
  ) {
    video.addEventListener('pause', () => {
      // By media keys, the picture-in-picture window, or us: all are the viewer's wish. At its end it pauses by itself.
      if (this.#running && !video.ended && this.#shown) {
        this.wanted = false
        this.#following = false
        host.onChange()
      }
    })
    video.addEventListener('play', () => {
      this.wanted = true
      this.#lastProgress = this.now()
      host.onChange()
    })
    video.addEventListener('playing', () => {
      this.#shown = true
      host.onFreeze(false)
      host.onChange()
    })
    for (const name of ['volumechange', 'seeking', 'seeked', 'waiting', 'ended']) {
      video.addEventListener(name, () => host.onChange())
    }
  }

  get status(): PlaybackStatus {
    if (!this.#running || this.engine === null) return this.#running ? 'loading' : 'idle'
    if (!this.#shown) return this.wanted ? 'loading' : 'paused'
    if (this.video.paused) return 'paused'
    return this.#stalled ? 'stalled' : 'playing'
  }

  get running(): boolean {
    return this.#running
  }

  /** Whether something is being played that the viewer would be cut off from. */
  get holding(): boolean {
    return this.#running && this.#shown && !this.video.paused && !this.video.ended && !this.#playedOut()
  }

  start(): void {
    if (this.#running) {
      if (this.#draining) {
        // Resumed before all was played out: go on from here.
        this.#draining = false
        this.#lastProgress = this.now()
        if (this.#broken) this.#scheduleRepair()
      }
      return
    }
    this.#running = true
    this.#draining = false
    this.#failures = 0
    this.#ticker = window.setInterval(() => this.#tick(), TICK)
    void this.#load()
  }

  /** Ends playback at once and empties the element. */
  stop(): void {
    this.#running = false
    this.#draining = false
    this.#generation += 1
    if (this.#ticker !== null) window.clearInterval(this.#ticker)
    this.#ticker = null
    this.#cancelRepair()
    this.#unload()
    this.host.onFreeze(false)
    this.host.onChange()
  }

  /** Plays out what is held, then tells `onDrained`. What may still be fetched is fetched; failures no longer matter. */
  drain(): void {
    if (!this.#running || this.#draining) return
    this.#draining = true
    this.#cancelRepair()
    this.#tick()
  }

  /** Loads anew at the live edge, keeping the last picture on screen. */
  reload(): void {
    if (!this.#running || this.#draining) return
    this.counters.reloads += 1
    this.host.onFreeze(true)
    this.#unload()
    void this.#load()
  }

  /** The network is back: do not wait for the next try. */
  hurry(): void {
    if (this.#retryTimer === null) return
    this.#cancelRepair()
    this.#repair()
  }

  play(): void {
    this.wanted = true
    if (!this.#running) return
    const window = this.engine?.liveWindow()
    // After a pause longer than what is kept, only the live edge is left.
    if (window && this.video.currentTime < window.start) this.video.currentTime = window.target
    void this.#tryPlay()
  }

  pause(): void {
    this.wanted = false
    this.video.pause()
    this.host.onChange()
  }

  seek(position: number): void {
    const window = this.engine?.liveWindow()
    if (!window) return
    this.#following = position > window.target - FOLLOW_WITHIN
    this.video.currentTime = Math.min(Math.max(position, window.start), window.target)
    this.#lastProgress = this.now()
  }

  async #load(): Promise<void> {
    const generation = ++this.#generation
    const current = () => this.#running && generation === this.#generation
    this.#ready = false
    this.#shown = false
    this.#broken = false
    this.#lastPosition = -1
    this.#lastProgress = this.now()
    // Loading begins at the live edge.
    this.#following = true
    this.host.onChange()
    let engine: MediaEngine | null
    try {
      engine = await this.host.makeEngine({
        onReady: () => {
          if (!current()) return
          this.#ready = true
          this.#lastProgress = this.now()
          this.host.onChange()
          if (this.wanted) void this.#tryPlay()
        },
        onActivity: () => {
          if (current()) this.#lastActivity = this.now()
        },
        onTracks: () => {
          if (current()) this.host.onChange()
        },
        onTrouble: (error) => {
          if (!current()) return
          this.#note(error, false)
          if (error.code === 'network') this.#lastTrouble = this.now()
          if (this.#refused(error)) void this.#doubt(error)
        },
        onFatal: (error) => {
          if (current()) this.#fatal(error)
        },
      }, this.#carried)
    } catch (cause) {
      // The engine's own code could not be fetched: the daemon is away.
      if (current()) this.#fatal({ code: 'network', detail: `player code: ${String(cause)}`, httpStatus: null })
      return
    }
    if (!current()) {
      engine?.destroy()
      return
    }
    if (engine === null) {
      this.#alarm({ code: 'unsupported', detail: 'no MediaSource and no native HLS', httpStatus: null })
      return
    }
    this.engine = engine
    this.strain.restart()
    engine.setMostHeight(this.strain.most)
    engine.load()
    this.host.onChange()
  }

  #unload(): void {
    this.#cancelRepair()
    const engine = this.engine
    if (engine) {
      const base = engine.holdBack()
      this.#carried = {
        holdBack: base !== null && this.pace.extra > 0 ? base + this.pace.extra : null,
        bandwidth: engine.bandwidth() ?? this.#carried.bandwidth,
      }
    }
    this.engine = null
    this.#shown = false
    this.#stalled = false
    engine?.destroy()
  }

  async #tryPlay(): Promise<void> {
    const { video } = this
    const generation = this.#generation
    try {
      await video.play()
    } catch (cause) {
      if (generation !== this.#generation || !this.wanted || (cause as DOMException).name !== 'NotAllowedError') return
      if (!video.muted) {
        // Browsers refuse sound before the viewer has touched the page; pictures without it are mostly allowed.
        video.muted = true
        this.host.onBlocked('sound')
        await this.#tryPlay()
      } else {
        this.host.onBlocked('playback')
      }
    }
  }

  #note(error: EngineError, fatal: boolean): void {
    const { errors } = this.counters
    errors.push({ at: new Date().toISOString(), code: error.code, detail: error.detail, fatal })
    if (errors.length > MAX_ERRORS) errors.shift()
  }

  #alarm(error: EngineError): void {
    if (!this.#alarmed) this.counters.alarms += 1
    this.#alarmed = true
    this.host.onError(error)
  }

  #calm(): void {
    this.#alarmed = false
    this.host.onError(null)
  }

  /** Refused while something plays: then there are two reasons to tell apart. */
  #refused(error: EngineError): boolean {
    return error.httpStatus !== null && REFUSALS.includes(error.httpStatus) && this.#shown && !this.#draining
  }

  /**
   * An event that pauses or ends takes its playlists away a moment before the word of it is here, so the event is asked.
   * Meanwhile the engine tries again by itself, what is held plays on, and nobody is told of trouble.
   */
  async #doubt(error: EngineError): Promise<void> {
    if (this.#doubting) return
    this.#doubting = true
    const generation = this.#generation
    const live = await this.host.stillLive()
    this.#doubting = false
    if (!this.#running || generation !== this.#generation || this.#draining || !live) return
    this.#note(error, true)
    this.#alarm(error)
    this.#broken = true
    this.#scheduleRepair()
  }

  #fatal(error: EngineError): void {
    this.#lastTrouble = this.now()
    // What is held plays out either way, and then the page is shown: nothing to repair.
    if (this.#draining || this.#refused(error)) {
      this.#note(error, false)
      this.#broken = true
      if (!this.#draining) void this.#doubt(error)
      return
    }
    this.#note(error, true)
    this.#alarm(error)
    if (error.code === 'unsupported') return
    this.#broken = true
    if (error.code === 'media') {
      const now = this.now()
      const again = now - this.#lastMediaError < MEDIA_ERROR_AGAIN
      this.#lastMediaError = now
      if (!again && this.engine && this.#shown) {
        this.#broken = false
        this.counters.resumes += 1
        this.engine.recoverMedia()
        if (this.wanted) void this.#tryPlay()
        return
      }
    }
    this.#scheduleRepair()
  }

  #scheduleRepair(): void {
    if (this.#retryTimer !== null) return
    const delay = Math.min(RETRY_MAX, RETRY_MIN * 2 ** this.#failures) * (0.75 + Math.random() / 4)
    this.#failures += 1
    this.#retryTimer = window.setTimeout(() => {
      this.#retryTimer = null
      this.#repair()
    }, delay)
  }

  #cancelRepair(): void {
    if (this.#retryTimer !== null) window.clearTimeout(this.#retryTimer)
    this.#retryTimer = null
  }

  #repair(): void {
    if (!this.#running || this.#draining) return
    this.#lastTrouble = this.now()
    // While something is left to play, the viewer has paused at a picture, or nothing milder was tried yet, go on without
    // tearing it down.
    const mild = this.#ahead() > 0.5 || this.video.paused || this.#failures <= 1
    const keep = this.#shown && this.#ready && mild && this.#failures < 6
    if (keep && this.engine) {
      this.#broken = false
      this.counters.resumes += 1
      this.engine.resumeLoading()
    } else {
      this.reload()
    }
  }

  /** Seconds that can be played on without loading more. */
  #ahead(): number {
    const { buffered, currentTime } = this.video
    for (let i = 0; i < buffered.length; i += 1) {
      // The position may lie a rounding error before its range.
      if (buffered.start(i) - 0.1 <= currentTime && currentTime < buffered.end(i)) return buffered.end(i) - currentTime
    }
    return 0
  }

  #playedOut(): boolean {
    const still = this.now() - this.#lastProgress
    const window = this.engine?.liveWindow()
    const atEdge = !window || window.edge - this.video.currentTime < 0.25
    return still >= (atEdge ? DRAINED_AT_EDGE : DRAINED_BEFORE_EDGE) && this.#ahead() < 0.25
  }

  #tick(): void {
    if (!this.#running) return
    const now = this.now()
    const position = this.video.currentTime
    if (Math.abs(position - this.#lastPosition) > 0.005) {
      this.#lastPosition = position
      this.#lastProgress = now
      this.#jumped = false
      if (this.#stalled) {
        this.#stalled = false
        this.#healthySince = now
        this.#stepBack(now)
      }
      if (!this.#broken && this.#shown && this.#failures > 0 && now - this.#healthySince > HEALTHY_AFTER) this.#failures = 0
      if (this.#shown) this.#reloadAfter = RELOAD_AFTER
      if (!this.#broken && this.#shown) this.#calm()
    }
    const still = now - this.#lastProgress
    if (this.#draining) {
      if (!this.holding) {
        this.host.onDrained()
        return
      }
    } else if (this.wanted && !this.video.paused && this.#retryTimer === null && this.engine) {
      this.#unstick(still, now)
    }
    this.#keepPace(now)
    this.#watchDecoder(now)
    if (this.#stalled) this.counters.stalledMs += TICK
    this.host.onChange()
  }

  #unstick(still: number, now: number): void {
    if (still > STALL_AFTER && this.#shown && !this.#stalled && !this.video.seeking) {
      this.#stalled = true
      this.counters.stalls += 1
      this.#healthySince = now
      this.#stallBegan = this.#lastProgress
      if (this.#lastTrouble < this.#stallBegan && this.host.visible()) {
        this.strain.stalled(this.#ahead(), this.#height(), this.#heights(), now)
        this.engine?.setMostHeight(this.strain.most)
      }
    }
    const quiet = now - this.#lastActivity
    if (this.#stalled && quiet > MOVE_AFTER && now - this.#lastMove > MOVE_AGAIN && this.engine?.moveOn()) {
      // Refused connections move it by themselves; this is for those that are not answered at all.
      this.counters.moves += 1
      this.#lastMove = now
      this.#lastTrouble = now
    }
    if (still > this.#reloadAfter && (quiet > this.#reloadAfter || still > this.#reloadAfter * RELOAD_REGARDLESS)) {
      this.#reloadAfter = Math.min(RELOAD_MAX, this.#reloadAfter * 2)
      this.reload()
    } else if (still > JUMP_AFTER && !this.#jumped && this.#shown) {
      this.#jumped = true
      this.#stepBack(now)
      const target = this.engine?.liveWindow()?.target
      if (target !== undefined && target - this.video.currentTime > 0.3) {
        this.#jump(target)
      }
    } else if (this.#following && this.#shown && still < STALL_AFTER && now - this.#lastJump > FOLLOW_AGAIN) {
      const target = this.engine?.liveWindow()?.target
      if (target !== undefined && target - this.video.currentTime > FOLLOW_WITHIN) this.#jump(target)
    }
  }

  /** After a stall during which all could be had too little was in hand: more from now on. Once for each stall. */
  #stepBack(now: number): void {
    if (this.#lastTrouble >= this.#stallBegan) return
    this.pace.stalled((now - this.#stallBegan) / 1000, now)
    this.#stallBegan = -Infinity
    this.#keepDistance()
  }

  #keepDistance(): void {
    const base = this.engine?.holdBack() ?? null
    // Once moved, it must be moved back as well.
    if (!this.engine || base === null || (this.pace.extra === 0 && this.#carried.holdBack === null)) return
    this.#carried = { ...this.#carried, holdBack: base + this.pace.extra }
    this.engine.setHoldBack(base + this.pace.extra)
  }

  /** Stays at its distance from the live edge; back in the window, and while the rest plays out, at the speed of life. */
  #keepPace(now: number): void {
    const { engine, video } = this
    if (!engine?.paced) return
    const window = engine.liveWindow()
    if (window && this.#shown && !this.#draining) {
      const distance = window.target - video.currentTime
      const rate = this.pace.step({ distance, ahead: this.#ahead(), following: this.#following }, now)
      this.#keepDistance()
      if (video.playbackRate !== rate) video.playbackRate = rate
    } else if (video.playbackRate !== 1) {
      video.playbackRate = 1
    }
  }

  #watchDecoder(now: number): void {
    const { engine, video } = this
    if (!engine || !this.#shown || this.#stalled || video.paused || now - this.#lastSample < SAMPLE_EVERY) return
    this.#lastSample = now
    if (!this.host.visible()) {
      this.strain.restart()
      return
    }
    const { totalVideoFrames: frames, droppedVideoFrames: dropped } = video.getVideoPlaybackQuality()
    this.strain.sample({ now, frames, dropped, height: this.#height() }, this.#heights())
    engine.setMostHeight(this.strain.most)
  }

  #height(): number {
    const { engine } = this
    return engine?.levels()[engine.currentLevel()]?.height ?? 0
  }

  #heights(): number[] {
    return this.engine?.levels().map((level) => level.height) ?? []
  }

  #jump(target: number): void {
    this.counters.jumps += 1
    this.#lastJump = this.now()
    this.video.currentTime = target
  }
}
