/** What keeps a stream playing, in simulated time: repairs, playing out, pace and rungs. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { outage, refusal, World } from './world'

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal('window', globalThis)
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
})

async function playing(): Promise<World> {
  const world = new World()
  world.playback.start()
  await world.until('playing', () => world.playback.status === 'playing', 2)
  await world.run(3)
  return world
}

describe('a refused playlist', () => {
  test('of an event that has paused is no trouble: all that is held plays out', async () => {
    const world = await playing()
    const held = world.loaded
    world.refusing = refusal(404)
    world.stillLive = false
    await world.run(0.05)
    // The word of the pause arrives.
    world.playback.drain()
    expect(world.playback.holding).toBe(true)
    await world.until('played out', () => world.drained > 0, 4)
    expect(world.video.currentTime).toBeCloseTo(held, 5)
    expect(world.errors.filter(Boolean)).toEqual([])
    expect(world.playback.counters).toMatchObject({ alarms: 0, resumes: 0, reloads: 0 })
    expect(world.playback.counters.errors.map((error) => error.fatal)).toEqual([false])
  })

  test('of an event that goes on is told and repaired as soon as the event says so', async () => {
    const world = await playing()
    world.refusing = refusal(404)
    await world.run(0.01)
    expect(world.errors.filter(Boolean)).toEqual([])
    const told = await world.until('told', () => world.playback.counters.alarms > 0, 1)
    expect(told).toBeLessThan(0.1)
    const tried = await world.until('tried', () => world.engine.resumed > 0, 1)
    expect(told + tried).toBeLessThan(0.4)
    world.refusing = null
    await world.until('playing well', () => world.errors.at(-1) === null && world.playback.status === 'playing', 3)
    // Without tearing down what was held.
    expect(world.playback.counters.reloads).toBe(0)
  })

  test('does not wait for an answer that never comes', async () => {
    const world = await playing()
    world.answerTakes = 1000 // the page's own limit
    world.refusing = refusal(403)
    await world.run(0.9)
    expect(world.playback.counters.alarms).toBe(0)
    await world.until('repaired', () => world.playback.counters.resumes + world.playback.counters.reloads > 0, 1)
  })

  test('before anything was shown is a failure at once', async () => {
    const world = new World()
    world.refusing = refusal(404)
    world.playback.start()
    await world.run(1)
    expect(world.playback.counters.alarms).toBe(1)
    world.refusing = null
    await world.until('playing', () => world.playback.status === 'playing', 5)
  })
})

describe('a stream that is gone', () => {
  for (const seconds of [1.5, 8, 60]) {
    test(`for ${seconds} s plays again within 5 s of its return`, async () => {
      const world = await playing()
      world.refusing = outage
      await world.run(seconds)
      expect(world.playback.counters.alarms).toBe(1)
      world.refusing = null
      const back = await world.until(
        'playing at the live edge', () => world.playback.status === 'playing' && world.edge - world.video.currentTime < 2, 5,
      )
      expect(back).toBeLessThan(2.5)
      await world.run(4)
      expect(world.errors.at(-1)).toBeNull()
      // An outage says nothing about how much should be in hand.
      expect(world.playback.pace.extra).toBe(0)
      expect(world.playback.strain.most).toBeNull()
    })
  }

  test('goes on where an encoder stood still, at the live edge', async () => {
    const world = await playing()
    world.frozen = true
    await world.until('stalled', () => world.playback.status === 'stalled', 3)
    await world.run(20)
    world.frozen = false
    await world.until('playing', () => world.playback.status === 'playing' && world.edge - world.video.currentTime < 4, 5)
  })
})

describe('a server that does not answer', () => {
  test('is left for another within two seconds of a standstill, with the picture on screen', async () => {
    const world = await playing()
    world.elsewhere = true
    world.lineDownUntil = Infinity
    await world.until('stalled', () => world.playback.status === 'stalled', 4)
    await world.until('playing', () => world.playback.status === 'playing', 2)
    const { moves, reloads, alarms } = world.playback.counters
    expect([moves, reloads, alarms]).toEqual([1, 0, 0])
    await world.run(10)
    expect(world.playback.counters.moves).toBe(1)
  })
})

describe('a stall', () => {
  test('moves the viewer back, the next one further, and a steady time brings it forward', async () => {
    const world = await playing()
    // What stalls at the start is forgiven sooner.
    await world.run(12)
    const stall = async () => {
      world.lineDownUntil = performance.now() + 1700
      await world.until('stalled', () => world.playback.status === 'stalled', 2)
      await world.until('playing', () => world.playback.status === 'playing', 2)
    }
    await stall()
    const once = world.playback.pace.extra
    expect(once).toBeGreaterThanOrEqual(0.5)
    expect(once).toBeLessThanOrEqual(1)
    await world.run(2)
    const stalls = world.playback.counters.stalls
    // The same hiccup again does not stall any more.
    world.lineDownUntil = performance.now() + 1100
    await world.run(3)
    expect(world.playback.counters.stalls).toBe(stalls)
    world.lineDownUntil = performance.now() + 4000
    await world.until('stalled', () => world.playback.status === 'stalled', 3)
    await world.until('playing', () => world.playback.status === 'playing', 4)
    const twice = world.playback.pace.extra
    expect(twice).toBeGreaterThanOrEqual(once + 1)
    await world.run(200)
    expect(world.playback.pace.extra).toBeLessThan(twice)
    expect(world.playback.counters.stalls).toBe(stalls + 1)
    await world.run(600)
    expect(world.playback.pace.extra).toBe(0)
    expect(world.edge - world.video.currentTime).toBeLessThan(1.35)
  })

  test('keeps its distance over a reload, with what was measured of the line', async () => {
    const world = await playing()
    world.lineDownUntil = performance.now() + 2000
    await world.until('stalled', () => world.playback.status === 'stalled', 2)
    await world.run(2)
    const { extra } = world.playback.pace
    expect(extra).toBeGreaterThan(0)
    world.playback.reload()
    await world.run(1)
    expect(world.carried.at(-1)).toEqual({ holdBack: 1 + extra, bandwidth: 2_000_000 })
    expect(world.edge - world.video.currentTime).toBeCloseTo(1 + extra, 0)
  })

  test('with media in hand is the decoder: a lower rung from then on', async () => {
    const world = await playing()
    world.playback.pace.stalled(1, performance.now())
    await world.run(30)
    expect(world.engine.height).toBe(720)
    world.decoderBusyUntil = performance.now() + 800
    await world.run(1)
    expect(world.engine.height).toBe(480)
  })
})

test('pictures that are dropped lead to the rung that this machine plays', async () => {
  const world = await playing()
  expect(world.engine.height).toBe(720)
  world.drops = { 720: 0.5, 480: 0.3, 360: 0 }
  await world.run(20)
  expect(world.engine.height).toBe(360)
  expect(world.playback.counters.stalls).toBe(0)
})

test('a viewer too near the edge plays a little slower, one too far behind a little faster, one back in the window neither', async () => {
  const world = await playing()
  world.video.currentTime = world.edge - 0.5
  await world.run(0.5)
  expect(world.video.playbackRate).toBeLessThan(1)
  await world.run(20)
  expect(world.edge - world.video.currentTime).toBeGreaterThan(0.85)
  expect(world.playback.counters.stalls).toBe(0)
  world.video.currentTime = world.edge - 2.5
  await world.run(0.5)
  expect(world.video.playbackRate).toBeGreaterThan(1)
  await world.run(40)
  expect(world.edge - world.video.currentTime).toBeLessThan(1.3)
  world.playback.seek(world.edge - 20)
  await world.run(1)
  expect(world.video.playbackRate).toBe(1)
})
