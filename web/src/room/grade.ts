/**
 * How good a connection is for interpreting, by the thresholds that the documentation states. Pure, and the only place
 * in the pages that knows them; the daemon grades the results that it keeps by the same.
 *
 * | | good | average | bad |
 * |---|---|---|---|
 * | ping | below 250 ms | from 250 ms | – |
 * | jitter | below 30 ms | 30 ms to below 100 ms | from 100 ms |
 * | loss, the worse way | none | below 15 % | from 15 % |
 *
 * A long round trip alone makes no connection bad: the sound is late, but whole. The worst of the three is the grade.
 */
import type { Grade } from './protocol'

/** Average round trip in ms that is still good. */
export const PING_GOOD = 250
/** Jitter in ms that is still good, and still usable. */
export const JITTER_GOOD = 30
export const JITTER_USABLE = 100
/** Share of packets lost that is still usable; good is none at all. */
export const LOSS_USABLE = 0.15

export interface Figures {
  ping_ms: number | null
  jitter_ms: number | null
  /** Shares, 0 to 1. */
  loss_up: number | null
  loss_down: number | null
}

/** One figure that keeps a connection from being good. */
export interface Reason {
  what: 'ping' | 'jitter' | 'loss_up' | 'loss_down'
  grade: 'average' | 'bad'
}

export interface Grading {
  /** Null while nothing was measured. */
  grade: Grade | null
  reasons: Reason[]
}

export function grade({ ping_ms, jitter_ms, loss_up, loss_down }: Figures): Grading {
  const reasons: Reason[] = []
  if (ping_ms !== null && ping_ms >= PING_GOOD) reasons.push({ what: 'ping', grade: 'average' })
  if (jitter_ms !== null && jitter_ms >= JITTER_GOOD) {
    reasons.push({ what: 'jitter', grade: jitter_ms >= JITTER_USABLE ? 'bad' : 'average' })
  }
  for (const [what, loss] of [['loss_up', loss_up], ['loss_down', loss_down]] as const) {
    if (loss !== null && loss > 0) reasons.push({ what, grade: loss >= LOSS_USABLE ? 'bad' : 'average' })
  }
  if (ping_ms === null && jitter_ms === null && loss_up === null && loss_down === null) return { grade: null, reasons }
  if (reasons.some((reason) => reason.grade === 'bad')) return { grade: 'bad', reasons }
  return { grade: reasons.length > 0 ? 'average' : 'good', reasons }
}
