/**
 * What the viewer chose, kept in this browser only. Where storage is refused (a sandboxed or third-party frame, private
 * windows) the choice lasts as long as the page.
 */

/** An audio rendition is recognised by its language first and by its name where two share a language. */
export interface LanguageChoice {
  language: string
  name: string
}

export interface Preferences {
  /** The audio language picked by hand, or null when the event's default is to be used. */
  language: LanguageChoice | null
  /** The captions' language picked by hand, 'off' when they were switched off, null when never touched. */
  captions: string | null
  /** 0 to 1. */
  volume: number
  /** Single-key shortcuts; WCAG 2.1.4 asks for a way to turn them off. */
  shortcuts: boolean
}

const KEY = 'boothcast.player.v1'
const DEFAULTS: Preferences = { language: null, captions: null, volume: 1, shortcuts: true }

/** Reads what was stored, whatever is in there: an unusable field falls back to its default. */
export function parsePreferences(stored: string | null): Preferences {
  let value: unknown = null
  try {
    value = JSON.parse(stored ?? 'null')
  } catch {
    // Not ours or damaged: defaults.
  }
  if (typeof value !== 'object' || value === null) return { ...DEFAULTS }
  const fields = value as Record<string, unknown>
  const choice = fields['language'] as Partial<LanguageChoice> | null | undefined
  const volume = fields['volume']
  return {
    language:
      typeof choice === 'object' && choice !== null && typeof choice.language === 'string' && typeof choice.name === 'string'
        ? { language: choice.language, name: choice.name }
        : null,
    captions: typeof fields['captions'] === 'string' ? fields['captions'] : null,
    volume: typeof volume === 'number' && volume >= 0 && volume <= 1 ? volume : DEFAULTS.volume,
    shortcuts: typeof fields['shortcuts'] === 'boolean' ? fields['shortcuts'] : DEFAULTS.shortcuts,
  }
}

export class PreferenceStore {
  #value: Preferences
  readonly #storage: Pick<Storage, 'getItem' | 'setItem'> | null

  constructor(storage: Pick<Storage, 'getItem' | 'setItem'> | null = browserStorage()) {
    this.#storage = storage
    let stored: string | null = null
    try {
      stored = storage?.getItem(KEY) ?? null
    } catch {
      // Refused: nothing was stored.
    }
    this.#value = parsePreferences(stored)
  }

  get value(): Readonly<Preferences> {
    return this.#value
  }

  set(fields: Partial<Preferences>): void {
    this.#value = { ...this.#value, ...fields }
    try {
      this.#storage?.setItem(KEY, JSON.stringify(this.#value))
    } catch {
      // Full or refused: the choice still holds for this page.
    }
  }
}

function browserStorage(): Storage | null {
  try {
    return window.localStorage
  } catch {
    return null
  }
}
