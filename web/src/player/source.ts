/**
 * Follows an event's state. The stream of server-sent events is what is wanted; a proxy that holds it back is noticed
 * and the same address is asked as JSON instead, so that a change is known within seconds at the worst. Every failure is
 * retried for as long as the page is open, since nobody is there to press a button. Where other servers carry the event
 * (`setOthers`), each failure is also a turn to the next of them; the one that answers is listened to until it fails.
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
  #others: readonly string[] = []
  /** Which address is asked: 0 is the server's own, then the others. */
  #at = 0
  /** Raised with every try, so that answers to an abandoned one are dropped. */
  #generation = 0

  constructor(
    private readonly url: string,
    /** `at` says who speaks: 0 for `url`, then the others; false when it has no say, which counts as a failure. */
    private readonly onMessage: (message: unknown, at: number) => unknown,
    private readonly onConnection: (connection: Connection) => void,
    private readonly environment: SourceEnvironment = browserEnvironment,
  ) {}

  /** Whose word holds: 0 for `url`, then the others. */
  get at(): number {
    return this.#at
  }

  /** The same event's state on other servers. */
  setOthers(urls: readonly string[]): void {
    this.#others = urls
    if (this.#at > urls.length) this.#at = 0
  }

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

  /**
   * Asks for the state now: the network is back, the page is visible again, a playlist was refused. Resolves when the
   * answer was handled, or there is none.
   */
  async refresh(): Promise<void> {
    if (!this.#stopped) await this.#ask()
  }

  #open(): void {
    this.#close()
    const generation = this.#generation
    const stream = this.environment.openStream(this.#address())
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
      this.#heardOf(message)
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

  #address(): string {
    return this.#others[this.#at - 1] ?? this.url
  }

  #heardOf(message: unknown): void {
    if (this.onMessage(message, this.#at) === false) this.#failed()
    else this.#online()
  }

  /** No answer, or none that counts: another server may have one. */
  #failed(): void {
    this.#isRefused = false
    this.onConnection(this.#heard ? 'reconnecting' : 'connecting')
    if (this.#others.length === 0) return
    this.#at = (this.#at + 1) % (this.#others.length + 1)
    if (this.#stream === null) return
    // Open, but of the server that failed.
    this.#close()
    this.#retry()
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
    const at = this.#at
    let answer: { status: number; body: unknown }
    try {
      answer = await this.environment.fetchJson(this.#address())
    } catch {
      answer = { status: 0, body: null }
    }
    // Meanwhile another server may have been turned to.
    if (this.#stopped || at !== this.#at) return
    if (answer.status === 200) {
      this.#heardOf(answer.body)
    } else if (at > 0) {
      // What another server does not know, or not show, says nothing of the event.
      this.#failed()
    } else if (answer.status === 404 || answer.status === 410) {
      this.#refused('gone')
    } else if (answer.status === 401 || answer.status === 403) {
      this.#refused('denied')
    } else {
      this.#failed()
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
