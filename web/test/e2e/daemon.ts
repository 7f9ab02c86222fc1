/**
 * A stand-in for the daemon: the pages from `dist/`, an event's state as JSON and as server-sent events, and a
 * low-latency HLS stream with blocking reload, all under the headers that the daemon sends. Tests change the state, stop
 * and start it like a process, and read what was asked.
 */
import { readFileSync, existsSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { extname, join, resolve } from 'node:path'
import type { RoomStandIn } from './rooms'
import { AUDIOS, loadMedia, PART, PARTS_PER_SEGMENT, SEGMENT, SEGMENTS, VIDEOS, type Rendition } from './media'

const DIST = resolve(import.meta.dirname, '../../dist')
const ROOMS = ['booth', 'manage', 'participant', 'test']
/** Segments that exist when an event is made: what can be seeked back into. */
const HISTORY = 16
/** Segments listed. */
const WINDOW = 18
const HOLD_BACK = 3 * PART + 0.04
const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
}

export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; media-src 'self' blob: data:; " +
  "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'"

export interface EventFields {
  status: string
  name: string
  description?: string
  scheduled_start?: string
  countdown?: boolean
  texts?: Record<string, string>
  images?: Record<string, string>
  service_message?: { text: string; until?: string } | null
}

class LiveEvent {
  readonly streams = new Set<ServerResponse>()
  /** Wall clock of the first part. */
  readonly zero = Date.now() - HISTORY * SEGMENT * 1000
  /** When media was last allowed; what viewers hold is served for a hold-back time after. */
  closedAt = 0
  captions = true
  audios: readonly (typeof AUDIOS)[number][] = AUDIOS
  /** Seconds by which pictures come later than sound: an encoder that does not keep up. */
  pictureDelay = 0
  /** Seconds by which captions come later than sound: somebody writes them. They are shown that much longer. */
  captionDelay = 0
  /** No new parts from here on: the encoder and all behind it stand still. */
  frozenAt: number | null = null

  constructor(public fields: EventFields) {}

  /** Complete parts by now, of sound unless it says pictures. @param delay seconds that something comes later than these */
  parts(pictures = false, delay = pictures ? this.pictureDelay : 0): number {
    const now = (this.frozenAt ?? Date.now()) - delay * 1000
    return Math.min(SEGMENTS * PARTS_PER_SEGMENT, Math.floor((now - this.zero) / (PART * 1000)))
  }

  state(): string {
    return JSON.stringify({ type: 'state', at: new Date().toISOString(), ...this.fields, server_time: new Date().toISOString() })
  }

  /** @returns when it was sent, Unix ms */
  send(message: object): number {
    const sent = Date.now()
    for (const stream of this.streams) stream.write(`data: ${JSON.stringify({ at: new Date().toISOString(), ...message })}\n\n`)
    return sent
  }

  /** @param told false keeps the word of it from players: they have to ask @returns when it was set, Unix ms */
  setStatus(status: string, told = true): number {
    if (this.fields.status === 'started' && status !== 'started') this.closedAt = Date.now()
    this.fields.status = status
    return told ? this.send({ type: 'status', status }) : Date.now()
  }

  update(fields: Partial<EventFields>): void {
    Object.assign(this.fields, fields)
    for (const stream of this.streams) stream.write(`data: ${this.state()}\n\n`)
  }

  get open(): boolean {
    return this.fields.status === 'started'
  }
}

export class StandIn {
  readonly events = new Map<string, LiveEvent>()
  readonly requests: string[] = []
  /** Paths answered with this status instead. */
  readonly refusals: { path: RegExp; status: number }[] = []
  /** Booths, management room, participants and connection tests, where a test has them. */
  rooms: RoomStandIn | null = null
  #media: Map<string, Rendition>
  #server: Server | null = null
  #sockets = new Set<Socket>()
  #port = 0

