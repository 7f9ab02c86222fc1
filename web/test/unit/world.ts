/**
 * A live stream, an engine and a media element in simulated time: what `Playback` sees of hls.js and the browser, without
 * either. The stream's newest moment advances with the clock; the engine brings it into the element part by part; the
 * element plays what it has.
 */
import { vi } from 'vitest'
import type { EngineError, EngineEvents, LiveWindow, MediaEngine } from '../../src/player/engine'
import { Playback, type Carried, type PlaybackHost } from '../../src/player/playback'
import type { Level } from '../../src/player/tracks'

/** Resolution of the simulation, in ms. */
const STEP = 10
const PART = 0.32
const HOLD_BACK = 1

export class World {
  /** Newest moment that the server lists, in seconds of the element's time. */
  edge = 100
  /** The encoder, or all behind it, stands still. */
  frozen = false
  /** Requests fail: with this status, or without any answer. */
  refusing: EngineError | null = null
  /** Newest moment in the element. */
  loaded = 0
  /** The line carries nothing until this time (ms). */
  lineDownUntil = 0
  /** Another server carries the stream, and is reached. */
  elsewhere = false
  /** The decoder does nothing until this time (ms). */
  decoderBusyUntil = 0
  /** Part of the pictures that the decoder drops at each rung, by its lines. */
  drops: Record<number, number> = {}
  /** The answer of `stillLive`, and how long it takes (ms). */
  stillLive = true
  answerTakes = 20
  readonly engines: FakeEngine[] = []
  readonly video = new FakeVideo(this)
  readonly errors: (EngineError | null)[] = []
  drained = 0
  carried: Carried[] = []
  readonly playback: Playback

  constructor() {
    const host: PlaybackHost = {
      makeEngine: async (events, carried) => {
        this.carried.push(carried)
        const engine = new FakeEngine(this, events, carried.holdBack)
        this.engines.push(engine)
        return engine
      },
      stillLive: async () => {
        await new Promise((done) => setTimeout(done, this.answerTakes))
        return this.stillLive
      },
      visible: () => true,
      onChange: () => undefined,
      onBlocked: () => undefined,
      onError: (error) => {
        if (error !== this.errors.at(-1)) this.errors.push(error)
      },
      onDrained: () => {
        this.drained += 1
      },
      onFreeze: () => undefined,
    }
    this.playback = new Playback(this.video as unknown as HTMLVideoElement, host, () => performance.now())
  }

  get engine(): FakeEngine {
    const engine = this.engines.at(-1)
    if (!engine) throw new Error('nothing was loaded')
    return engine
  }

  /** Lets simulated seconds pass. */
  async run(seconds: number): Promise<void> {
    for (let i = 0; i < (seconds * 1000) / STEP; i += 1) {
      if (!this.frozen) this.edge += STEP / 1000
      this.engines.at(-1)?.step()
      this.video.step(STEP / 1000)
      await vi.advanceTimersByTimeAsync(STEP)
    }
  }

  /** Runs until it is so, for at most so many seconds. @returns the seconds it took */
  async until(what: string, wanted: () => boolean, seconds: number): Promise<number> {
    for (let passed = 0; passed < seconds; passed += STEP / 1000) {
      if (wanted()) return passed
      await this.run(STEP / 1000)
    }
    throw new Error(`not within ${seconds} s of simulated time: ${what}`)
  }
}

class FakeVideo extends EventTarget {
  currentTime = 0
  paused = true
  ended = false
  muted = false
  seeking = false
  playbackRate = 1
  frames = 0
  dropped = 0
  #playing = false

  constructor(private readonly world: World) {
    super()
  }

  get buffered() {
    const end = this.world.loaded
    return { length: end > 0 ? 1 : 0, start: () => 0, end: () => end }
  }

  async play(): Promise<void> {
    this.paused = false
    this.dispatchEvent(new Event('play'))
  }

  pause(): void {
    this.paused = true
    this.#playing = false
    this.dispatchEvent(new Event('pause'))
  }

  getVideoPlaybackQuality() {
    return { totalVideoFrames: Math.floor(this.frames), droppedVideoFrames: Math.floor(this.dropped) }
  }

  empty(): void {
    this.#playing = false
    this.frames = 0
    this.dropped = 0
  }

  step(seconds: number): void {
    if (this.paused || performance.now() < this.world.decoderBusyUntil) return
    const on = Math.min(seconds * this.playbackRate, this.world.loaded - this.currentTime)
    if (on <= 0) return
    this.currentTime += on
    this.frames += 25 * seconds
    this.dropped += 25 * seconds * (this.world.drops[this.world.engine.height] ?? 0)
    if (!this.#playing) {
      this.#playing = true
      this.dispatchEvent(new Event('playing'))
    }
  }
}

const LADDER = [360, 480, 720]

class FakeEngine implements MediaEngine {
  readonly kind = 'hls.js'
  readonly paced = true
  ready = false
  stopped = false
  mostHeight: number | null = null
  resumed = 0
  #holdBack: number

  constructor(
    private readonly world: World,
    private readonly events: EngineEvents,
    holdBack: number | null,
  ) {
    this.#holdBack = holdBack ?? HOLD_BACK
  }

  /** Lines of the rung on screen: the highest allowed. */
  get height(): number {
    return LADDER.filter((one) => one <= (this.mostHeight ?? Infinity)).at(-1) ?? 0
  }

  load(): void {
    // As `destroy` leaves it: nothing in the element.
  }

  step(): void {
    const { world } = this
    if (this.stopped || performance.now() < world.lineDownUntil) return
    if (world.refusing) {
      this.stopped = true
      this.events.onFatal(world.refusing)
      return
    }
    const complete = Math.floor(world.edge / PART) * PART
    if (!this.ready) {
      this.ready = true
      const target = this.liveWindow().target
      world.video.currentTime = target
      world.loaded = complete
      this.events.onReady()
    } else if (complete > world.loaded) {
      world.loaded = complete
      this.events.onActivity()
    }
  }

  destroy(): void {
    this.stopped = true
    this.world.loaded = 0
    this.world.video.currentTime = 0
    this.world.video.empty()
  }

  resumeLoading(): void {
    this.resumed += 1
    this.stopped = false
  }

  moveOn(): boolean {
    if (!this.world.elsewhere) return false
    this.world.lineDownUntil = 0
    return true
  }

  recoverMedia(): void {
    this.resumeLoading()
  }

  levels(): Level[] {
    return LADDER.map((height, index) => ({ index, height, width: (height * 16) / 9, bitrate: height * 4000, frameRate: 25, source: false }))
  }
  level = () => -1
  currentLevel = () => LADDER.indexOf(this.height)
  setLevel = () => undefined
  audioTracks = () => []
  audioTrack = () => -1
  setAudioTrack = () => undefined
  captionTracks = () => []
  captionTrack = () => -1
  setCaptionTrack = () => undefined
  setMostHeight(height: number | null): void {
    this.mostHeight = height
  }
  bandwidth = () => 2_000_000
  holdBack = () => HOLD_BACK
  setHoldBack(seconds: number): void {
    this.#holdBack = seconds
  }
  liveWindow(): LiveWindow {
    const { edge } = this.world
    return { start: edge - 60, edge: Math.floor(edge / PART) * PART, target: edge - this.#holdBack }
  }
  latency = () => this.world.edge - this.world.video.currentTime
  playingDate = () => null
}

export const refusal = (httpStatus: number): EngineError => ({ code: 'network', detail: `levelLoadError: HTTP ${httpStatus}`, httpStatus })
export const outage: EngineError = { code: 'network', detail: 'levelLoadError', httpStatus: null }
