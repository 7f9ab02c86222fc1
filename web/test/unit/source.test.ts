import { beforeEach, expect, test } from 'vitest'
import { CHECK_EVERY, POLL_EVERY, RETRY_GONE, RETRY_MAX, SILENT_AFTER, StateSource, type Connection, type StreamLike } from '../../src/player/source'

/** A world with its own clock: timers fire when time is moved, requests answer as they are told. */
class World {
  now = 0
  timers: { at: number; id: number; callback: () => void }[] = []
  streams: (StreamLike & { closed: boolean })[] = []
  asked = 0
  answer: { status: number; body: unknown } | null = { status: 200, body: { status: 'inactive' } }
  messages: unknown[] = []
  connections: Connection[] = []
  #id = 0

  /** Addresses that were asked, streams and requests. */
  urls: string[] = []
  /** Servers that do not answer. */
  down = new Set<string>()
  /** Whether a message of another server counts. */
  say: boolean | undefined

  readonly source = new StateSource('u', (message, at) => (this.messages.push(message), at === 0 || this.say), (connection) => this.connections.push(connection), {
    openStream: (url) => {
      this.urls.push(url)
      const stream = { onerror: null, onmessage: null, closed: false, close() { this.closed = true } }
      this.streams.push(stream)
      return stream
    },
    fetchJson: async (url) => {
      this.asked += 1
      if (!this.answer || this.down.has(url)) throw new Error('refused')
      return this.answer
    },
    setTimer: (callback, milliseconds) => {
      this.timers.push({ at: this.now + milliseconds, id: (this.#id += 1), callback })
      return this.#id
    },
    clearTimer: (id) => {
      this.timers = this.timers.filter((timer) => timer.id !== id)
    },
    random: () => 1,
  })

  get stream() {
    return this.streams.at(-1)!
  }

  async pass(milliseconds: number): Promise<void> {
    const end = this.now + milliseconds
    for (;;) {
      const next = this.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0]
      if (!next) break
      this.now = next.at
      this.timers = this.timers.filter((timer) => timer !== next)
      next.callback()
      await new Promise((done) => setImmediate(done))
    }
    this.now = end
    await new Promise((done) => setImmediate(done))
  }
}

let world: World
beforeEach(() => {
  world = new World()
  world.source.start()
})

test('the stream is listened to, and nothing else is asked while it speaks', async () => {
  world.stream.onmessage?.({ data: '{"status":"inactive"}' })
  world.stream.onmessage?.({ data: 'not JSON' })
  await world.pass(10_000)
  expect(world.messages).toEqual([{ status: 'inactive' }])
  expect(world.connections).toEqual(['online'])
  expect([world.streams.length, world.asked]).toEqual([1, 0])
})

test('a stream that breaks is opened again soon, for as long as it takes', async () => {
  world.answer = null
  world.stream.onmessage?.({ data: '{}' })
  let longest = 0
  for (let i = 0; i < 12; i += 1) {
    const before = world.now
    const streams = world.streams.length
    world.stream.onerror?.()
    while (world.streams.length === streams) await world.pass(50)
    longest = Math.max(longest, world.now - before)
  }
  expect(longest).toBeLessThanOrEqual(RETRY_MAX + 50)
  expect(world.connections.at(-1)).toBe('reconnecting')
  expect(world.streams.filter((stream) => !stream.closed).length).toBe(1)
  world.stream.onmessage?.({ data: '{"status":"ended"}' })
  expect(world.connections.at(-1)).toBe('online')
})

test('a stream that is held back is made up for by asking', async () => {
  await world.pass(SILENT_AFTER)
  expect(world.messages).toEqual([{ status: 'inactive' }])
  await world.pass(3 * POLL_EVERY)
  expect(world.asked).toBe(4)
  // Once it speaks, asking ends.
  world.stream.onmessage?.({ data: '{"status":"started"}' })
  await world.pass(4 * POLL_EVERY)
  expect(world.asked).toBe(4)
})

test('an unknown event and a refusal are told apart, and asked about again without hurry', async () => {
  world.answer = { status: 404, body: null }
  world.stream.onerror?.()
  await world.pass(1)
  expect(world.connections).toEqual(['gone'])
  const before = world.asked
  for (let t = 0; t < 20_000; t += 100) {
    await world.pass(100)
    if (!world.stream.closed) world.stream.onerror?.()
  }
  expect(world.asked - before).toBeLessThanOrEqual(20_000 / RETRY_GONE + 1)
  world.answer = { status: 403, body: null }
  world.source.refresh()
  await world.pass(1)
  expect(world.connections.at(-1)).toBe('denied')
})

test('a connection that died without a word is noticed', async () => {
  world.stream.onmessage?.({ data: '{"status":"started"}' })
  world.answer = { status: 200, body: { status: 'paused' } }
  await world.pass(CHECK_EVERY * 1.25 + 1)
  expect(world.messages.at(-1)).toEqual({ status: 'paused' })
})

test('after stop nothing is asked or told', async () => {
  const { stream } = world
  world.source.stop()
  stream.onmessage?.({ data: '{}' })
  stream.onerror?.()
  world.source.refresh()
  await world.pass(60_000)
  expect([world.messages.length, world.asked, world.timers.length]).toEqual([0, 0, 0])
  expect(stream.closed).toBe(true)
})

test('where others carry the event, a server that fails is left for the next, and that one kept', async () => {
  world.source.setOthers(['v', 'w'])
  world.stream.onmessage?.({ data: '{"status":"started"}' })
  world.down.add('u')
  world.stream.onerror?.()
  await world.pass(1)
  await world.pass(500)
  expect([world.urls.at(-1), world.source.at]).toEqual(['v', 1])
  world.stream.onmessage?.({ data: '{"status":"started"}' })
  expect(world.connections.at(-1)).toBe('online')
  await world.pass(CHECK_EVERY * 1.25 + 1)
  expect([world.source.at, world.stream.closed]).toEqual([1, false])
  // Not knowing the event, it has nothing to say of it.
  world.answer = { status: 404, body: null }
  world.stream.onerror?.()
  await world.pass(1)
  await world.pass(500)
  expect([world.connections.at(-1), world.source.at]).toEqual(['reconnecting', 2])
})

test('a server without a say is passed over, and a silent one that hangs is left open to nobody', async () => {
  world.source.setOthers(['v'])
  world.stream.onmessage?.({ data: '{"status":"started"}' })
  world.say = false
  world.down.add('u')
  // The stream is open still; asking tells that nobody is there.
  await world.source.refresh()
  await world.pass(500)
  expect(world.urls).toEqual(['u', 'v'])
  world.stream.onmessage?.({ data: '{"status":"preview"}' })
  expect([world.connections.at(-1), world.source.at]).toEqual(['reconnecting', 0])
  await world.pass(RETRY_MAX)
  expect(world.urls.at(-1)).toBe('u')
  expect(world.streams.filter((stream) => !stream.closed).length).toBe(1)
})