  constructor() {
    if (!existsSync(join(DIST, 'watch.html'))) throw new Error('dist/ is missing: run `npm run build` first')
    this.#media = loadMedia()
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  event(id: string, fields: Partial<EventFields> = {}): LiveEvent {
    const event = new LiveEvent({ status: 'inactive', name: `Event ${id}`, ...fields })
    this.events.set(id, event)
    return event
  }

  /** Starts listening, on the same port as before when it was stopped. */
  async start(): Promise<void> {
    const server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        if (!response.headersSent) response.writeHead(500)
        response.end(String(error))
      })
    })
    server.on('upgrade', (request, socket) => {
      if (this.rooms) this.rooms.upgrade(request, socket as Socket)
      else socket.destroy()
    })
    server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    await new Promise<void>((done, failed) => {
      server.on('error', failed)
      server.listen(this.#port, '127.0.0.1', done)
    })
    this.#port = (server.address() as AddressInfo).port
    this.#server = server
  }

  /** Like a killed process: every connection breaks at once. */
  async kill(): Promise<void> {
    const server = this.#server
    this.#server = null
    for (const event of this.events.values()) event.streams.clear()
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((done) => (server ? server.close(done) : done(null)))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.origin)
    this.requests.push(url.pathname + url.search)
    const refusal = this.refusals.find(({ path }) => path.test(url.pathname))
    if (refusal) return problem(response, refusal.status)
    const [, first = '', second = ''] = url.pathname.split('/')
    if (first === 'watch' || first === 'embed') return file(response, `${first}.html`)
    if (ROOMS.includes(first)) {
      if (await this.rooms?.answer(request, response)) return
      return file(response, `${first}.html`)
    }
    if (url.pathname === '/') return file(response, 'index.html')
    if (url.pathname === '/player.js') return file(response, 'player.js')
    if (first === 'assets') return file(response, url.pathname.slice(1))
    const state = /^\/api\/v1\/events\/([^/]+)\/state$/.exec(url.pathname)
    if (state) return this.#state(this.events.get(state[1] ?? ''), request, response)
    if (first === 'live') {
      const event = this.events.get(second)
      if (event) return this.#live(event, url, response)
    }
    if (first === 'image.svg') {
      response.writeHead(200, { 'content-type': 'image/svg+xml' })
      response.end(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1600 900"><defs><linearGradient id="g" x2="1" y2="1"><stop stop-color="#234"/><stop offset="1" stop-color="#a54"/></linearGradient></defs><rect width="1600" height="900" fill="url(#g)"/><circle cx="1200" cy="260" r="150" fill="#fc8"/></svg>',
      )
      return
    }
    problem(response, 404)
  }

  #state(event: LiveEvent | undefined, request: IncomingMessage, response: ServerResponse): void {
    if (!event) return problem(response, 404)
    if (!request.headers.accept?.includes('text/event-stream')) {
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      response.end(event.state())
      return
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.write(`data: ${event.state()}\n\n`)
    event.streams.add(response)
    response.on('close', () => event.streams.delete(response))
  }

  async #live(event: LiveEvent, url: URL, response: ServerResponse): Promise<void> {
    const path = url.pathname.split('/').slice(3).join('/')
    const grace = Date.now() - event.closedAt < HOLD_BACK * 1000 + 500
    const media = /\.m4s$|\.vtt$/.test(path)
    const allowed = () => event.open || url.searchParams.get('preview') === 'TOKEN'
    if (!allowed() && !(media && grace)) return problem(response, 404)
    if (path === 'index.m3u8') return playlist(response, this.#multivariant(event, url.search))
    const [name = '', leaf = ''] = path.split('/')
    if (leaf === 'media.m3u8') {
      const pictures = VIDEOS.some((video) => video.name === name)
      await this.#block(event, url, pictures, allowed)
      if (!allowed()) return problem(response, 404)
      return playlist(response, name === 'captions' ? this.#captions(event) : this.#mediaPlaylist(event, pictures, url.search))
    }
    if (name === 'captions') {
      response.writeHead(200, { 'content-type': 'text/vtt' })
      response.end(cueFile(Number.parseInt(leaf, 10), 2 * SEGMENT + event.captionDelay))
      return
    }
    const rendition = this.#media.get(name)
    if (!rendition) return problem(response, 404)
    if (leaf === 'init.mp4') return bytes(response, rendition.init)
    const match = /^(\d+)(?:\.(\d+))?\.m4s$/.exec(leaf)
    if (!match) return problem(response, 404)
    const first = Number(match[1]) * PARTS_PER_SEGMENT + Number(match[2] ?? 0)
    const last = match[2] === undefined ? first + PARTS_PER_SEGMENT : first + 1
    // A part that is hinted at is answered when it is complete.
    while (event.parts(VIDEOS.some((video) => video.name === name)) < last) {
      if (!allowed()) return problem(response, 404)
      if (response.destroyed || event.frozenAt !== null) return problem(response, 404)
      await sleep(10)
    }
    return bytes(response, Buffer.concat(rendition.parts.slice(first, last)))
  }

  /** Holds a request for a part that is not there yet (RFC 8216bis, section 6.2.5.2). */
  async #block(event: LiveEvent, url: URL, pictures: boolean, allowed: () => boolean): Promise<void> {
    const segment = url.searchParams.get('_HLS_msn')
    if (segment === null) return
    const part = Number(url.searchParams.get('_HLS_part') ?? PARTS_PER_SEGMENT - 1)
    const wanted = Number(segment) * PARTS_PER_SEGMENT + part + 1
    const until = Date.now() + 3 * SEGMENT * 1000
    while (event.parts(pictures) < wanted && Date.now() < until && allowed()) await sleep(10)
  }

  #multivariant(event: LiveEvent, search: string): string {
    const lines = ['#EXTM3U', '#EXT-X-VERSION:10', '#EXT-X-INDEPENDENT-SEGMENTS']
    event.audios.forEach(({ name, label, language }, i) => {
      lines.push(
        `#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="${label}",LANGUAGE="${language}",DEFAULT=${i === 0 ? 'YES' : 'NO'},` +
          `AUTOSELECT=YES,CHANNELS="2",URI="${name}/media.m3u8${search}"`,
      )
    })
    if (event.captions) {
      lines.push(
        `#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="captions",NAME="Deutsch",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,URI="captions/media.m3u8${search}"`,
      )
    }
    for (const { name, width, height, bandwidth, codec } of VIDEOS) {
      lines.push(
        `#EXT-X-STREAM-INF:BANDWIDTH=${bandwidth},CODECS="${codec},mp4a.40.2",RESOLUTION=${width}x${height},` +
          `FRAME-RATE=25.000,AUDIO="audio"${event.captions ? ',SUBTITLES="captions"' : ''}`,
        `${name}/media.m3u8${search}`,
      )
    }
    return lines.join('\n') + '\n'
  }

  #mediaPlaylist(event: LiveEvent, pictures: boolean, search: string): string {
    const parts = event.parts(pictures)
    const last = Math.floor(parts / PARTS_PER_SEGMENT)
    const first = Math.max(0, last - WINDOW)
    // A preview token is on every address; the directives of the reload are not.
    const token = new URLSearchParams(search).get('preview')
    const query = token ? `?preview=${token}` : ''
    const lines = [
      '#EXTM3U', '#EXT-X-VERSION:10', '#EXT-X-TARGETDURATION:2',
      `#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=${HOLD_BACK.toFixed(2)}`,
      `#EXT-X-PART-INF:PART-TARGET=${PART}`, `#EXT-X-MEDIA-SEQUENCE:${first}`, `#EXT-X-MAP:URI="init.mp4${query}"`,
    ]
    const partLine = (segment: number, part: number) =>
      `#EXT-X-PART:DURATION=${PART},URI="${segment}.${part}.m4s${query}"${part === 0 ? ',INDEPENDENT=YES' : ''}`
    for (let segment = first; segment < last; segment += 1) {
      lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(event.zero + segment * SEGMENT * 1000).toISOString()}`)
      if (segment >= last - 3) for (let part = 0; part < PARTS_PER_SEGMENT; part += 1) lines.push(partLine(segment, part))
      lines.push(`#EXTINF:${SEGMENT.toFixed(3)},`, `${segment}.m4s${query}`)
    }
    const rest = parts % PARTS_PER_SEGMENT
    if (rest > 0) lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(event.zero + last * SEGMENT * 1000).toISOString()}`)
    for (let part = 0; part < rest; part += 1) lines.push(partLine(last, part))
    if (last < SEGMENTS) lines.push(`#EXT-X-PRELOAD-HINT:TYPE=PART,URI="${last}.${rest}.m4s${query}"`)
    return lines.join('\n') + '\n'
  }

  #captions(event: LiveEvent): string {
    const last = Math.floor(event.parts(false, event.captionDelay) / PARTS_PER_SEGMENT)
    const first = Math.max(0, last - WINDOW)
    const lines = ['#EXTM3U', '#EXT-X-VERSION:10', '#EXT-X-TARGETDURATION:2', `#EXT-X-MEDIA-SEQUENCE:${first}`]
    for (let segment = first; segment < last; segment += 1) {
      lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(event.zero + segment * SEGMENT * 1000).toISOString()}`)
      lines.push(`#EXTINF:${SEGMENT.toFixed(3)},`, `${segment}.vtt`)
    }
    return lines.join('\n') + '\n'
  }
}

