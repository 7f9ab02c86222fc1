/** What the rooms take from browser and daemon, in simulated time: timers, WebSockets and peers that tests drive by hand. */
import { Refusal, type RtcEnvironment } from '../../src/room/rtc'
import type { SocketEnvironment, SocketLike } from '../../src/room/socket'
import type { Timing } from '../../src/room/timing'

export class Clock implements Timing {
  #now = 0
  #timers = new Map<number, { at: number; callback: () => void }>()
  #ids = 0

  now = (): number => this.#now
  random = (): number => 0.5

  setTimer = (callback: () => void, milliseconds: number): number => {
    this.#timers.set((this.#ids += 1), { at: this.#now + milliseconds, callback })
    return this.#ids
  }

  clearTimer = (timer: number): void => {
    this.#timers.delete(timer)
  }

  get timers(): number {
    return this.#timers.size
  }

  /** Lets time pass, timer by timer, with what they promise done in between. */
  async run(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds
    for (;;) {
      await settled()
      const next = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0]
      if (!next) break
      const [id, { at, callback }] = next
      this.#timers.delete(id)
      this.#now = at
      callback()
    }
    this.#now = end
    await settled()
  }
}

/** Promises that are settled have run what waits for them. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 20; i += 1) await Promise.resolve()
}

export class FakeSocket implements SocketLike {
  onopen: (() => void) | null = null
  onmessage: ((event: { data: unknown }) => void) | null = null
  onclose: (() => void) | null = null
  readonly sent: Record<string, unknown>[] = []
  closed = false

  send(text: string): void {
    if (this.closed) throw new Error('sent after close')
    this.sent.push(JSON.parse(text) as Record<string, unknown>)
  }

  close(): void {
    this.closed = true
  }

  hear(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) })
  }

  welcome(you = 'p1', resume = 'r1'): void {
    this.onopen?.()
    this.hear({ type: 'welcome', you, resume, event: { id: 'e', name: 'E' }, booth: 'de' })
  }
}

export class FakeSockets extends Clock implements SocketEnvironment {
  readonly sockets: FakeSocket[] = []
  /** The status of the link's `info`. */
  status = 200

  open = (): SocketLike => {
    const socket = new FakeSocket()
    this.sockets.push(socket)
    return socket
  }

  ask = (): Promise<number> => Promise.resolve(this.status)

  get last(): FakeSocket {
    return this.sockets.at(-1)!
  }
}

export class FakePeer extends EventTarget {
  connectionState = 'new'
  iceGatheringState = 'complete'
  localDescription: { type: string; sdp: string } | null = null
  remoteDescription: { type: string; sdp: string } | null = null
  onconnectionstatechange: (() => void) | null = null
  ontrack: ((event: unknown) => void) | null = null
  closed = false

  createOffer = () => Promise.resolve({ type: 'offer', sdp: 'offer' })

  setLocalDescription(description: { type: string; sdp: string }): Promise<void> {
    this.localDescription = description
    return Promise.resolve()
  }

  setRemoteDescription(description: { type: string; sdp: string }): Promise<void> {
    if (this.closed) return Promise.reject(new Error('closed'))
    this.remoteDescription = description
    return Promise.resolve()
  }

  close(): void {
    this.closed = true
  }

  become(state: string): void {
    this.connectionState = state
    this.onconnectionstatechange?.()
  }
}

export class FakeMedia extends Clock implements RtcEnvironment {
  readonly peers: FakePeer[] = []
  readonly posts: { url: string; offer: string }[] = []
  readonly deleted: string[] = []
  /** The daemon's mood: answers, refuses, cannot be reached, or lets one wait. */
  mood: 'answers' | 'refuses' | 'unreachable' | 'silent' = 'answers'

  makePeer = (): RTCPeerConnection => {
    const peer = new FakePeer()
    this.peers.push(peer)
    return peer as unknown as RTCPeerConnection
  }

  post = (url: string, offer: string): Promise<{ answer: string; session: string | null }> => {
    this.posts.push({ url, offer })
    if (this.mood === 'refuses') return Promise.reject(new Refusal(409, 'The event is not open.'))
    if (this.mood === 'unreachable') return Promise.reject(new TypeError('fetch failed'))
    if (this.mood === 'silent') return new Promise(() => undefined)
    return Promise.resolve({ answer: 'answer', session: `session-${this.posts.length}` })
  }

  delete = (session: string): void => {
    this.deleted.push(session)
  }

  get peer(): FakePeer {
    return this.peers.at(-1)!
  }
}
