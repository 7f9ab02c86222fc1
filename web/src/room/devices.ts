/** Microphones and headphones: what there is, and one microphone kept open through unplugging and plugging in again. */
import { Store } from '../store'
import type { RoomPreferences } from './prefs'

export interface Device {
  id: string
  label: string
}

export interface Devices {
  microphones: readonly Device[]
  /** Empty where the browser cannot choose (Firefox before 116, Safari). */
  headphones: readonly Device[]
}

export type MicrophoneState =
  | 'off'
  /** The browser asks the user, or opens the device. */
  | 'opening'
  | 'open'
  /** The user or the system does not allow it. */
  | 'denied'
  /** There is none, or the chosen one is gone or in use by something else. */
  | 'missing'
  /** Pages without encryption get no microphone. */
  | 'insecure'

export const canChooseOutput = (): boolean => 'setSinkId' in HTMLMediaElement.prototype

export async function listDevices(): Promise<Devices> {
  // Absent on pages without encryption.
  if (!navigator.mediaDevices?.enumerateDevices) return { microphones: [], headphones: [] }
  const all = await navigator.mediaDevices.enumerateDevices()
  const of = (kind: MediaDeviceKind): Device[] => {
    const found = all.filter((device) => device.kind === kind && device.deviceId !== '' && device.label !== '')
    // The alias of the system's choice is what '' means here.
    return found.filter((device) => device.deviceId !== 'default').map(({ deviceId, label }) => ({ id: deviceId, label }))
  }
  return { microphones: of('audioinput'), headphones: canChooseOutput() ? of('audiooutput') : [] }
}

type Processing = Pick<RoomPreferences, 'microphone' | 'echoCancellation' | 'noiseSuppression' | 'autoGain'>

export function constraints(wish: Processing): MediaTrackConstraints {
  return {
    ...(wish.microphone === '' ? {} : { deviceId: { exact: wish.microphone } }),
    channelCount: { ideal: 1 },
    sampleRate: { ideal: 48_000 },
    echoCancellation: wish.echoCancellation,
    noiseSuppression: wish.noiseSuppression,
    autoGainControl: wish.autoGain,
  }
}

/** How often a lost microphone is looked for. */
const LOOK_AGAIN = 2000

export class Microphone {
  readonly store = new Store<{ state: MicrophoneState; label: string }>({ state: 'off', label: '' })
  track: MediaStreamTrack | null = null
  #wish: Processing | null = null
  #generation = 0
  #again: number | null = null

  /** @param onTrack hears of each new track (another device, or the same one again) and of null when there is none */
  constructor(private readonly onTrack: (track: MediaStreamTrack | null) => void) {}

  /** Opens, or opens anew with another wish. */
  async open(wish: Processing): Promise<void> {
    this.#wish = wish
    const generation = ++this.#generation
    if (this.#again !== null) clearTimeout(this.#again)
    this.#again = null
    if (!navigator.mediaDevices?.getUserMedia) return this.store.patch({ state: 'insecure', label: '' })
    if (!this.track) this.store.patch({ state: 'opening' })
    let stream: MediaStream
    try {
      stream = await this.#ask(wish)
    } catch (error) {
      if (generation !== this.#generation) return
      this.#release()
      const name = error instanceof Error ? error.name : ''
      this.store.patch({ state: name === 'NotAllowedError' || name === 'SecurityError' ? 'denied' : 'missing', label: '' })
      this.#later()
      return
    }
    const track = stream.getAudioTracks()[0] ?? null
    if (generation !== this.#generation || !track) {
      track?.stop()
      return
    }
    // Chromium takes care of voices by it: no gating, music quality resampling.
    if ('contentHint' in track) track.contentHint = 'speech'
    this.#release()
    this.track = track
    track.onended = () => {
      if (track !== this.track) return
      this.#release()
      this.onTrack(null)
      this.store.patch({ state: 'missing', label: '' })
      this.#later()
    }
    this.store.patch({ state: 'open', label: track.label })
    this.onTrack(track)
  }

  close(): void {
    this.#wish = null
    this.#generation += 1
    if (this.#again !== null) clearTimeout(this.#again)
    this.#again = null
    const had = this.track !== null
    this.#release()
    if (had) this.onTrack(null)
    this.store.patch({ state: 'off', label: '' })
  }

  async #ask(wish: Processing): Promise<MediaStream> {
    try {
      return await navigator.mediaDevices.getUserMedia({ audio: constraints(wish) })
    } catch (error) {
      const gone = error instanceof Error && (error.name === 'OverconstrainedError' || error.name === 'NotFoundError')
      if (!gone || wish.microphone === '') throw error
      // The one chosen last time is not plugged in today: the system's choice is better than none.
      return navigator.mediaDevices.getUserMedia({ audio: constraints({ ...wish, microphone: '' }) })
    }
  }

  #release(): void {
    if (this.track) {
      this.track.onended = null
      this.track.stop()
    }
    this.track = null
  }

  #later(): void {
    this.#again = window.setTimeout(() => {
      // A refusal is the user's word: asking again is theirs to do.
      if (this.#wish && this.store.value.state === 'missing') void this.open(this.#wish)
    }, LOOK_AGAIN)
  }
}
