/** What follows from the daemon's picture of a room. Pure. */
import type { Booth, FromDaemon, Person, Relay } from './protocol'

export type RoomState = Extract<FromDaemon, { type: 'state' }>
export type ChatMessage = Extract<FromDaemon, { type: 'chat' }>

/** What the lamp over the microphone says. Only `on` means that viewers hear it. */
export type Air =
  | 'off'
  | 'on'
  /** On air, but held shut by the cough key. */
  | 'cough'
  /** On air, but a manager muted the booth. */
  | 'muted'
  /** The switch is on, but the voice does not arrive (no microphone, or connecting). */
  | 'waiting'
  /** The daemon cannot be asked: the switch was on when it was last heard of. */
  | 'unknown'

/**
 * @param connected the control connection stands: without it nothing is known
 * @param coughing the key is held on this page, which holds before the daemon has said so
 */
export function airOf(me: Person | null, booth: Booth | null, connected: boolean, coughing: boolean): Air {
  if (!me?.on_air) return 'off'
  if (!connected) return 'unknown'
  if (coughing || me.cough) return 'cough'
  if (booth?.muted) return 'muted'
  return me.heard ? 'on' : 'waiting'
}

export function boothOf(booths: readonly Booth[], language: string | null): Booth | null {
  return booths.find((booth) => booth.language === language) ?? null
}

/** The languages between which a bilingual booth switches. */
export function outgoingChoices(booth: Booth | null): string[] {
  return booth?.second_language ? [booth.language, booth.second_language] : []
}

export type HandoverView =
  /** Nobody else is there, or nothing to do. */
  | { kind: 'none' }
  /** On air: offer it. */
  | { kind: 'can_offer' }
  /** Off air while a colleague is on: ask for it. */
  | { kind: 'can_ask' }
  /** Waiting for the others' answer to my offer or request. */
  | { kind: 'offered' | 'asked' }
  /** A colleague's offer or request, for me to answer. */
  | { kind: 'offer' | 'ask'; from: string }

export function handoverOf(me: Person | null, booth: Booth | null, people: readonly Person[]): HandoverView {
  if (!me || !booth) return { kind: 'none' }
  const colleagues = people.filter((one) => one.id !== me.id && one.role === 'interpreter' && one.booth === booth.language)
  const { handover } = booth
  if (handover) {
    if (handover.from === me.id) return { kind: handover.kind === 'offer' ? 'offered' : 'asked' }
    const from = people.find((one) => one.id === handover.from)?.name ?? ''
    // A request is answered by whom it was addressed to: those on air.
    if (handover.kind === 'offer' || me.on_air) return { kind: handover.kind, from }
    return { kind: 'none' }
  }
  if (colleagues.length === 0) return { kind: 'none' }
  if (me.on_air) return { kind: 'can_offer' }
  return colleagues.some((one) => one.on_air) ? { kind: 'can_ask' } : { kind: 'none' }
}

/** Names of those whose microphones are open, when it is more than one. */
export function bothOpen(booth: Booth | null, people: readonly Person[]): string[] {
  if (!booth || booth.open.length < 2) return []
  return booth.open.map((id) => people.find((one) => one.id === id)?.name ?? id)
}

/** The source after the present one among those that can be chosen. */
export function nextSource(relays: readonly Relay[], now: string): string {
  const open = relays.filter((relay) => relay.refused === null).map((relay) => relay.source)
  return open[(open.indexOf(now) + 1) % open.length] ?? 'floor'
}

/** `managers`, `all`, `booth:LANGUAGE`, and `booth` for an interpreter's own. */
export type Thread = string

/**
 * The conversation that a message belongs to. Interpreters talk with the managers in one place: what a manager writes to
 * their booth stands there too. Managers have one place for each booth, where both what is said in it to all of its
 * people and what is said by it to the managers stand.
 *
 * @param own the reader's booth; null for managers
 * @param sender the writer's booth; null for managers, and when it is not known any more
 */
export function threadOf(message: Pick<ChatMessage, 'to' | 'role' | 'booth'>, own: string | null, sender: string | null): Thread {
  if (message.to === 'all') return 'all'
  if (own === null) {
    const booth = message.to === 'managers' ? sender : message.booth
    return booth === null ? 'managers' : `booth:${booth}`
  }
  if (message.to === 'managers' || message.role === 'manager') return 'managers'
  // Between two booths it is one conversation in both, whoever wrote.
  const other = message.booth === own ? sender : message.booth
  return other === null || other === own ? 'booth' : `booth:${other}`
}

/** The booth that a conversation is with, null for the others. */
export const boothOfThread = (thread: Thread): string | null => /^booth:(.+)$/.exec(thread)?.[1] ?? null

/** A time of day as the page's language writes it. */
export function timeOfDay(at: number, locale: string, seconds = false): string {
  return new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', ...(seconds ? { second: '2-digit' } : {}) }).format(at)
}

/** The name of a language in that language, as browsers know it; the tag itself where they do not. */
export function nameOfLanguage(tag: string): string {
  try {
    return new Intl.DisplayNames([tag], { type: 'language' }).of(tag) ?? tag
  } catch {
    return tag
  }
}
