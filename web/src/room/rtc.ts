/**
 * One WHIP or WHEP session (RFC 9725 and its sibling for playback), kept up for as long as it is wanted: offer with all
 * candidates in one POST, answer, connection; renewed with a new session when it fails, DELETEd when it is left. There
 * are no ICE servers: the daemon is reached directly, and is ICE-lite, so that a path that broke is replaced rather than
 * repaired.
 */
import { backoff, browserTiming, type Timing } from './timing'

export type LinkState =
  /** Not wanted. */
  | 'off'
  | 'connecting'
  | 'connected'
  /** It was connected, or failed to, and is being tried again. */
  | 'reconnecting'
  /** The daemon said no, in words; asked again now and then. */
  | 'refused'

/** First wait after a failure; doubled up to `RETRY_MAX`. */
export const RETRY_MIN = 300
export const RETRY_MAX = 4000
/** A refusal (the event is not open, the room is full) is asked again after this. */
export const RETRY_REFUSED = 5000
/** An offer is sent with the candidates found by then; on one machine and without servers they are there at once. */
export const GATHER_WITHIN = 1000
/** From the offer until media can flow. */
export const CONNECT_WITHIN = 12_000
/** A path that is silent this long is taken as broken; browsers say so after about 5 s of silence themselves. */
export const DISCONNECTED_FOR = 1500

/** An answer that is no SDP. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    /** The daemon's own words (RFC 9457 `detail`), or ''. */
    readonly detail: string,
  ) {
    super(detail || `HTTP ${status}`)
  }
}

export interface RtcEnvironment extends Timing {
  makePeer(): RTCPeerConnection
  /** @throws Refusal when the daemon says no, anything else when it cannot be reached */
  post(url: string, offer: string): Promise<{ answer: string; session: string | null }>
  delete(session: string): void
}

export interface RtcPlan {
  /** Where to send the offer, asked for each try; null while it is not known. */
  url(): string | null
  /** Puts transceivers, tracks and channels on a new peer. */
  prepare(peer: RTCPeerConnection): void
  /** Changes the offer and the answer (`sdp.ts`). */
  shape(sdp: string): string
  onState(state: LinkState, refusal: Refusal | null): void
  onTrack?(event: RTCTrackEvent): void
}

export class RtcLink {
  state: LinkState = 'off'
  peer: RTCPeerConnection | null = null
  /** Sessions that were connected, for tests and support. */
  sessions = 0
  #session: string | null = null
  #timer: number | null = null
  #lost: number | null = null
  #failures = 0
  #wanted = false
  /** Raised with every try, so that answers to an abandoned one are dropped. */
  #generation = 0

  constructor(
    private readonly plan: RtcPlan,
    private readonly environment: RtcEnvironment = browserRtc,
  ) {}

  /** The session's name: the last part of its address, null while there is none. */
  get session(): string | null {
    return this.#session === null ? null : (new URL(this.#session).pathname.split('/').at(-1) ?? null)
  }

  start(): void {
    if (this.#wanted) return
    this.#wanted = true
    this.#failures = 0
    this.#say('connecting')
    void this.#connect()
  }

  stop(): void {
    this.#wanted = false
    this.#leave()
    this.#say('off')
  }

  /** Tries at once what would be tried later: the network is back. What is connected stays. */
  hurry(): void {
    if (!this.#wanted || this.state === 'connected' || this.state === 'connecting') return
    this.#failures = 0
    this.#again(0)
  }

  /** A new session at once, whatever the present one is like. */
  renew(): void {
    if (!this.#wanted) return
    this.#failures = 0
    this.#say('reconnecting')
    this.#again(0)
  }

  async #connect(): Promise<void> {
    this.#leave()
    const generation = this.#generation
    const stale = () => generation !== this.#generation || !this.#wanted
    const url = this.plan.url()
    if (url === null) return this.#fail(null)
    const peer = this.environment.makePeer()
    this.peer = peer
    peer.onconnectionstatechange = () => {
      if (!stale()) this.#connection(peer)
    }
    peer.ontrack = (event) => {
      if (!stale()) this.plan.onTrack?.(event)
    }
    this.#timer = this.environment.setTimer(() => this.#fail(null), CONNECT_WITHIN)
    try {
      this.plan.prepare(peer)
      const offer = await peer.createOffer()
      if (stale()) return
      await peer.setLocalDescription({ type: 'offer', sdp: this.plan.shape(offer.sdp ?? '') })
      await this.#gathered(peer)
      if (stale()) return
      const { answer, session } = await this.environment.post(url, peer.localDescription?.sdp ?? '')
      if (stale()) {
        // Left while it was being made: the daemon need not wait until it notices.
        if (session !== null) this.environment.delete(session)
        return
      }
      this.#session = session
      await peer.setRemoteDescription({ type: 'answer', sdp: this.plan.shape(answer) })
    } catch (error) {
      if (!stale()) this.#fail(error instanceof Refusal ? error : null)
    }
  }

  #gathered(peer: RTCPeerConnection): Promise<void> {
    if (peer.iceGatheringState === 'complete') return Promise.resolve()
    return new Promise((done) => {
      const finish = () => {
        this.environment.clearTimer(timer)
        done()
      }
      const timer = this.environment.setTimer(finish, GATHER_WITHIN)
      peer.addEventListener('icegatheringstatechange', () => {
        if (peer.iceGatheringState === 'complete') finish()
      })
    })
  }

  #connection(peer: RTCPeerConnection): void {
    const { connectionState } = peer
    if (connectionState === 'connected') {
      this.#clear()
      if (this.state !== 'connected') this.sessions += 1
      this.#failures = 0
      this.#say('connected')
    } else if (connectionState === 'disconnected' && this.state === 'connected') {
      this.#lost ??= this.environment.setTimer(() => this.#fail(null), DISCONNECTED_FOR)
    } else if (connectionState === 'failed' || connectionState === 'closed') {
      this.#fail(null)
    }
  }

