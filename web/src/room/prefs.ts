/** What a room remembers on this computer: names, devices, tone and volume, the way the page is used. */

export interface RoomPreferences {
  name: string
  email: string
  place: string
  /** `deviceId`, '' for the system's choice. */
  microphone: string
  headphones: string
  /** The browser's own processing of the microphone: off by default, since it colours and gates the voice. */
  echoCancellation: boolean
  noiseSuppression: boolean
  autoGain: boolean
  /** 0 to 1.5: what comes in may be made louder, the limiter holds it. */
  volume: number
  /** dB, -12 to 12. */
  bass: number
  treble: number
  limiter: boolean
  /** Single-key shortcuts; WCAG 2.1.4 asks for a way to turn them off. */
  shortcuts: boolean
}

export const DEFAULTS: RoomPreferences = {
  name: '', email: '', place: '', microphone: '', headphones: '', echoCancellation: false, noiseSuppression: false,
  autoGain: false, volume: 0.8, bass: 0, treble: 0, limiter: true, shortcuts: true,
}

const RANGES: Partial<Record<keyof RoomPreferences, readonly [number, number]>> = { volume: [0, 1.5], bass: [-12, 12], treble: [-12, 12] }
const KEY = 'boothcast.room.v1'
/** Longest text that is kept. */
const MAX_TEXT = 200

/** Reads what was stored, whatever is in there: an unusable field falls back to its default. */
export function parsePreferences(stored: string | null): RoomPreferences {
  let value: unknown = null
  try {
    value = JSON.parse(stored ?? 'null')
  } catch {
    // Not ours or damaged: defaults.
  }
  const preferences = { ...DEFAULTS }
  if (typeof value !== 'object' || value === null) return preferences
  const fields = preferences as Record<string, unknown>
  for (const [name, fallback] of Object.entries(DEFAULTS)) {
    const found = (value as Record<string, unknown>)[name]
    if (typeof found !== typeof fallback) continue
    const range = RANGES[name as keyof RoomPreferences]
    if (range && !((found as number) >= range[0] && (found as number) <= range[1])) continue
    fields[name] = typeof found === 'string' ? found.slice(0, MAX_TEXT) : found
  }
  return preferences
}

type Shelf = Pick<Storage, 'getItem' | 'setItem'>

function browserStorage(): Shelf | null {
  try {
    return window.localStorage
  } catch {
    return null
  }
}

export class RoomPreferenceStore {
  #value: RoomPreferences
  readonly #storage: Shelf | null

  constructor(storage: Shelf | null = browserStorage()) {
    this.#storage = storage
    let stored: string | null = null
    try {
      stored = storage?.getItem(KEY) ?? null
    } catch {
      // Refused: nothing was stored.
    }
    this.#value = parsePreferences(stored)
  }

  get value(): Readonly<RoomPreferences> {
    return this.#value
  }

  set(fields: Partial<RoomPreferences>): void {
    this.#value = { ...this.#value, ...fields }
    try {
      this.#storage?.setItem(KEY, JSON.stringify(this.#value))
    } catch {
      // Full or refused: the choice still holds for this page.
    }
  }
}
