/** The daemon's picture of a room, chat and levels, in simulated time. */
import { expect, test } from 'vitest'
import { parseRoom } from '../../src/room/address'
import { RoomCore, SILENT } from '../../src/room/core'
import { FakeSockets } from './room-world'

function setup(role: 'interpreter' | 'manager' = 'interpreter') {
  const world = new FakeSockets()
  const core = new RoomCore(parseRoom('https://host/booth/S', 'booth'), role, () => 'Anna', world)
  core.socket.start()
  world.last.welcome('p1')
  return { world, core }
}

const chat = (from: string, to: string, text: string, fields: object = {}) => ({
  type: 'chat', from, name: from, role: 'interpreter', booth: to === 'booth' ? 'de' : null, to, text, at: '2026-01-01T10:00:00Z', ...fields,
})

test('levels end when nothing sounds, and what is entirely silent is no level', async () => {
  const { world, core } = setup()
  world.last.hear({ type: 'levels', floor: null, booths: { de: -20, fr: null } })
  expect(core.levels.value).toEqual({ floor: SILENT.floor, booths: { de: -20, fr: SILENT.floor } })
  await world.run(300)
  world.last.hear({ type: 'levels', floor: -12, booths: {} })
  await world.run(300)
  expect(core.levels.value.floor).toBe(-12)
  await world.run(100)
  expect(core.levels.value).toEqual(SILENT)
})

test('chat: own lines are not unread, a conversation that is opened is read, and only so much is kept', () => {
  const { world, core } = setup()
  world.last.hear(chat('p1', 'booth', 'mine'))
  world.last.hear(chat('p2', 'all', 'hello'))
  world.last.hear(chat('p2', 'all', 'again'))
  world.last.hear(chat('m1', 'booth', 'ten minutes', { role: 'manager' }))
  expect(core.store.value.unread).toEqual({ all: 2, managers: 1 })
  core.openThread('all')
  expect(core.store.value.unread).toEqual({ all: 0, managers: 1 })
  for (let i = 0; i < 600; i += 1) world.last.hear(chat('p2', 'all', String(i)))
  expect(core.store.value.chat).toHaveLength(500)
  expect(core.store.value.chat.at(-1)!.text).toBe('599')
  expect(core.store.value.unread['all']).toBe(0)
})

test('chat goes where the open conversation leads, and not while the connection is lost', async () => {
  const { world, core } = setup('manager')
  core.openThread('booth:de')
  expect(core.chat('  Better now?  ')).toBe(true)
  expect(world.last.sent.at(-1)).toEqual({ type: 'chat', to: 'booth', text: 'Better now?', booth: 'de' })
  expect(core.chat('   ')).toBe(false)
  core.openThread('all')
  world.last.onclose?.()
  expect(core.chat('too late')).toBe(false)
  await world.run(3000)
  world.last.welcome('p1')
  expect(world.last.sent.some((one) => one['type'] === 'chat')).toBe(false)
})

test('an error and a slow-down disappear by themselves', async () => {
  const { world, core } = setup()
  world.last.hear({ type: 'error', detail: 'Not now.' })
  world.last.hear({ type: 'slow_down', from: 'p2', booth: 'fr' })
  expect(core.store.value).toMatchObject({ error: 'Not now.', slowDown: { from: 'p2', booth: 'fr' } })
  for (let i = 0; i < 12; i += 1) {
    const ping = world.last.sent.at(-1)!
    world.last.hear({ type: 'pong', at: ping['at'] })
    await world.run(1000)
  }
  expect(core.store.value).toMatchObject({ error: null, slowDown: null })
})
