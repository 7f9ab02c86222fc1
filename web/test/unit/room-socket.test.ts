/** The control connection in simulated time: resumed, kept, renewed, closed. */
import { expect, test } from 'vitest'
import type { FromDaemon } from '../../src/room/protocol'
import { PING_EVERY, RETRY_CLOSED, RETRY_MAX, RoomSocket, SILENT_FOR, WELCOME_WITHIN, type ClosedReason, type SocketState } from '../../src/room/socket'
import { FakeSockets, settled } from './room-world'

function setup() {
  const world = new FakeSockets()
  const heard: FromDaemon[] = []
  const states: SocketState[] = []
  const closed: ClosedReason[] = []
  const socket = new RoomSocket(
    {
      url: 'wss://daemon/booth/S/ws', infoUrl: 'https://daemon/booth/S/info', name: () => 'Anna', onMessage: (message) => heard.push(message),
      onState: (state) => states.push(state), onClosed: (reason) => closed.push(reason),
    },
    world,
  )
  socket.start()
  return { world, heard, states, closed, socket }
}

test('says hello, is welcomed, measures the round trip', async () => {
  const { world, heard, states, socket } = setup()
  world.last.onopen?.()
  expect(world.last.sent).toEqual([{ type: 'hello', name: 'Anna' }])
  expect(socket.send({ type: 'on_air', value: true })).toBe(false)
  world.last.welcome()
  expect(states).toEqual(['open'])
  expect(heard.map((one) => one.type)).toEqual(['welcome'])
  const ping = world.last.sent.at(-1)!
  expect(ping['type']).toBe('ping')
  await world.run(40)
  world.last.hear({ type: 'pong', at: ping['at'] })
  expect(socket.roundTrip).toBe(40)
})

test('lost: goes on as the same person, with the newest position of each switch and no chat', async () => {
  const { world, states, socket } = setup()
  world.last.welcome('p1', 'r1')
  world.last.onclose?.()
  expect(states.at(-1)).toBe('reconnecting')
  socket.send({ type: 'on_air', value: true })
  socket.send({ type: 'on_air', value: false })
  socket.send({ type: 'listen', source: 'fr' })
  expect(socket.send({ type: 'chat', to: 'all', text: 'late' })).toBe(false)
  await world.run(RETRY_MAX)
  expect(world.sockets).toHaveLength(2)
  world.last.onopen?.()
  expect(world.last.sent[0]).toEqual({ type: 'hello', name: 'Anna', resume: 'r1' })
  world.last.hear({ type: 'welcome', you: 'p1', resume: 'r2', event: { id: 'e', name: 'E' }, booth: 'de' })
  expect(world.last.sent.filter((one) => one['type'] !== 'ping').slice(1)).toEqual([{ type: 'on_air', value: false }, { type: 'listen', source: 'fr' }])
  // Said once.
  world.last.onclose?.()
  await world.run(RETRY_MAX)
  world.last.welcome()
  expect(world.last.sent.filter((one) => one['type'] === 'on_air')).toEqual([])
})

test('a network that dies without a word is noticed by the silence', async () => {
  const { world, states } = setup()
  world.last.welcome()
  await world.run(SILENT_FOR + PING_EVERY + 1)
  expect(states.at(-1)).toBe('reconnecting')
  expect(world.sockets[0]!.closed).toBe(true)
  await world.run(RETRY_MAX)
  expect(world.sockets.length).toBeGreaterThan(1)
})

test('a daemon that accepts and says nothing is given up, and waits grow up to their most', async () => {
  const { world } = setup()
  world.last.onopen?.()
  await world.run(WELCOME_WITHIN + 1)
  expect(world.sockets[0]!.closed).toBe(true)
  for (let i = 0; i < 12; i += 1) {
    await world.run(RETRY_MAX)
    world.last.onclose?.()
    await settled()
  }
  const before = world.sockets.length
  await world.run(30_000)
  // One try in RETRY_MAX × 0.75 and WELCOME_WITHIN: no storm, no surrender.
  expect(world.sockets.length - before).toBeGreaterThanOrEqual(3)
  expect(world.sockets.length - before).toBeLessThanOrEqual(5)
})

test.each([['revoked'], ['expired'], ['replaced']] as const)('%s is the end, until the user wants it back', async (reason) => {
  const { world, states, closed, socket } = setup()
  world.last.welcome()
  world.last.hear({ type: 'closed', reason, detail: '' })
  expect(closed).toEqual([reason])
  expect(states.at(-1)).toBe('closed')
  await world.run(120_000)
  expect(world.sockets).toHaveLength(1)
  expect(world.timers).toBe(0)
  socket.reopen()
  world.last.welcome()
  expect(states.at(-1)).toBe('open')
})

test('an event that is not open is knocked at again, a slow reader comes back at once', async () => {
  const { world, closed, states } = setup()
  world.last.welcome()
  world.last.hear({ type: 'closed', reason: 'event', detail: '' })
  expect(closed).toEqual(['event'])
  await world.run(RETRY_CLOSED - 1)
  expect(world.sockets).toHaveLength(1)
  await world.run(2)
  world.last.welcome()
  expect(states.at(-1)).toBe('open')
  world.last.hear({ type: 'closed', reason: 'slow', detail: '' })
  await world.run(1000)
  expect(world.sockets).toHaveLength(3)
})

test.each([[404, 'unknown_link'], [403, 'revoked'], [401, 'unknown_link'], [410, 'expired']] as const)('refused with %i: %s', async (status, reason) => {
  const { world, closed, states } = setup()
  world.status = status
  world.last.onclose?.()
  await settled()
  expect(closed).toEqual([reason])
  expect(states.at(-1)).toBe('closed')
  await world.run(60_000)
  expect(world.sockets).toHaveLength(1)
})

test('refused by a daemon that is not there is tried again', async () => {
  const { world, closed } = setup()
  world.status = 0
  world.last.onclose?.()
  await world.run(1000)
  expect(closed).toEqual([])
  expect(world.sockets).toHaveLength(2)
})

test('what is no message is ignored, and what an abandoned connection says too', async () => {
  const { world, heard, socket } = setup()
  const first = world.last
  first.welcome()
  first.onmessage?.({ data: 'no json' })
  first.onmessage?.({ data: 'null' })
  const late = first.onmessage
  socket.stop()
  late?.({ data: JSON.stringify({ type: 'error', detail: 'late' }) })
  expect(heard.map((one) => one.type)).toEqual(['welcome'])
  expect(first.closed).toBe(true)
  await world.run(60_000)
  expect(world.sockets).toHaveLength(1)
})
