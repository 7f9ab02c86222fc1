/**
 * The connection test: thirty seconds of a voice both ways and of pings, as in a booth. No microphone is needed: what is
 * sent is a quiet noise made here, so that every packet has its usual size.
 */
import { Store } from '../store'
import { fetchInfo, type InfoFailure, type RoomAddress } from './address'
import { grade, type Figures, type Grading } from './grade'
import type { Grade } from './protocol'
import { lossDown, lossUp, NO_COUNTERS, read, type Counters } from './quality'
import { RtcLink } from './rtc'
import { shapeOpus, VOICE } from './sdp'

/** Seconds that are measured. */
export const TEST_SECONDS = 30
/** A connection that does not come about within this (ms) is a result too. */
const CONNECT_WITHIN = 15_000
const PING_EVERY = 250
const MEASURE_EVERY = 1000
/** Pings that are remembered until their answer comes. */
const MAX_PENDING = 200
/** Peak of the noise: -40 dB, which an encoder does not take for silence. */
const NOISE = 0.01

export type ProbeStage = 'form' | 'connecting' | 'running' | 'saving' | 'done' | 'failed'

export interface ProbeSnapshot {
  stage: ProbeStage
  failure: InfoFailure | null
  /** 0 to 1. */
  progress: number
  figures: Figures
  grading: Grading | null
  /** The daemon kept the result; null while it is not known. */
  saved: boolean | null
  /** The daemon's words where it refused the test. */
  detail: string
}

export const NO_RESULT: Figures = { ping_ms: null, jitter_ms: null, loss_up: null, loss_down: null }

/** Round trips and jitter collected over a test. Pure. */
export class Collector {
  #trips: number[] = []
  #jitters: number[] = []

  ping(roundTrip: number): void {
    if (roundTrip >= 0 && Number.isFinite(roundTrip)) this.#trips.push(roundTrip)
  }

  jitter(...values: (number | null)[]): void {
    const known = values.filter((value) => value !== null)
    // Each way has its own; the worse one counts.
    if (known.length > 0) this.#jitters.push(Math.max(...known))
  }

