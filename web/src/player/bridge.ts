/**
 * The embedded page's side of the JavaScript API (`player.js`, where the protocol is described). Messages are taken
 * only from the window that holds our frame, and only from the one origin that it had when it was first heard, or that
 * the address names; answers go to that origin alone.
 */
import type { PlayerCore, Snapshot } from './core'

/** Marks our messages among others that a page may send; a change that breaks old scripts raises it. */
const PROTOCOL = 1
/** How often `time` is told while it plays. */
const TIME_EVERY = 1000

interface Command {
  boothcast: typeof PROTOCOL
  id: number
  method: string
  params: unknown[]
}

function asCommand(data: unknown): Command | null {
  if (typeof data !== 'object' || data === null) return null
  const { boothcast, id, method, params } = data as Record<string, unknown>
  if (boothcast !== PROTOCOL || typeof id !== 'number' || typeof method !== 'string') return null
  return { boothcast, id, method, params: Array.isArray(params) ? params : [] }
}

/** A refused command; its words reach the page's developer. */
class Refusal extends Error {}

const need = <T>(value: unknown, is: (value: unknown) => value is T, what: string): T => {
  if (!is(value)) throw new Refusal(`expected ${what}, got ${JSON.stringify(value) ?? 'nothing'}`)
  return value
}
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean'
/** A language tag or name; the bound keeps what is stored small. */
const isTag = (value: unknown): value is string => typeof value === 'string' && value !== '' && value.length <= 100

export class Bridge {
  #origin: string | null
  #lastTime = 0

  constructor(
    private readonly core: PlayerCore,
    private readonly parent: Window,
  ) {
    this.#origin = core.options.parent ?? ancestorOrigin()
  }

  start(): void {
    addEventListener('message', (event) => {
      if (event.source !== this.parent) return
      if (this.#origin !== null && event.origin !== this.#origin) return
      const command = asCommand(event.data)
      if (!command) return
      this.#origin ??= event.origin
      this.#answer(command)
    })
    this.core.store.subscribe((now, before) => this.#tell(now, before))
    this.#send({ event: 'ready', detail: this.#state() })
  }

  #answer({ id, method, params }: Command): void {
    try {
      this.#send({ id, result: this.#run(method, params) ?? null })
    } catch (cause) {
      this.#send({ id, error: { message: cause instanceof Refusal ? cause.message : 'the player failed' } })
    }
  }

  #run(method: string, [argument]: unknown[]): unknown {
    const { core } = this
    switch (method) {
      case 'play':
        return core.play()
      case 'pause':
        return core.pause()
      case 'setMuted':
        return core.setMuted(need(argument, isBoolean, 'true or false'))
      case 'setVolume':
        return core.setVolume(need(argument, isNumber, 'a number from 0 to 1'))
      case 'setLanguage':
        return core.setLanguage(need(argument, isTag, 'a language tag'))
      case 'setCaptions':
        return core.setCaptions(argument === null || argument === undefined ? null : need(argument, isTag, 'a language tag or null'))
      case 'setQuality':
        return core.setQuality(argument === 'auto' || argument === null ? null : need(argument, isNumber, '"auto" or a height'))
      case 'seek':
        return core.seekBehind(need(argument, isNumber, 'seconds behind live'))
      case 'goLive':
        return core.goLive()
      case 'getState':
        return this.#state()
      default:
        throw new Refusal(`unknown method "${method}"`)
    }
  }

