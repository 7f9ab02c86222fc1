import { describe, expect, test } from 'vitest'
import { betterOffset, liveLatency } from '../../src/player/latency'
import { FASTER, MOST_EXTRA, Pace, SLOWER, STEP_BACK } from '../../src/player/pace'
import { capFor, firstEstimate, Strain } from '../../src/player/rungs'
import type { Level } from '../../src/player/tracks'

describe('pace', () => {
  test('the rate does not flap around the distance, and is never needed far from it', () => {
    const pace = new Pace()
    const at = (distance: number, ahead = 1, following = true) => pace.step({ distance, ahead, following }, 0)
    expect([at(0), at(0.2), at(0.3), at(0.2), at(0.06), at(0.04), at(0.2)]).toEqual([1, 1, FASTER, FASTER, FASTER, 1, 1])
    expect([at(-0.2), at(-0.4), at(-0.1), at(-0.04), at(-0.2)]).toEqual([1, SLOWER, SLOWER, 1, 1])
    // Nothing in hand to play faster with; plenty in hand, no need to play slower; far behind or back in the window.
    expect([at(1, 0.3), at(-1, 5), at(10, 5), at(1, 5, false)]).toEqual([1, 1, 1, 1])
  })

  test('distance added by stalls is bounded, and goes again', () => {
    const pace = new Pace()
    pace.step({ distance: 0, ahead: 1, following: true }, -20_000)
    pace.stalled(0.4, 0)
    expect(pace.extra).toBe(STEP_BACK)
    for (let i = 1; i < 10; i += 1) pace.stalled(3, i * 5000)
    expect(pace.extra).toBe(MOST_EXTRA)
    pace.step({ distance: 0, ahead: 1, following: true }, 46_000)
    expect(pace.extra).toBe(MOST_EXTRA)
    for (let now = 46_000; now < 2_000_000; now += 1000) pace.step({ distance: 0, ahead: 1, following: true }, now)
    expect(pace.extra).toBe(0)
  })

  test('a stall at the start costs its distance for seconds only', () => {
    const pace = new Pace()
    const step = (now: number) => pace.step({ distance: 0, ahead: 1, following: true }, now)
    step(0)
    pace.stalled(0.9, 1000)
    expect(pace.extra).toBe(STEP_BACK)
    step(8900)
    expect(pace.extra).toBe(STEP_BACK)
    step(9000)
    expect(pace.extra).toBe(0)
    // What comes later is taken seriously.
    pace.stalled(0.4, 11_000)
    step(60_000)
    expect(pace.extra).toBe(STEP_BACK)
  })
})