  get ping_ms(): number | null {
    return average(this.#trips)
  }

  get jitter_ms(): number | null {
    return average(this.#jitters)
  }
}

function average(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
}

/** What the daemon kept. */
type Result = Partial<Figures> & { grade?: Grade | null }

export class Probe {
  readonly store = new Store<ProbeSnapshot>({
    stage: 'form', failure: null, progress: 0, figures: NO_RESULT, grading: null, saved: null, detail: '',
  })
  #link: RtcLink | null = null
  #context: AudioContext | null = null
  #timers: number[] = []

  constructor(
    readonly address: RoomAddress,
    readonly seconds = TEST_SECONDS,
  ) {}

  start(): void {
    addEventListener('pagehide', () => this.#end())
    void fetchInfo<unknown>(this.address.info).then((answer) => {
      // A daemon that cannot be reached now may be when the test starts.
      if ('failure' in answer && answer.failure !== 'unreachable') this.store.patch({ failure: answer.failure })
    })
  }

  /** From a click, so that the browser makes sound. */
  run(who: { name: string; email: string; place: string }): void {
    this.#end()
    this.store.patch({ stage: 'connecting', progress: 0, figures: NO_RESULT, grading: null, saved: null, detail: '' })
    const collector = new Collector()
    const pending = new Map<number, number>()
    let pings: RTCDataChannel | null = null
    let track: MediaStreamTrack
    try {
      track = this.#noise()
    } catch {
      this.#fail('')
      return
    }
    const link = new RtcLink({
      url: () => this.address.probe,
      prepare: (peer) => {
        peer.addTransceiver(track, { direction: 'sendrecv' })
        const channel = peer.createDataChannel('ctl', { ordered: false, maxRetransmits: 0 })
        pings = channel
        channel.onmessage = ({ data }) => {
          const now = performance.now()
          try {
            const message = JSON.parse(String(data)) as { type?: unknown; at?: unknown }
            const sent = typeof message.at === 'number' ? pending.get(message.at) : undefined
            if (message.type !== 'pong' || sent === undefined) return
            pending.delete(message.at as number)
            collector.ping(now - sent)
          } catch {
            // Not one of ours.
          }
        }
      },
      shape: (sdp) => shapeOpus(sdp, VOICE),
      onTrack: ({ track: heard }) => {
        // Browsers measure only what is played: silently.
        const element = new Audio()
        element.muted = true
        element.srcObject = new MediaStream([heard])
        element.play().catch(() => undefined)
      },
      onState: (state, refusal) => {
        if (state === 'refused') this.#fail(refusal?.detail ?? '')
        else if (state === 'connected' && this.store.value.stage === 'connecting') void measure()
      },
    })
    this.#link = link
    this.#timers.push(window.setTimeout(() => this.#fail(''), CONNECT_WITHIN))

    const measure = async (): Promise<void> => {
      this.#clearTimers()
      this.store.patch({ stage: 'running' })
      const first = await read(link.peer)
      const began = performance.now()
      let number = 0
      let last: Counters = first
      this.#timers.push(
        window.setInterval(() => {
          if (pings?.readyState !== 'open' || pending.size >= MAX_PENDING) return
          number += 1
          pending.set(number, performance.now())
          pings.send(JSON.stringify({ type: 'ping', at: number }))
        }, PING_EVERY),
        window.setInterval(() => {
          void read(link.peer).then((now) => {
            // A session that was renewed counts anew; what the old one counted is gone, as is the connection's good name.
            if (now !== NO_COUNTERS) last = now
            collector.jitter(now.jitter_ms, now.sent_jitter_ms)
            const progress = Math.min(1, (performance.now() - began) / (this.seconds * 1000))
            const figures = this.#figures(collector, first, last)
            this.store.patch({ progress, figures })
            if (progress >= 1 && this.store.value.stage === 'running') void this.#finish(who, figures)
          })
        }, MEASURE_EVERY),
      )
    }
    link.start()
  }

  again(): void {
    this.#end()
    this.store.patch({ stage: 'form', progress: 0 })
  }

  #figures(collector: Collector, first: Counters, last: Counters): Figures {
    return {
      ping_ms: collector.ping_ms ?? last.rtt_ms,
      jitter_ms: collector.jitter_ms,
      loss_up: lossUp(first, last),
      loss_down: lossDown(first, last),
    }
  }

  /** Hands the result in while the session still stands, so that the daemon can add what only it has measured. */
  async #finish(who: { name: string; email: string; place: string }, measured: Figures): Promise<void> {
    this.#clearTimers()
    const session = this.#link?.session ?? null
    this.store.patch({ stage: 'saving', figures: measured })
    let kept: Result = {}
    let saved = false
    try {
      const response = await fetch(this.address.result, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...who, ...measured, ...(session === null ? {} : { session }) }),
        signal: AbortSignal.timeout(8000),
      })
      saved = response.ok
      if (response.ok) kept = (await response.json()) as Result
    } catch {
      // Said on the page; the figures are there anyway.
    }
    this.#end()
    // What is kept is what is shown.
    const figures: Figures = {
      ping_ms: kept.ping_ms ?? measured.ping_ms, jitter_ms: kept.jitter_ms ?? measured.jitter_ms,
      loss_up: kept.loss_up ?? measured.loss_up, loss_down: kept.loss_down ?? measured.loss_down,
    }
    const own = grade(figures)
    this.store.patch({ stage: 'done', figures, grading: kept.grade ? { ...own, grade: kept.grade } : own, saved })
  }

  #fail(detail: string): void {
    this.#end()
    this.store.patch({ stage: 'failed', detail })
  }

  #noise(): MediaStreamTrack {
    const context = new AudioContext()
    this.#context = context
    const buffer = context.createBuffer(1, context.sampleRate, context.sampleRate)
    const samples = buffer.getChannelData(0)
    for (let i = 0; i < samples.length; i += 1) samples[i] = (Math.random() * 2 - 1) * NOISE
    const source = new AudioBufferSourceNode(context, { buffer, loop: true })
    const destination = new MediaStreamAudioDestinationNode(context, { channelCount: 1 })
    source.connect(destination)
    source.start()
    void context.resume()
    const [track] = destination.stream.getAudioTracks()
    if (!track) throw new Error('no track')
    return track
  }

  #clearTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers = []
  }

  #end(): void {
    this.#clearTimers()
    this.#link?.stop()
    this.#link = null
    this.#context?.close().catch(() => undefined)
    this.#context = null
  }
}
