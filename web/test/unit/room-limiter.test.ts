/** Ears are protected: measured on signals. */
import { describe, expect, test } from 'vitest'
import { CEILING_DB, FLOOR_DB, HEADROOM_DB, Limiter } from '../../src/room/limiter'

const RATE = 48_000
const db = (value: number): number => 20 * Math.log10(value)
const peak = (samples: ArrayLike<number>, from = 0, to = samples.length): number => {
  let most = 0
  for (let i = from; i < to; i += 1) most = Math.max(most, Math.abs(samples[i] ?? 0))
  return most
}
const sine = (seconds: number, level: number, hertz = 440): Float32Array =>
  Float32Array.from({ length: Math.round(seconds * RATE) }, (_, i) => 10 ** (level / 20) * Math.sin((2 * Math.PI * hertz * i) / RATE))
const join = (...parts: Float32Array[]): Float32Array => Float32Array.from(parts.flatMap((part) => [...part]))

/** In blocks of 128, as the audio thread does it. */
function through(input: Float32Array, limiter = new Limiter(RATE, 2)): Float32Array {
  const output = new Float32Array(input.length)
  for (let at = 0; at < input.length; at += 128) {
    const block = input.subarray(at, at + 128)
    const left = new Float32Array(block.length)
    limiter.process([block, block], [left, new Float32Array(block.length)])
    output.set(left, at)
  }
  return output
}

/** Largest step from one sample to the next. */
const step = (samples: Float32Array): number => {
  let most = 0
  for (let i = 1; i < samples.length; i += 1) most = Math.max(most, Math.abs(samples[i]! - samples[i - 1]!))
  return most
}

describe('limiter', () => {
  test('speech-like levels pass unchanged, late by the look-ahead alone', () => {
    const limiter = new Limiter(RATE, 2)
    const input = join(new Float32Array(RATE / 10), sine(1, FLOOR_DB + HEADROOM_DB - 1))
    const output = through(input, limiter)
    const { lookAhead } = limiter
    expect(Buffer.compare(Buffer.from(output.slice(lookAhead).buffer), Buffer.from(input.slice(0, -lookAhead).buffer))).toBe(0)
    expect(limiter.takeReduction()).toBeCloseTo(0)
  })

  test('full-scale noise never passes the ceiling', () => {
    let seed = 1
    const noise = Float32Array.from({ length: RATE }, () => {
      seed = (seed * 48_271) % 2_147_483_647
      return (seed / 2_147_483_647) * 4 - 2
    })
    expect(db(peak(through(noise)))).toBeLessThanOrEqual(CEILING_DB + 1e-4)
  })

  test('a sudden loud tone after silence is held back, then let rise; without a click', () => {
    const input = join(new Float32Array(RATE / 2), sine(1.2, -1))
    const output = through(input)
    const at = (seconds: number) => db(peak(output, (0.5 + seconds) * RATE, (0.5 + seconds) * RATE + RATE / 20))
    expect(at(0.01)).toBeLessThan(FLOOR_DB + HEADROOM_DB + 2)
    expect(at(1.1)).toBeGreaterThan(CEILING_DB - 0.5)
    expect(at(1.1)).toBeLessThanOrEqual(CEILING_DB + 1e-4)
    expect(step(output)).toBeLessThanOrEqual(step(input))
  })

  test('after the shock the quiet comes back', () => {
    const quiet = sine(1, -30)
    const limiter = new Limiter(RATE, 2)
    through(join(quiet, sine(0.1, 0)), limiter)
    expect(limiter.takeReduction()).toBeGreaterThan(6)
    const after = through(quiet, limiter)
    expect(db(peak(after, RATE / 2))).toBeCloseTo(-30, 1)
    limiter.takeReduction()
    through(quiet, limiter)
    expect(limiter.takeReduction()).toBeLessThan(0.1)
  })

  test('what is no number is silence, and leaves nothing behind', () => {
    const bad = Float32Array.from({ length: 4800 }, (_, i) => [Number.NaN, Infinity, -Infinity][i % 3]!)
    const limiter = new Limiter(RATE, 2)
    expect(peak(through(bad, limiter))).toBe(0)
    expect(db(peak(through(sine(1, -20), limiter)))).toBeCloseTo(-20, 1)
  })

  test('an input with fewer channels than the output is no reason to fail', () => {
    const limiter = new Limiter(RATE, 2)
    const left = new Float32Array(128)
    limiter.process([], [left, new Float32Array(128)])
    expect(peak(left)).toBe(0)
  })
})
