/**
 * A stand-in for the daemon's rooms: links, sockets, people and what follows from their switches, as far as the pages show
 * it; media by the studio. It answers as `src/room/protocol.ts` says.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Booth, FromDaemon, Person, Relay, ToDaemon } from '../../src/room/protocol'
import { TextSocket } from './socket'
import type { Studio } from './studio'

type ClosedReason = Extract<FromDaemon, { type: 'closed' }>['reason']

export const BOOTHS: Booth[] = [
  { language: 'de', name: 'Deutsch', second_language: 'fr', muted: false, floor_level_db: -14, on_air: false, handover: null, slow_down: false, open: [] },
  { language: 'fr', name: 'Français', second_language: null, muted: false, floor_level_db: -14, on_air: false, handover: null, slow_down: false, open: [] },
  { language: 'nl', name: 'Nederlands', second_language: null, muted: false, floor_level_db: null, on_air: false, handover: null, slow_down: false, open: [] },
]

const QUALITY = { rtt_ms: 38, jitter_ms: 4, loss_up: 0, loss_down: 0, grade: 'good' as const }

export class RoomStandIn {
  event = { id: 'congress', name: 'Congress on plain language', status: 'started', floor_language: 'en' }
  readonly booths: Booth[] = structuredClone(BOOTHS)
  readonly people: Person[] = []
  readonly messages: ToDaemon[] = []
  /** Sources that cannot be chosen, with the reason. */
  readonly refused = new Map<string, string>()
  readonly relay = new Set<string>()
  /** Media sessions: kind, studio's id, and who. */
  readonly sessions: { kind: string; id: string; person: string | null; query: string; deleted: boolean }[] = []
  readonly results: Record<string, unknown>[] = []
  /** Media offers are refused with this. */
  refusal: { status: number; detail: string } | null = null
  /** Links that are gone: the status of their `info`. */
  readonly gone = new Map<string, number>()
  participantVideo = true
  /** Upgrades are refused: the network is down. */
  down = false
  #sockets = new Map<TextSocket, string | null>()
  #numbers = 0

  constructor(readonly studio: () => Studio) {}

  /** Somebody who is no page. */
  add(name: string, fields: Partial<Person> = {}): Person {
    const person: Person = {
      id: `p${(this.#numbers += 1)}`, name, role: 'interpreter', booth: 'de', on_air: false, cough: false, connected: true, heard: false,
      outgoing: 'de', listen: 'floor', calling: false, quality: { ...QUALITY }, ...fields,
    }
    this.people.push(person)
    this.tell()
    return person
  }

  person(name: string): Person {
    const found = this.people.find((one) => one.name === name)
    if (!found) throw new Error(`no ${name}`)
    return found
  }

  booth(language: string): Booth {
    return this.booths.find((one) => one.language === language)!
  }

  /** Works out what follows, and tells everybody. */
  tell(): void {
    for (const person of this.people) {
      person.heard = person.on_air && person.connected && !person.cough && !(person.booth && this.booth(person.booth).muted)
    }
    for (const booth of this.booths) {
      booth.on_air = this.people.some((one) => one.heard && one.outgoing === booth.language)
      booth.open = this.people.filter((one) => one.on_air && one.booth === booth.language).map((one) => one.id)
    }
    const quality = (source: string) => (source === 'floor' || !this.booth(source).on_air ? 'floor' : this.relay.has(source) ? 'relay' : 'direct')
    const relays: Relay[] = ['floor', ...this.booths.map((one) => one.language)].map((source) => ({
      source, name: source === 'floor' ? 'Floor' : this.booth(source).name, quality: quality(source), refused: this.refused.get(source) ?? null,
    }))
    this.send({ type: 'state', at: new Date().toISOString(), event: { ...this.event }, booths: this.booths, people: this.people, relays })
  }

  send(message: FromDaemon, to: string | null = null): void {
    for (const [socket, person] of this.#sockets) if (person !== null && (to === null || person === to)) socket.send(message)
  }

  /** Cuts every control connection. */
  cut(): void {
    for (const socket of this.#sockets.keys()) socket.cut()
  }

  close(reason: ClosedReason, detail = ''): void {
    this.send({ type: 'closed', reason, detail })
  }

  upgrade(request: IncomingMessage, raw: Socket): void {
    const [, page, secret = ''] = new URL(request.url ?? '/', 'http://daemon').pathname.split('/')
    if (this.down || this.gone.has(secret) || (page !== 'booth' && page !== 'manage')) {
      raw.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n')
      return
    }
    const socket = new TextSocket(request, raw)
    this.#sockets.set(socket, null)
    socket.onClose = () => this.#sockets.delete(socket)
    socket.onMessage = (text) => this.#hear(socket, page, JSON.parse(text) as ToDaemon)
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const url = new URL(request.url ?? '/', 'http://daemon')
    const [, page = '', secret = '', leaf = '', id = ''] = url.pathname.split('/')
    if (leaf === '') return false
    const json = (status: number, body: object) => {
      response.writeHead(status, { 'content-type': status < 400 ? 'application/json' : 'application/problem+json' })
      response.end(JSON.stringify(body))
      return true
    }
    const gone = this.gone.get(secret)
    if (gone) return json(gone, { status: gone, detail: 'gone' })
    if (leaf === 'info') {
      const { event } = this
      if (page === 'booth') return json(200, { event, booth: { language: 'de', name: 'Deutsch', second_language: this.booth('de').second_language } })
      if (page === 'participant') return json(200, { event, language: 'de', language_name: 'Deutsch', video: this.participantVideo })
      return json(200, { event })
    }
    if (leaf === 'result') {
      const result = JSON.parse(await bodyOf(request)) as Record<string, unknown>
      this.results.push(result)
      return json(200, { id: 't1', grade: result['loss_up'] === 0 && result['loss_down'] === 0 ? 'good' : 'average' })
    }
    if (request.method === 'DELETE') {
      const session = this.sessions.find((one) => one.id === id)
      if (session) session.deleted = true
      await this.studio().leave(id)
      response.writeHead(200).end()
      return true
    }
    const offer = await bodyOf(request)
    if (this.down) {
      request.socket.destroy()
      return true
    }
    if (this.refusal) return json(this.refusal.status, { type: 'about:blank', title: 'no', ...this.refusal })
    const made = await this.studio().answer(leaf, offer)
    const person = url.searchParams.get('person')
    this.sessions.push({ kind: leaf, id: made.id, person, query: url.search, deleted: false })
    if (leaf === 'whip') {
      const found = this.people.find((one) => one.id === person)
      if (found) found.connected = true
      this.tell()
    }
    response.writeHead(201, { 'content-type': 'application/sdp', location: `/${page}/${secret}/${leaf}/${made.id}` })
    response.end(made.answer)
    return true
  }

  #hear(socket: TextSocket, page: string, message: ToDaemon): void {
    if (message.type === 'ping') return socket.send({ type: 'pong', at: message.at })
    if (message.type !== 'quality') this.messages.push(message)
    if (message.type === 'hello') {
      const known = this.people.find((one) => one.id === message.resume)
      const person =
        known ?? this.add(message.name, { role: page === 'booth' ? 'interpreter' : 'manager', booth: page === 'booth' ? 'de' : null, connected: false, outgoing: page === 'booth' ? 'de' : null })
      this.#sockets.set(socket, person.id)
      socket.send({ type: 'welcome', you: person.id, resume: person.id, event: this.event, booth: person.booth })
      return this.tell()
    }
    const me = this.people.find((one) => one.id === this.#sockets.get(socket))
    if (!me) return
    const booth = me.booth === null ? null : this.booth(me.booth)
    switch (message.type) {
      case 'on_air':
        me.on_air = message.value
        break
      case 'cough':
        me.cough = message.value
        break
      case 'listen':
        if (this.refused.has(message.source)) return socket.send({ type: 'error', detail: this.refused.get(message.source)! })
        me.listen = message.source
        break
      case 'outgoing':
        me.outgoing = message.language
        break
      case 'call_manager':
        me.calling = message.value ?? true
        break
      case 'slow_down':
        if (booth) booth.slow_down = true
        break
      case 'answer_call':
        this.people.find((one) => one.id === message.person)!.calling = false
        break
      case 'manage': {
        const managed = this.booth(message.booth)
        if (message.muted !== undefined) managed.muted = message.muted
        if (message.floor_level_db !== undefined) managed.floor_level_db = message.floor_level_db < -60 ? null : message.floor_level_db
        break
      }
      case 'handover':
        if (booth) this.#handover(me, booth, message.action)
        break
      case 'chat':
        return this.chat(me, message.to, message.text, message.booth)
      default:
        return
    }
    this.tell()
  }

  chat(from: Person, to: 'booth' | 'managers' | 'all', text: string, booth?: string): void {
    const target = to === 'booth' ? (booth ?? from.booth) : from.booth
    this.send({ type: 'chat', from: from.id, name: from.name, role: from.role, booth: target, to, text, at: new Date().toISOString() })
  }

  #handover(me: Person, booth: Booth, action: string): void {
    const open = booth.handover
    if (action === 'offer' || action === 'ask') booth.handover = { kind: action, from: me.id, at: new Date().toISOString() }
    else {
      booth.handover = null
      const other = this.people.find((one) => one.id === open?.from)
      if (action === 'take' && other) {
        const [giver, taker] = open?.kind === 'offer' ? [other, me] : [me, other]
        giver.on_air = false
        taker.on_air = true
      }
    }
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