/** Shown from the start of its segment for two segments or more: there is always one on screen behind the live edge. */
function cueFile(segment: number, duration: number): string {
  const at = (seconds: number) => `00:${String(Math.floor(seconds / 60)).padStart(2, '0')}:${(seconds % 60).toFixed(3).padStart(6, '0')}`
  const start = segment * SEGMENT
  return `WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n${at(start)} --> ${at(start + duration)}\nUntertitel <b>${segment}</b>\n`
}

export const sleep = (milliseconds: number): Promise<void> => new Promise((done) => setTimeout(done, milliseconds))

function problem(response: ServerResponse, status: number): void {
  if (response.destroyed) return
  response.writeHead(status, { 'content-type': 'application/problem+json' })
  response.end(JSON.stringify({ type: 'about:blank', title: 'no', status }))
}

function playlist(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'content-type': 'application/vnd.apple.mpegurl', 'cache-control': 'no-cache' })
  response.end(text)
}

function bytes(response: ServerResponse, data: Buffer): void {
  response.writeHead(200, { 'content-type': 'video/mp4' })
  response.end(data)
}

function file(response: ServerResponse, name: string): void {
  const path = resolve(DIST, name)
  if (!path.startsWith(DIST) || !existsSync(path)) return problem(response, 404)
  response.writeHead(200, {
    'content-type': TYPES[extname(path)] ?? 'application/octet-stream',
    'content-security-policy': POLICY,
    'x-content-type-options': 'nosniff',
  })
  response.end(readFileSync(path))
}
