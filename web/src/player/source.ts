/**
 * Follows an event's state. The stream of server-sent events is what is wanted; a proxy that holds it back is noticed
 * and the same address is asked as JSON instead, so that a change is known within seconds at the worst. Every failure is
 * retried for as long as the page is open, since nobody is there to press a button.
 */

export type Connection =
  /** Nothing was heard yet. */
  | 'connecting'
  | 'online'
  /** It was, or should be, and is being tried again. */
  | 'reconnecting'
  /** The daemon does not know the event (404, 410). */
  | 'gone'
  /** The viewer may not (401, 403). */
  | 'denied'

/** What is taken from the browser, so that tests can bring their own. */
export interface SourceEnvironment {
  openStream(url: string): StreamLike
  fetchJson(url: string): Promise<{ status: number; body: unknown }>
  setTimer(callback: () => void, milliseconds: number): number
  clearTimer(timer: number): void
  random(): number
}

/** The part of `EventSource` that is used. */
export interface StreamLike {
  onerror: (() => void) | null
  onmessage: ((event: { data: string }) => void) | null
  close(): void
}

/** First wait after a failure; doubled up to `RETRY_MAX`. */
export const RETRY_MIN = 400
/** Longest wait between tries: players must be back within 5 s of the daemon. */
export const RETRY_MAX = 2000
/** An unknown event may be made yet; there is no hurry. */
export const RETRY_GONE = 5000
/** An open stream sends the whole state at once; one that says nothing for this long is held back by a proxy. */
export const SILENT_AFTER = 3000
/** How often the state is asked for when the stream is held back. */
export const POLL_EVERY = 2000
/** A connection can die without a word; this is how long that stays unnoticed. */
export const CHECK_EVERY = 45_000

export class StateSource {
  #stream: StreamLike | null = null
  #timers = new Set<number>()
  #silence: number | null = null
  #failures = 0
  #stopped = true
  #heard = false
  #streamWorks = false
  #isRefused = false
  /** Raised with every try, so that answers to an abandoned one are dropped. */
  #generation = 0

  constructor(
    private readonly url: string,
    private readonly onMessage: (message: unknown) => void,
    private readonly onConnection: (connection: Connection) => void,
    private readonly environment: SourceEnvironment = browserEnvironment,
  ) {}

  start(): void {
    if (!this.#stopped) return
    this.#stopped = false
    this.#open()
    this.#later(CHECK_EVERY * (0.75 + this.environment.random() / 2), () => this.#check())
  }

  stop(): void {
    this.#stopped = true
    this.#close()
    for (const timer of this.#timers) this.environment.clearTimer(timer)
    this.#timers.clear()
  }

  /** Asks for the state now: the network is back, the page is visible again, a playlist was refused. */
  refresh(): void {
    if (!this.#stopped) void this.#ask()
  }

  #open(): void {
    this.#close()
    const generation = this.#generation
    const stream = this.environment.openStream(this.url)
    this.#stream = stream
    this.#streamWorks = false
    stream.onmessage = ({ data }) => {
      if (generation !== this.#generation) return
      let message: unknown
      try {
        message = JSON.parse(data)
      } catch {
        return
      }
      this.#streamWorks = true
      this.#stopSilence()
      this.#online()
      this.onMessage(message)
    }
    stream.onerror = () => {
      if (generation !== this.#generation) return
      // The browser's own reconnection waits longer than we want and gives up on an HTTP error: ours replaces it.
      this.#close()
      void this.#ask()
      this.#retry()
    }
    this.#silence = this.#later(SILENT_AFTER, () => this.#poll(generation))
  }

  #close(): void {
    this.#generation += 1
    this.#stopSilence()
    this.#stream?.close()
    this.#stream = null
  }

  #stopSilence(): void {
    if (this.#silence === null) return
    this.environment.clearTimer(this.#silence)
    this.#timers.delete(this.#silence)
    this.#silence = null
  }

  #retry(): void {
    const delay = this.#isRefused ? RETRY_GONE : Math.min(RETRY_MAX, RETRY_MIN * 2 ** this.#failures)
    this.#failures += 1
    // Spread, so that a daemon that comes back is not met by all its viewers in one moment.
    this.#later(delay * (0.5 + this.environment.random() / 2), () => {
      if (this.#stream === null) this.#open()
    })
  }

  #poll(generation: number): void {
    if (this.#stopped || generation !== this.#generation || this.#streamWorks) return
    void this.#ask()
    this.#silence = this.#later(POLL_EVERY, () => this.#poll(generation))
  }

  #check(): void {
    void this.#ask()
    this.#later(CHECK_EVERY * (0.75 + this.environment.random() / 2), () => this.#check())
  }

  /** One request for the JSON form; it also tells why a stream failed, which `EventSource` does not. */
  async #ask(): Promise<void> {
    let answer: { status: number; body: unknown }
    try {
      answer = await this.environment.fetchJson(this.url)
    } catch {
      this.#isRefused = false
      if (!this.#stopped) this.onConnection(this.#heard ? 'reconnecting' : 'connecting')
      return
    }
    if (this.#stopped) return
    if (answer.status === 200) {
      this.#online()
      this.onMessage(answer.body)
    } else if (answer.status === 404 || answer.status === 410) {
      this.#refused('gone')
    } else if (answer.status === 401 || answer.status === 403) {
      this.#refused('denied')
    } else {
      this.#isRefused = false
      this.onConnection(this.#heard ? 'reconnecting' : 'connecting')
    }
  }

  #refused(why: 'gone' | 'denied'): void {
    this.#isRefused = true
    this.onConnection(why)
  }

  #online(): void {
    this.#heard = true
    this.#isRefused = false
    this.#failures = 0
    this.onConnection('online')
  }

  #later(milliseconds: number, callback: () => void): number {
    const timer = this.environment.setTimer(() => {
      this.#timers.delete(timer)
      if (!this.#stopped) callback()
    }, milliseconds)
    this.#timers.add(timer)
    return timer
  }
}

const browserEnvironment: SourceEnvironment = {
  openStream: (url) => new EventSource(url) as unknown as StreamLike,
  fetchJson: async (url) => {
    const response = await fetch(url, {
      headers: { Accept: 'application/json' },
      cache: 'no-store',
      signal: AbortSignal.timeout(5000),
    })
    return { status: response.status, body: response.ok ? await response.json() : null }
  },
  setTimer: (callback, milliseconds) => window.setTimeout(callback, milliseconds),
  clearTimer: (timer) => window.clearTimeout(timer),
  random: Math.random,
}