  #state(): Record<string, unknown> {
    return describe(this.core.store.value, this.core)
  }

  #tell(now: Snapshot, before: Snapshot): void {
    const status = now.event?.status ?? null
    if (status !== (before.event?.status ?? null) || now.phase !== before.phase) {
      this.#emit('status', { status, phase: now.phase })
    }
    if (now.playback !== before.playback) {
      if (now.playback === 'playing' && before.playback !== 'stalled') this.#emit('play', {})
      if (now.playback === 'paused' || (now.playback === 'idle' && before.playback !== 'idle')) this.#emit('pause', {})
    }
    if (now.error !== before.error && now.error) this.#emit('error', { code: now.error.code, message: now.error.detail })
    const language = languageOf(now)
    if (language !== languageOf(before)) this.#emit('languagechange', { language, name: nameOf(now.audioTracks, now.audioTrack) })
    const captions = captionsOf(now)
    if (captions !== captionsOf(before)) this.#emit('captionschange', { captions })
    if (now.level !== before.level || now.currentLevel !== before.currentLevel) {
      this.#emit('qualitychange', { quality: qualityOf(now), current: heightOf(now, now.currentLevel) })
    }
    if (now.audioTracks !== before.audioTracks || now.captionTracks !== before.captionTracks || now.levels !== before.levels) {
      const { languages, caption_languages, qualities } = describe(now, this.core)
      this.#emit('trackschange', { languages, caption_languages, qualities })
    }
    if (now.muted !== before.muted || now.volume !== before.volume) this.#emit('volumechange', { muted: now.muted, volume: now.volume })
    if (now.time !== before.time && performance.now() - this.#lastTime >= TIME_EVERY) {
      this.#lastTime = performance.now()
      this.#emit('time', timeOf(now, this.core))
    }
  }

  #emit(event: string, detail: Record<string, unknown>): void {
    this.#send({ event, detail })
  }

  #send(message: Record<string, unknown>): void {
    // Before the parent's origin is known there is nobody to tell: its first command is its introduction.
    if (this.#origin !== null) this.parent.postMessage({ boothcast: PROTOCOL, ...message }, this.#origin)
  }
}

/** Chromium and Safari say who holds the frame; elsewhere the referrer does, when the holding page allows it. */
function ancestorOrigin(): string | null {
  const ancestors = location.ancestorOrigins as DOMStringList | undefined
  if (ancestors?.[0]) return ancestors[0]
  try {
    return document.referrer ? new URL(document.referrer).origin : null
  } catch {
    return null
  }
}

function languageOf(snapshot: Snapshot): string | null {
  const track = snapshot.audioTracks.find((one) => one.index === snapshot.audioTrack)
  return track ? track.language || track.name : null
}

function nameOf(tracks: Snapshot['audioTracks'], index: number): string | null {
  return tracks.find((one) => one.index === index)?.name ?? null
}

function captionsOf(snapshot: Snapshot): string | null {
  const track = snapshot.captionTracks.find((one) => one.index === snapshot.captionTrack)
  return track ? track.language || track.name : null
}

function heightOf(snapshot: Snapshot, index: number): number | null {
  return snapshot.levels.find((level) => level.index === index)?.height ?? null
}

function qualityOf(snapshot: Snapshot): number | 'auto' {
  return snapshot.level < 0 ? 'auto' : (heightOf(snapshot, snapshot.level) ?? 'auto')
}

function timeOf(snapshot: Snapshot, core: PlayerCore): Record<string, unknown> {
  const date = core.playback.engine?.playingDate()
  return {
    date: date ? date.toISOString() : null,
    latency_seconds: snapshot.time.latency,
    behind_live_seconds: snapshot.time.behind,
    window_seconds: snapshot.time.window,
  }
}

function describe(snapshot: Snapshot, core: PlayerCore): Record<string, unknown> {
  const list = (tracks: Snapshot['audioTracks']) => tracks.map(({ language, name }) => ({ language: language || name, name }))
  return {
    status: snapshot.event?.status ?? null,
    phase: snapshot.phase,
    name: snapshot.event?.name ?? null,
    playback: snapshot.playback,
    muted: snapshot.muted,
    volume: snapshot.volume,
    language: languageOf(snapshot),
    languages: list(snapshot.audioTracks),
    captions: captionsOf(snapshot),
    caption_languages: list(snapshot.captionTracks),
    quality: qualityOf(snapshot),
    qualities: [...new Set(snapshot.levels.map((level) => level.height))].sort((a, b) => b - a),
    ...timeOf(snapshot, core),
  }
}
