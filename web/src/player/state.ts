/**
 * The public state of an event, `/api/v1/events/{id}/state`: as one JSON object, and as server-sent events. The first
 * message of the stream is the whole object; later ones have a `type` and carry what changed:
 *
 *     {"type": "status", "at": "…", "status": "paused"}
 *     {"type": "service_message", "at": "…", "service_message": {"text": "…", "until": "…"} | null}
 *     {"type": "languages", "at": "…"}                      the playlist's tracks changed: load them again
 *     {"type": "state", …the whole object…}                 anything else changed
 *
 * What is unknown is ignored, what is missing has a default: an older page must survive a newer daemon.
 */

import { betterOffset } from './latency'

export type Status = 'inactive' | 'preview' | 'started' | 'paused' | 'ended'

const STATUSES: readonly Status[] = ['inactive', 'preview', 'started', 'paused', 'ended']

/** Longest text that is shown; what a page receives is not trusted to be reasonable. */
const MAX_TEXT = 2000

/** Other servers that are taken note of. */
const MAX_ORIGINS = 8

export interface ServiceMessage {
  text: string
  /** Unix milliseconds (server clock) at which it disappears, or null. */
  until: number | null
}

export interface EventState {
  status: Status
  name: string
  description: string
  /** Unix milliseconds, or null. */
  scheduledStart: number | null
  /** Whether the time until `scheduledStart` is counted down. */
  countdown: boolean
  /** What the event's manager wrote for a status; for `started`, what is read until the picture is there. */
  texts: Partial<Record<Status, string>>
  /** Pictures for a status; `general` for those without one, `poster` for the player before it plays. */
  images: Partial<Record<Status | 'general' | 'poster', string>>
  serviceMessage: ServiceMessage | null
  /** Where the multivariant playlist is, when not at its usual place. */
  hlsUrl: string | null
  /** Multivariant playlists of other servers that carry the event, in their order of preference. */
  otherOrigins: readonly string[]
  /** Raised each time the tracks are said to have changed. */
  tracksVersion: number
  /** Server clock minus this computer's, in milliseconds. */
  clockOffset: number
}

const text = (value: unknown): string => (typeof value === 'string' ? value.slice(0, MAX_TEXT) : '')

const time = (value: unknown): number | null => {
  if (typeof value !== 'string') return null
  const parsed = Date.parse(value)
  return Number.isFinite(parsed) ? parsed : null
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isStatus = (value: unknown): value is Status => STATUSES.includes(value as Status)

/** Only addresses that a browser fetches harmlessly: no `javascript:`, no `data:`. */
function address(value: unknown, base: string): string | null {
  if (typeof value !== 'string' || value === '') return null
  try {
    const url = new URL(value, base)
    return url.protocol === 'http:' || url.protocol === 'https:' ? url.href : null
  } catch {
    return null
  }
}

function textsOf(value: unknown): EventState['texts'] {
  const texts: EventState['texts'] = {}
  if (isObject(value)) {
    for (const status of STATUSES) {
      const found = text(value[status])
      if (found !== '') texts[status] = found
    }
  }
  return texts
}

function imagesOf(value: unknown, base: string): EventState['images'] {
  const images: EventState['images'] = {}
  if (isObject(value)) {
    for (const key of [...STATUSES, 'general', 'poster'] as const) {
      const found = address(value[key], base)
      if (found !== null) images[key] = found
    }
  }
  return images
}

function serviceMessageOf(value: unknown): ServiceMessage | null {
  if (typeof value === 'string') return value === '' ? null : { text: text(value), until: null }
  if (!isObject(value)) return null
  const words = text(value['text'])
  return words === '' ? null : { text: words, until: time(value['until']) }
}

function otherOriginsOf(value: unknown, base: string): string[] {
  if (!Array.isArray(value)) return []
  const urls = value.slice(0, MAX_ORIGINS).map((origin) => (isObject(origin) ? address(origin['hls_url'], base) : null))
  return urls.filter((url) => url !== null)
}

/**
 * The state after `message`, or `previous` itself when the message says nothing to a player.
 *
 * @param base the page's address, to which relative addresses in the state refer
 * @param now Unix milliseconds of this computer
 */
export function applyMessage(previous: EventState | null, message: unknown, base: string, now: number): EventState | null {
  if (!isObject(message)) return previous
  const type = typeof message['type'] === 'string' ? message['type'] : 'state'
  switch (type) {
    case 'status':
      // Without a first message there is nothing to change; it will come.
      return previous && isStatus(message['status']) ? { ...previous, status: message['status'] } : previous
    case 'service_message':
      return previous && { ...previous, serviceMessage: serviceMessageOf(message['service_message']) }
    case 'languages':
      return previous && { ...previous, tracksVersion: previous.tracksVersion + 1 }
    case 'state': {
      const status = message['status']
      if (!isStatus(status)) return previous
      const serverTime = time(message['server_time'])
      return {
        status,
        name: text(message['name']),
        description: text(message['description']),
        scheduledStart: time(message['scheduled_start']),
        countdown: message['countdown'] !== false,
        texts: textsOf(message['texts']),
        images: imagesOf(message['images'], base),
        serviceMessage: serviceMessageOf(message['service_message']),
        hlsUrl: address(message['hls_url'], base),
        otherOrigins: otherOriginsOf(message['other_origins'], base),
        tracksVersion: previous?.tracksVersion ?? 0,
        clockOffset: serverTime === null ? (previous?.clockOffset ?? 0) : betterOffset(previous?.clockOffset ?? null, serverTime - now),
      }
    }
    default:
      return previous
  }
}

/** The manager's words for a status; what was written for `inactive` is for all the time before the start. */
export function textFor(event: EventState, status: Status): string | undefined {
  return event.texts[status] ?? (status === 'preview' ? event.texts.inactive : undefined)
}

/** The picture for a status. */
export function imageFor(event: EventState, status: Status): string | undefined {
  const own = event.images[status] ?? (status === 'preview' ? event.images.inactive : undefined)
  return own ?? event.images.general
}
