/**
 * What booths and the management room have in common: the control connection, the daemon's picture of the room, levels
 * and chat. It publishes one `RoomSnapshot`; levels come ten times a second and have a store of their own.
 */
import { betterOffset } from '../player/latency'
import { Store } from '../store'
import type { RoomAddress } from './address'
import type { FromDaemon, ToDaemon } from './protocol'
import { RoomSocket, type ClosedReason, type SocketEnvironment, type SocketState } from './socket'
import { boothOfThread, threadOf, type ChatMessage, type RoomState, type Thread } from './state'
import { browserTiming, type Timing } from './timing'

export interface ChatLine extends ChatMessage {
  key: number
  thread: Thread
  mine: boolean
  /** The writer's booth; null for managers. */
  sender: string | null
}

export interface RoomSnapshot {
  socket: SocketState
  closed: { reason: ClosedReason; detail: string } | null
  you: string | null
  state: RoomState | null
  chat: readonly ChatLine[]
  unread: Readonly<Record<Thread, number>>
  /** The conversation on screen. */
  thread: Thread
  /** The daemon's own figures of this page's media. */
  stats: Extract<FromDaemon, { type: 'stats' }> | null
  /** What the daemon refused last, in its words; disappears by itself. */
  error: string | null
  /** The last `slow_down` that arrived; disappears by itself. */
  slowDown: { from: string; booth: string } | null
  /** The daemon's clock less ours, in ms. */
  clockOffset: number
}

export interface Levels {
  floor: number
  booths: Readonly<Record<string, number>>
}

/** Lines of chat that are kept. */
const MAX_CHAT = 500
/** Longest line that can be sent. */
export const MAX_CHAT_TEXT = 1000
/** An error stays on screen for this long. */
const ERROR_FOR = 6000
/** As long as the daemon holds a booth's own request. */
const SLOW_DOWN_FOR = 10_000
/** Levels come while something sounds: after this without, it is silent. */
const SILENT_AFTER = 350
/** dB of a level that shows nothing. */
export const SILENT: Levels = { floor: -100, booths: {} }

/** What disappears by itself. */
type Passing = 'error' | 'slow' | 'silent'

/** JSON has no negative infinity: what is entirely silent arrives as null. */
const level = (db: number | null): number => db ?? SILENT.floor

export class RoomCore {
  readonly store = new Store<RoomSnapshot>({
    socket: 'connecting', closed: null, you: null, state: null, chat: [], unread: {}, thread: '', stats: null,
    error: null, slowDown: null, clockOffset: 0,
  })
  readonly levels = new Store<Levels>(SILENT)
  readonly socket: RoomSocket
  /** Hears every message after the store took it in. */
  onMessage: (message: FromDaemon) => void = () => undefined
  onSocket: (state: SocketState) => void = () => undefined
  #keys = 0
  #booth = ''
  #knowsClock = false
  #timers: Record<Passing, number | null> = { error: null, slow: null, silent: null }

  constructor(
    address: RoomAddress,
    readonly role: 'interpreter' | 'manager',
    name: () => string,
    environment?: SocketEnvironment,
    private readonly timing: Timing = environment ?? browserTiming,
  ) {
    this.store.patch({ thread: role === 'interpreter' ? 'booth' : 'all' })
    this.socket = new RoomSocket(
      {
        url: address.socket,
        infoUrl: address.info,
        name,
        onMessage: (message) => this.#hear(message),
        onState: (socket) => {
          this.store.patch(socket === 'open' ? { socket, closed: null } : { socket })
          this.onSocket(socket)
        },
        onClosed: (reason, detail) => this.store.patch({ closed: { reason, detail } }),
      },
      environment,
    )
  }

  /** @returns whether it was sent now */
  send(message: ToDaemon): boolean {
    return this.socket.send(message)
  }

  /** @returns whether it was sent; what was not stays in the field */
  chat(text: string): boolean {
    const trimmed = text.trim().slice(0, MAX_CHAT_TEXT)
    if (trimmed === '') return false
    const { thread } = this.store.value
    const booth = boothOfThread(thread)
    if (booth !== null) return this.send({ type: 'chat', to: 'booth', text: trimmed, booth })
    return this.send({ type: 'chat', to: thread as 'booth' | 'managers' | 'all', text: trimmed })
  }

  openThread(thread: Thread): void {
    const { unread } = this.store.value
    this.store.patch({ thread, unread: unread[thread] ? { ...unread, [thread]: 0 } : unread })
  }

  /** Clears an error before its time. */
  dismissError(): void {
    this.store.patch({ error: null })
  }

  #hear(message: FromDaemon): void {
    const { store } = this
    switch (message.type) {
      case 'welcome':
        this.#booth = message.booth ?? ''
        store.patch({ you: message.you })
        break
      case 'state': {
        const sample = Date.parse(message.at) - Date.now()
        const clockOffset = Number.isFinite(sample) ? betterOffset(this.#knowsClock ? store.value.clockOffset : null, sample) : 0
        this.#knowsClock ||= Number.isFinite(sample)
        store.patch({ state: message, clockOffset })
        break
      }
      case 'chat':
        this.#line(message)
        break
      case 'levels':
        this.levels.patch({
          floor: level(message.floor),
          booths: Object.fromEntries(Object.entries(message.booths).map(([language, db]) => [language, level(db)])),
        })
        this.#after('silent', SILENT_AFTER, () => this.levels.patch(SILENT))
        break
      case 'stats':
        store.patch({ stats: message })
        break
      case 'slow_down':
        store.patch({ slowDown: { from: message.from, booth: message.booth } })
        this.#after('slow', SLOW_DOWN_FOR, () => store.patch({ slowDown: null }))
        break
      case 'error':
        store.patch({ error: message.detail })
        this.#after('error', ERROR_FOR, () => store.patch({ error: null }))
    }
    this.onMessage(message)
  }

  #line(message: ChatMessage): void {
    const { chat, unread, thread: open, you, state } = this.store.value
    const sender = state?.people.find((person) => person.id === message.from)?.booth ?? null
    const thread = threadOf(message, this.role === 'manager' ? null : this.#booth, sender)
    const mine = message.from === you
    const line: ChatLine = { ...message, key: (this.#keys += 1), thread, mine, sender }
    const missed = !mine && thread !== open
    this.store.patch({
      chat: [...chat, line].slice(-MAX_CHAT),
      ...(missed ? { unread: { ...unread, [thread]: (unread[thread] ?? 0) + 1 } } : {}),
    })
  }

  #after(what: Passing, milliseconds: number, callback: () => void): void {
    const pending = this.#timers[what]
    if (pending !== null) this.timing.clearTimer(pending)
    this.#timers[what] = this.timing.setTimer(callback, milliseconds)
  }
}
