/**
 * Figures of a connection from the browser's statistics (`getStats`): differences of what it counts since the last look.
 * Pure, but for `read`.
 */

/** Counters and present values of one peer at one moment. */
export interface Counters {
  rtt_ms: number | null
  /** Of the sound that arrives. */
  jitter_ms: number | null
  received: number
  lost: number
  /** Of the voice that is sent, as the daemon reports it (RTCP). */
  sent: number
  sent_lost: number
  sent_jitter_ms: number | null
  /** Seconds of all samples in the jitter buffer, and samples that left it. */
  buffered_seconds: number
  buffered_samples: number
  frames_decoded: number
  audio_energy: number
  bytes_received: number
}

export const NO_COUNTERS: Counters = {
  rtt_ms: null, jitter_ms: null, received: 0, lost: 0, sent: 0, sent_lost: 0, sent_jitter_ms: null,
  buffered_seconds: 0, buffered_samples: 0, frames_decoded: 0, audio_energy: 0, bytes_received: 0,
}

type Entry = Record<string, unknown> & { type: string; kind?: string; id: string }

const number = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0)
const milliseconds = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value * 1000 : null)

export function countersOf(report: Iterable<Entry>): Counters {
  const entries = [...report]
  const counters = { ...NO_COUNTERS }
  const transport = entries.find((entry) => entry.type === 'transport')
  for (const entry of entries) {
    if (entry.type === 'candidate-pair') {
      const selected = transport ? transport['selectedCandidatePairId'] === entry.id : entry['nominated'] === true
      if (selected) counters.rtt_ms = milliseconds(entry['currentRoundTripTime'])
    } else if (entry.type === 'inbound-rtp') {
      counters.bytes_received += number(entry['bytesReceived'])
      if (entry.kind === 'video') counters.frames_decoded += number(entry['framesDecoded'])
      if (entry.kind !== 'audio') continue
      counters.jitter_ms = milliseconds(entry['jitter'])
      counters.received += number(entry['packetsReceived'])
      // What came twice is counted below zero.
      counters.lost += Math.max(0, number(entry['packetsLost']))
      counters.buffered_seconds += number(entry['jitterBufferDelay'])
      counters.buffered_samples += number(entry['jitterBufferEmittedCount'])
      counters.audio_energy += number(entry['totalAudioEnergy'])
    } else if (entry.type === 'outbound-rtp' && entry.kind === 'audio') {
      counters.sent += number(entry['packetsSent'])
    } else if (entry.type === 'remote-inbound-rtp' && entry.kind === 'audio') {
      counters.sent_lost += Math.max(0, number(entry['packetsLost']))
      counters.sent_jitter_ms = milliseconds(entry['jitter'])
    }
  }
  return counters
}

/** @param lost and @param all since the last look; null when nothing was expected */
export function share(lost: number, all: number): number | null {
  if (all <= 0) return null
  return Math.min(1, Math.max(0, lost / all))
}

/** Share of packets lost on the way here between two looks. */
export function lossDown(before: Counters, now: Counters): number | null {
  // A new session counts from zero.
  if (now.received < before.received) return share(now.lost, now.lost + now.received)
  const lost = now.lost - before.lost
  return share(lost, lost + now.received - before.received)
}

/** Share of packets lost on the way to the daemon between two looks. */
export function lossUp(before: Counters, now: Counters): number | null {
  if (now.sent < before.sent) return share(now.sent_lost, now.sent)
  return share(now.sent_lost - before.sent_lost, now.sent - before.sent)
}

/** Samples of a second in the browser's statistics of Opus. */
const SAMPLES_PER_SECOND = 48_000

/** Average ms that the sound of the last while spent in the jitter buffer; null when none came out. */
export function bufferDelay(before: Counters, now: Counters): number | null {
  const fresh = now.buffered_samples < before.buffered_samples ? NO_COUNTERS : before
  const samples = now.buffered_samples - fresh.buffered_samples
  // A handful of samples says nothing.
  if (samples < SAMPLES_PER_SECOND / 100) return null
  return ((now.buffered_seconds - fresh.buffered_seconds) / samples) * 1000
}

export async function read(peer: RTCPeerConnection | null): Promise<Counters> {
  if (!peer) return NO_COUNTERS
  try {
    return countersOf((await peer.getStats()).values() as Iterable<Entry>)
  } catch {
    // Closed meanwhile.
    return NO_COUNTERS
  }
}
