/** What a key does in a booth; pure. Single letters can be turned off (WCAG 2.1.4) and mean nothing while typing. */
import { focusKind, type FocusKind, type KeyInput } from '../player/shortcuts'

export { focusKind, type FocusKind, type KeyInput }

export type BoothAction =
  | 'on_air'
  /** While held. */
  | 'cough'
  | 'microphone'
  | 'outgoing'
  | 'handover'
  | 'take'
  | 'decline'
  | 'slow_down'
  | 'call'
  | 'floor'
  | 'next_source'
  | 'louder'
  | 'quieter'
  | 'bass_up'
  | 'bass_down'
  | 'treble_up'
  | 'treble_down'
  | 'limiter'
  | 'write'
  | 'next_chat'
  | 'settings'
  | 'help'
  /** One of the sources, by its place in the list. */
  | `source_${number}`

const CHARACTERS: Record<string, BoothAction> = {
  m: 'on_air', c: 'cough', n: 'microphone', x: 'outgoing', h: 'handover', t: 'take', d: 'decline', s: 'slow_down', g: 'call',
  f: 'floor', r: 'next_source', l: 'limiter', w: 'write', p: 'settings', '?': 'help',
}
const LOWER: Record<string, BoothAction> = { b: 'bass_up', v: 'treble_up' }
const UPPER: Record<string, BoothAction> = { B: 'bass_down', V: 'treble_down', W: 'next_chat' }
const KEYS: Record<string, BoothAction> = { ArrowUp: 'louder', ArrowDown: 'quieter' }

/** The same for help and hints: what stands on the key. */
export const KEY_OF: Partial<Record<BoothAction, string>> = Object.fromEntries(
  Object.entries({ ...CHARACTERS, ...LOWER }).map(([key, action]) => [action, key.toUpperCase()]),
)

export function boothAction(input: KeyInput, focus: FocusKind, enabled: boolean): BoothAction | null {
  if (input.ctrl || input.alt || input.meta || focus === 'text') return null
  const upper = UPPER[input.key]
  if (upper) return enabled ? upper : null
  const character = LOWER[input.key] ?? CHARACTERS[input.key.toLowerCase()]
  if (character) return enabled ? character : null
  if (/^[1-9]$/.test(input.key)) return enabled ? `source_${Number(input.key)}` : null
  // A slider, a list or a tab keeps its arrows.
  return focus === 'none' ? (KEYS[input.key] ?? null) : null
}