  #fail(refusal: Refusal | null): void {
    if (!this.#wanted) return
    this.#say(refusal ? 'refused' : 'reconnecting', refusal)
    const wait = refusal
      ? RETRY_REFUSED * (0.75 + this.environment.random() / 2)
      : backoff(this.#failures, RETRY_MIN, RETRY_MAX, this.environment.random())
    this.#failures += 1
    this.#again(wait)
  }

  #again(wait: number): void {
    this.#leave()
    this.#timer = this.environment.setTimer(() => {
      this.#timer = null
      void this.#connect()
    }, wait)
  }

  #clear(): void {
    if (this.#timer !== null) this.environment.clearTimer(this.#timer)
    if (this.#lost !== null) this.environment.clearTimer(this.#lost)
    this.#timer = null
    this.#lost = null
  }

  /** Ends the present try or session, without a word to the page. */
  #leave(): void {
    this.#generation += 1
    this.#clear()
    const { peer } = this
    this.peer = null
    if (peer) {
      peer.onconnectionstatechange = null
      peer.ontrack = null
      peer.close()
    }
    if (this.#session !== null) this.environment.delete(this.#session)
    this.#session = null
  }

  #say(state: LinkState, refusal: Refusal | null = null): void {
    if (state === this.state && refusal === null) return
    this.state = state
    this.plan.onState(state, refusal)
  }
}

/**
 * Where a session is ended. A `Location` that leads elsewhere than below the address that was asked was written without
 * the prefix of a reverse proxy: then its last part counts. The right that was asked with (`link`, `token`) goes along.
 */
export function sessionUrl(url: string, location: string | null): string | null {
  if (location === null) return null
  const asked = new URL(url)
  const session = new URL(location, url)
  if (session.origin !== asked.origin || !session.pathname.startsWith(`${asked.pathname}/`)) {
    session.href = `${asked.origin}${asked.pathname}/${session.pathname.split('/').filter(Boolean).at(-1) ?? ''}`
  }
  for (const right of ['link', 'token']) {
    const value = asked.searchParams.get(right)
    if (value !== null) session.searchParams.set(right, value)
  }
  return session.href
}

/** Longest wait for the answer to an offer. */
const ANSWER_WITHIN = 8000

/** The `detail` of an RFC 9457 problem. */
async function detailOf(response: Response): Promise<string> {
  try {
    const problem = (await response.json()) as { detail?: unknown }
    return typeof problem.detail === 'string' ? problem.detail.slice(0, 500) : ''
  } catch {
    return ''
  }
}

export const browserRtc: RtcEnvironment = {
  ...browserTiming,
  makePeer: () => new RTCPeerConnection({ bundlePolicy: 'max-bundle' }),
  async post(url, offer) {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/sdp', accept: 'application/sdp' },
      body: offer,
      cache: 'no-store',
      signal: AbortSignal.timeout(ANSWER_WITHIN),
    })
    if (response.status >= 400 && response.status < 500) throw new Refusal(response.status, await detailOf(response))
    // 503 is said in words too: no room for another listener, the engine is starting.
    if (response.status === 503) throw new Refusal(503, await detailOf(response))
    if (!response.ok) throw new Error(`HTTP ${response.status}`)
    return { answer: await response.text(), session: sessionUrl(url, response.headers.get('location')) }
  },
  delete(session) {
    // Lets the request outlive the page.
    fetch(session, { method: 'DELETE', keepalive: true }).catch(() => undefined)
  },
}
