/**
 * The rooms' control connection: one WebSocket after the other, for as long as the page is open and the daemon lets it.
 * The first message is `hello`; with the token of the last `welcome` the same person goes on in the same state. What the
 * user switches meanwhile is kept, the newest of each kind, and said after the next `welcome`; chat is not, since it
 * would arrive out of its time.
 */
import type { FromDaemon, ToDaemon } from './protocol'
import { backoff, browserTiming, type Timing } from './timing'

export type SocketState =
  | 'connecting'
  /** Welcomed. */
  | 'open'
  | 'reconnecting'
  /** Not tried again: `onClosed` said why. */
  | 'closed'

export type ClosedReason = Extract<FromDaemon, { type: 'closed' }>['reason'] | 'unknown_link'

/** First wait after a loss; doubled up to `RETRY_MAX`. */
export const RETRY_MIN = 300
export const RETRY_MAX = 3000
/** A room that is closed (event not open) is knocked at again after this. */
export const RETRY_CLOSED = 5000
/** How often the round trip is measured. */
export const PING_EVERY = 2000
/** A daemon that says nothing for this long, not even `pong`, is not there: the network died without a word. */
export const SILENT_FOR = 5000
/** From opening until `welcome`. */
export const WELCOME_WITHIN = 6000

/** The part of `WebSocket` that is used. */
export interface SocketLike {
  onopen: (() => void) | null
  onmessage: ((event: { data: unknown }) => void) | null
  onclose: (() => void) | null
  send(text: string): void
  close(): void
}

export interface SocketEnvironment extends Timing {
  open(url: string): SocketLike
  /** Why a connection was refused, which a WebSocket does not tell: the status of the link's `info`, 0 for no answer. */
  ask(url: string): Promise<number>
}

export interface SocketHost {
  url: string
  /** Asked when a connection is refused before it opened. */
  infoUrl: string
  /** The name said in `hello`. */
  name(): string
  onMessage(message: FromDaemon): void
  onState(state: SocketState): void
  onClosed(reason: ClosedReason, detail: string): void
}

/** What is said later when it cannot be said now: switches, by their newest position. */
const KEPT: readonly ToDaemon['type'][] = ['on_air', 'cough', 'listen', 'outgoing', 'call_manager']

export class RoomSocket {
  state: SocketState = 'connecting'
  /** ms of the control connection, null before the first `pong`. */
  roundTrip: number | null = null
  /** Connections that were welcomed. */
  welcomes = 0
  #socket: SocketLike | null = null
  #resume: string | null = null
  #failures = 0
  #generation = 0
  #lastHeard = 0
  #retry: number | null = null
  #deadline: number | null = null
  #pinging: number | null = null
  #stopped = true
  readonly #kept = new Map<string, ToDaemon>()

  constructor(
    private readonly host: SocketHost,
    private readonly environment: SocketEnvironment = browserSocket,
  ) {}