describe('rungs', () => {
  const level = (index: number, height: number): Level => ({ index, height, width: (height * 16) / 9, bitrate: height * 4000, frameRate: 25, source: false })
  const ladder = [level(0, 360), level(1, 480), level(2, 720), level(3, 1080)]
  const desktop = { width: 1280, height: 720, ratio: 1 }

  test('no more is loaded than the player shows', () => {
    expect(capFor(ladder, desktop, Infinity, false)).toBe(2)
    expect(capFor(ladder, { ...desktop, ratio: 2 }, Infinity, false)).toBe(-1)
    // A phone upright shows 390 × 219: its three device pixels each are not seen in moving pictures.
    expect(capFor(ladder, { width: 390, height: 219, ratio: 3 }, Infinity, false)).toBe(1)
    expect(capFor(ladder, { width: 200, height: 112, ratio: 1 }, Infinity, false)).toBe(0)
    expect(capFor(ladder, { width: 0, height: 0, ratio: 1 }, Infinity, false)).toBe(-1)
  })

  test('nor than the machine plays or the viewer wants to pay for, but always something', () => {
    expect(capFor(ladder, desktop, 480, false)).toBe(1)
    expect(capFor(ladder, desktop, 100, false)).toBe(0)
    expect(capFor(ladder, desktop, Infinity, true)).toBe(1)
    expect(capFor([level(0, 0)], desktop, 480, false)).toBe(-1)
    expect(capFor([], desktop, 480, false)).toBe(-1)
    // Levels in any order; the index is the engine's.
    expect(capFor([level(0, 1080), level(1, 360), level(2, 720)], desktop, Infinity, false)).toBe(2)
  })

  test('the first rung follows what is known of the line', () => {
    expect(firstEstimate(undefined, null)).toBe(3_000_000)
    expect(firstEstimate({ downlink: 10 }, null)).toBe(3_000_000)
    expect(firstEstimate({ downlink: 1.5 }, null)).toBeCloseTo(1_050_000)
    expect(firstEstimate({ downlink: 0.05 }, null)).toBe(300_000)
    expect(firstEstimate({ downlink: 0 }, null)).toBe(3_000_000)
    expect(firstEstimate({ downlink: 10 }, 700_000)).toBe(700_000)
  })

  test('a few dropped pictures, a change of rung and a restart are no strain', () => {
    const strain = new Strain()
    const heights = [360, 480, 720]
    for (let second = 0; second < 60; second += 1) {
      strain.sample({ now: second * 1000, frames: second * 25, dropped: second * 4, height: 720 }, heights)
    }
    expect(strain.most).toBeNull()
    strain.sample({ now: 61_000, frames: 1525, dropped: 400, height: 480 }, heights)
    expect(strain.most).toBeNull()
    strain.sample({ now: 62_000, frames: 3, dropped: 2, height: 480 }, heights)
    strain.stalled(0, 480, heights, 63_000)
    expect(strain.most).toBeNull()
    // The second stall within 20 s, whatever its cause, is one too many; on the lowest rung there is nothing to do.
    strain.stalled(0, 480, heights, 70_000)
    expect(strain.most).toBe(360)
    strain.stalled(1, 360, heights, 80_000)
    expect(strain.most).toBe(360)
  })

  test('a higher rung is tried again, ever less often while it fails, and kept when it does not', () => {
    const strain = new Strain()
    const heights = [360, 480, 720]
    const counters = { frames: 0, dropped: 0 }
    const tries: number[] = []
    const run = (from: number, to: number, drops: Record<number, number>) => {
      for (let second = from; second < to; second += 1) {
        const height = strain.most ?? 720
        counters.frames += 25
        counters.dropped += 25 * (drops[height] ?? 0)
        strain.sample({ now: second * 1000, ...counters, height }, heights)
        if ((strain.most ?? 720) > height) tries.push(second)
      }
    }
    run(0, 7200, { 720: 0.5, 480: 0.3 })
    expect(strain.most).toBe(360)
    const gaps = tries.slice(1).map((at, i) => at - tries[i]!)
    expect(tries.length).toBeGreaterThan(3)
    expect(gaps.every((gap, i) => i === 0 || gap >= gaps[i - 1]!)).toBe(true)
    expect(Math.max(...gaps)).toBeLessThan(1000)
    // What was passing passes.
    run(7200, 10_000, {})
    expect(strain.most).toBeNull()
  })
})

describe('latency', () => {
  const now = 1_000_000
  test("is told by the event's clock, not by lists that are late", () => {
    expect(liveLatency(now - 1700, now, 1.2)).toBe(1.7)
    // The lists are so late that the position has passed their end.
    expect(liveLatency(now - 1700, now, 0)).toBe(1.7)
    expect(liveLatency(null, now, 1.2)).toBe(1.2)
    expect(liveLatency(null, now, null)).toBeNull()
  })

  test('a clock that is not the server\'s does not count, and nothing is before live', () => {
    expect(liveLatency(now + 500, now, 0.9)).toBe(0.9)
    expect(liveLatency(now - 500, now, 4)).toBe(4)
    expect(liveLatency(now - 86_400_000, now, 2)).toBe(2)
    // An encoder that stands still for minutes is as far behind by both.
    expect(liveLatency(now - 300_000, now, 298)).toBe(300)
  })

  test('of two samples of the clock the one that waited less is kept, until a clock is set', () => {
    expect(betterOffset(null, -700)).toBe(-700)
    expect(betterOffset(-700, -20)).toBe(-20)
    expect(betterOffset(-20, -700)).toBe(-20)
    expect(betterOffset(-20, 5000)).toBe(5000)
    expect(betterOffset(5000, -20)).toBe(-20)
  })
})
