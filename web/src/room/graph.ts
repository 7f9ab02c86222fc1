/**
 * What the interpreter hears: source → bass → treble → volume → limiter → headphones, with a meter at the end. And a meter
 * for the microphone. The graph stays; sources come and go.
 */
import limiterUrl from './limiter.worklet.ts?worker&url'

/** Hz at which the shelves of bass and treble begin. */
export const BASS_HZ = 200
export const TREBLE_HZ = 3500
/** Levels below this are silence, in dB relative to full scale. */
export const SILENCE_DB = -60
/** A change of a control is heard without a click: time constant in seconds. */
const SMOOTH = 0.015

export interface Tone {
  /** Factor, 0 to 1.5. */
  volume: number
  /** dB. */
  bass: number
  treble: number
  limiter: boolean
}

/** Peak of what an analyser sees now, in dB relative to full scale, `SILENCE_DB` at least. */
export class Meter {
  readonly #samples: Float32Array<ArrayBuffer>

  constructor(readonly node: AnalyserNode) {
    // 43 ms at 48 kHz: longer than the interval at which it is looked at.
    node.fftSize = 2048
    this.#samples = new Float32Array(node.fftSize)
  }

  read(): number {
    this.node.getFloatTimeDomainData(this.#samples)
    let peak = 0
    for (const sample of this.#samples) peak = Math.max(peak, Math.abs(sample))
    return Math.max(SILENCE_DB, 20 * Math.log10(Math.max(peak, 1e-6)))
  }
}

type SinkContext = AudioContext & { setSinkId?(id: string): Promise<void> }

export class ListeningGraph {
  readonly context: AudioContext
  /** At the end: what is heard. */
  readonly meter: Meter
  /** What comes in, before tone and volume, over most of a second. */
  readonly input: AnalyserNode
  readonly #bass: BiquadFilterNode
  readonly #treble: BiquadFilterNode
  readonly #volume: GainNode
  #limiter: AudioWorkletNode | null = null
  #limited = true
  #source: MediaStreamAudioSourceNode | null = null
  #reduction = 0
  /** Resolves once the limiter stands in the path (or this browser has none). */
  readonly ready: Promise<void>

  /** @param onState the browser lets sound out, or waits for a click */
  constructor(onState: (running: boolean) => void, context = new AudioContext({ latencyHint: 'interactive' })) {
    this.context = context
    this.#bass = new BiquadFilterNode(context, { type: 'lowshelf', frequency: BASS_HZ })
    this.#treble = new BiquadFilterNode(context, { type: 'highshelf', frequency: TREBLE_HZ })
    this.#volume = new GainNode(context, { gain: 0 })
    this.meter = new Meter(new AnalyserNode(context))
    this.input = new AnalyserNode(context, { fftSize: 32_768, smoothingTimeConstant: 0 })
    this.#bass.connect(this.#treble).connect(this.#volume)
    this.#volume.connect(this.meter.node)
    this.meter.node.connect(context.destination)
    context.onstatechange = () => onState(context.state === 'running')
    onState(context.state === 'running')
    this.ready = this.#addLimiter()
  }

  /** Called from a click or key, when the browser waited for one. */
  resume(): void {
    this.context.resume().catch(() => undefined)
  }

  setStream(stream: MediaStream | null): void {
    this.#source?.disconnect()
    this.#source = null
    if (!stream || stream.getAudioTracks().length === 0) return
    this.#source = new MediaStreamAudioSourceNode(this.context, { mediaStream: stream })
    this.#source.connect(this.#bass)
    this.#source.connect(this.input)
  }

  set(tone: Tone): void {
    const at = this.context.currentTime
    this.#volume.gain.setTargetAtTime(tone.volume, at, SMOOTH)
    this.#bass.gain.setTargetAtTime(tone.bass, at, SMOOTH)
    this.#treble.gain.setTargetAtTime(tone.treble, at, SMOOTH)
    if (tone.limiter !== this.#limited) {
      this.#limited = tone.limiter
      this.#route()
    }
  }

  async setOutput(device: string): Promise<void> {
    // Where the browser cannot choose, the system's device is used.
    await (this.context as SinkContext).setSinkId?.(device).catch(() => undefined)
  }

  /** ms from the graph to the ear, as far as the browser knows. */
  latency(): number {
    const { baseLatency, outputLatency } = this.context
    return ((baseLatency || 0) + (outputLatency || 0)) * 1000
  }

  /** dB that the limiter takes off now. */
  get reduction(): number {
    return this.#limited ? this.#reduction : 0
  }

  /** What comes in: mean square (1 is a square wave at full scale), and its strongest frequency in Hz. */
  incoming(): { power: number; hertz: number } {
    const samples = new Float32Array(this.input.fftSize)
    this.input.getFloatTimeDomainData(samples)
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length
    const bins = new Float32Array(this.input.frequencyBinCount)
    this.input.getFloatFrequencyData(bins)
    const strongest = bins.reduce((best, level, i) => (level > (bins[best] ?? -Infinity) ? i : best), 0)
    return { power, hertz: (strongest * this.context.sampleRate) / this.input.fftSize }
  }

  close(): void {
    this.setStream(null)
    this.context.onstatechange = null
    this.context.close().catch(() => undefined)
  }

  async #addLimiter(): Promise<void> {
    try {
      await this.context.audioWorklet.addModule(limiterUrl)
      this.#limiter = new AudioWorkletNode(this.context, 'boothcast-limiter', { outputChannelCount: [2] })
    } catch {
      // No worklets here: the browser's compressor, set as a limiter, is slower but better than nothing.
      const limiter = new DynamicsCompressorNode(this.context, { threshold: -6, knee: 0, ratio: 20, attack: 0.001, release: 0.12 })
      this.#volume.disconnect()
      this.#volume.connect(limiter).connect(this.meter.node)
      return
    }
    this.#limiter.port.onmessage = ({ data }) => {
      this.#reduction = typeof data === 'number' ? data : 0
    }
    this.#limiter.connect(this.meter.node)
    this.#route()
  }

  #route(): void {
    if (!this.#limiter) return
    this.#volume.disconnect()
    this.#volume.connect(this.#limited ? this.#limiter : this.meter.node)
  }
}

/** Measures a microphone without passing it on. */
export class MicrophoneMeter {
  #source: MediaStreamAudioSourceNode | null = null
  #copy: MediaStreamTrack | null = null
  readonly #meter: Meter

  constructor(private readonly context: AudioContext) {
    this.#meter = new Meter(new AnalyserNode(context))
  }

  setTrack(track: MediaStreamTrack | null): void {
    this.#source?.disconnect()
    this.#source = null
    this.#copy?.stop()
    this.#copy = null
    if (!track) return
    // A copy that stays enabled: the meter shows the voice while the microphone is closed.
    this.#copy = track.clone()
    this.#copy.enabled = true
    this.#source = new MediaStreamAudioSourceNode(this.context, { mediaStream: new MediaStream([this.#copy]) })
    this.#source.connect(this.#meter.node)
  }

  /** dB relative to full scale. */
  read(): number {
    return this.#source ? this.#meter.read() : SILENCE_DB
  }
}