  start(): void {
    if (!this.#stopped) return
    this.#stopped = false
    this.#say('connecting')
    this.#open()
  }

  stop(): void {
    this.#stopped = true
    this.#drop()
  }

  /** Comes back after `closed` on the user's wish: this page, and not the other one. */
  reopen(): void {
    this.#stopped = false
    this.#failures = 0
    this.#say('reconnecting')
    this.#open()
  }

  /** The network is back: now rather than later. */
  hurry(): void {
    if (this.#stopped || this.state === 'open' || this.#retry === null) return
    this.#failures = 0
    this.#open()
  }

  /** @returns whether it was sent now */
  send(message: ToDaemon): boolean {
    if (this.state === 'open' && this.#socket) {
      this.#socket.send(JSON.stringify(message))
      return true
    }
    if (KEPT.includes(message.type)) this.#kept.set(message.type, message)
    return false
  }

  #open(): void {
    this.#drop()
    const generation = this.#generation
    const stale = () => generation !== this.#generation
    const socket = this.environment.open(this.host.url)
    let opened = false
    this.#socket = socket
    this.#deadline = this.environment.setTimer(() => this.#lost(), WELCOME_WITHIN)
    socket.onopen = () => {
      if (stale()) return
      opened = true
      const hello: ToDaemon = { type: 'hello', name: this.host.name() }
      if (this.#resume !== null) hello.resume = this.#resume
      socket.send(JSON.stringify(hello))
    }
    socket.onmessage = ({ data }) => {
      if (!stale()) this.#hear(data)
    }
    socket.onclose = () => {
      if (stale()) return
      if (opened) this.#lost()
      else void this.#refused(generation)
    }
  }

  async #refused(generation: number): Promise<void> {
    const status = await this.environment.ask(this.host.infoUrl).catch(() => 0)
    if (generation !== this.#generation || this.#stopped) return
    if (status === 410) this.#end('expired', '')
    else if (status === 403) this.#end('revoked', '')
    else if (status === 401 || status === 404) this.#end('unknown_link', '')
    else this.#lost()
  }

  #hear(data: unknown): void {
    this.#lastHeard = this.environment.now()
    let message: FromDaemon
    try {
      message = JSON.parse(String(data)) as FromDaemon
    } catch {
      return
    }
    if (typeof message !== 'object' || message === null) return
    switch (message.type) {
      case 'welcome':
        this.#welcome(message.resume)
        break
      case 'pong':
        this.roundTrip = Math.max(0, this.environment.now() - message.at)
        return
      case 'closed':
        if (message.reason === 'slow') return this.#lost()
        if (message.reason === 'event') {
          this.host.onClosed('event', message.detail)
          this.#say('reconnecting')
          return this.#later(RETRY_CLOSED)
        }
        return this.#end(message.reason, message.detail)
    }
    this.host.onMessage(message)
  }

  #welcome(resume: string): void {
    if (this.#deadline !== null) this.environment.clearTimer(this.#deadline)
    this.#deadline = null
    this.#resume = resume
    this.#failures = 0
    this.welcomes += 1
    this.#say('open')
    for (const message of this.#kept.values()) this.#socket?.send(JSON.stringify(message))
    this.#kept.clear()
    this.#ping()
  }

  #ping(): void {
    const { environment } = this
    const now = environment.now()
    if (now - this.#lastHeard > SILENT_FOR) return this.#lost()
    this.send({ type: 'ping', at: now })
    this.#pinging = environment.setTimer(() => this.#ping(), PING_EVERY)
  }

  #lost(): void {
    if (this.#stopped) return
    this.#say('reconnecting')
    const wait = backoff(this.#failures, RETRY_MIN, RETRY_MAX, this.environment.random())
    this.#failures += 1
    this.#later(wait)
  }

  #later(wait: number): void {
    this.#drop()
    this.#retry = this.environment.setTimer(() => {
      this.#retry = null
      this.#open()
    }, wait)
  }

  #end(reason: ClosedReason, detail: string): void {
    this.#stopped = true
    this.#drop()
    this.#say('closed')
    this.host.onClosed(reason, detail)
  }

  #drop(): void {
    this.#generation += 1
    for (const timer of [this.#retry, this.#deadline, this.#pinging]) {
      if (timer !== null) this.environment.clearTimer(timer)
    }
    this.#retry = null
    this.#deadline = null
    this.#pinging = null
    const socket = this.#socket
    this.#socket = null
    if (socket) {
      socket.onopen = null
      socket.onmessage = null
      socket.onclose = null
      socket.close()
    }
  }

  #say(state: SocketState): void {
    if (state === this.state) return
    this.state = state
    this.host.onState(state)
  }
}

export const browserSocket: SocketEnvironment = {
  ...browserTiming,
  open: (url) => new WebSocket(url) as unknown as SocketLike,
  ask: async (url) => {
    const response = await fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(5000) })
    return response.status
  },
}
