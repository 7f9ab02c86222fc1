/** The management room without its looks: the room's picture, one thing listened to at a time, and the managers' controls. */
import { Store } from '../store'
import { lookUp, withQuery, type InfoFailure, type RoomAddress } from './address'
import { RoomCore } from './core'
import { ListeningGraph } from './graph'
import { Listening } from './listening'
import { RoomPreferenceStore } from './prefs'
import type { Person } from './protocol'
import { playedAge } from './picture'
import { bufferDelay, lossDown, NO_COUNTERS, read, type Counters } from './quality'

export interface ManageInfo {
  event: { id: string; name: string; status: string; floor_language: string }
}

export interface ManageSnapshot {
  stage: 'loading' | 'join' | 'room'
  info: ManageInfo | null
  failure: InfoFailure | null
  /** What is listened to: `floor` or a booth's language; null is silence, with the picture going on. */
  source: string | null
  audible: boolean
  volume: number
  rtt_ms: number | null
}

const MEASURE_EVERY = 1000
/** The slider's lowest position, which means no floor at all. */
export const FLOOR_OFF_DB = -40
/** A slider that moves says where it is so often, and once more where it came to rest. */
const LEVEL_EVERY = 150

/** What a position of the slider means to the daemon. JSON knows no negative infinity: far below hearing stands for it. */
export const floorLevel = (position: number): number => (position <= FLOOR_OFF_DB ? -120 : Math.min(0, position))

export class ManageRoom {
  readonly store = new Store<ManageSnapshot>({
    stage: 'loading', info: null, failure: null, source: 'floor', audible: true, volume: 1, rtt_ms: null,
  })
  readonly preferences = new RoomPreferenceStore()
  readonly core: RoomCore
  readonly listening: Listening
  graph: ListeningGraph | null = null
  heard: Counters = NO_COUNTERS
  /** As in a booth. */
  energy = 0
  #levels = new Map<string, { timer: number; wanted: number | null }>()

  constructor(readonly address: RoomAddress) {
    this.core = new RoomCore(address, 'manager', () => this.preferences.value.name)
    this.core.onMessage = (message) => {
      if (message.type !== 'welcome') return
      const { link } = this.listening
      if (link.state !== 'off' && link.peer?.connectionState !== 'connected') link.renew()
      link.start()
    }
    this.core.onSocket = (state) => {
      if (state === 'closed') this.listening.link.stop()
    }
    this.listening = new Listening(() => this.#url(), () => true)
    this.listening.store.subscribe(({ stream }) => this.graph?.setStream(stream))
  }

  start(): void {
    lookUp<ManageInfo>(
      this.address.info,
      (info) => this.store.patch({ info, failure: null, stage: 'join' }),
      (failure) => this.store.patch({ failure }),
    )
    addEventListener('online', () => {
      this.core.socket.hurry()
      this.listening.link.hurry()
    })
    addEventListener('pagehide', () => this.leave())
    addEventListener('pageshow', ({ persisted }) => {
      if (persisted) location.reload()
    })
    window.setInterval(() => void this.#measure(), MEASURE_EVERY)
  }

  join(name: string): void {
    this.preferences.set({ name })
    this.graph ??= new ListeningGraph((audible) => this.store.patch({ audible }))
    this.graph.resume()
    this.#apply()
    this.store.patch({ stage: 'room' })
    this.core.socket.start()
  }

  leave(): void {
    this.core.socket.stop()
    this.listening.link.stop()
  }

  me(): Person | null {
    const { state, you } = this.core.store.value
    return state?.people.find((person) => person.id === you) ?? null
  }

  /** Hears something else, or nothing. */
  listen(source: string | null): void {
    const before = this.store.value.source
    if (source === before) return
    this.store.patch({ source })
    this.#apply()
    // What is heard is a property of the session; silence keeps the one there is.
    if (source !== null && source !== this.#playing) this.listening.link.renew()
  }
  #playing = 'floor'

  setVolume(volume: number): void {
    this.store.patch({ volume })
    this.#apply()
  }

  mute(booth: string, muted: boolean): void {
    this.core.send({ type: 'manage', booth, muted })
  }

  /** @param position of the slider in dB; `FLOOR_OFF_DB` for no floor */
  setFloorLevel(booth: string, position: number): void {
    const pending = this.#levels.get(booth)
    if (pending) {
      pending.wanted = position
      return
    }
    const say = (db: number) => this.core.send({ type: 'manage', booth, floor_level_db: floorLevel(db) })
    say(position)
    const entry = {
      wanted: null as number | null,
      timer: window.setTimeout(() => {
        this.#levels.delete(booth)
        if (entry.wanted !== null) this.setFloorLevel(booth, entry.wanted)
      }, LEVEL_EVERY),
    }
    this.#levels.set(booth, entry)
  }

  answer(person: string): void {
    this.core.send({ type: 'answer_call', person })
  }

  #apply(): void {
    const { source, volume } = this.store.value
    this.graph?.set({ volume: source === null ? 0 : volume, bass: 0, treble: 0, limiter: true })
  }

  #url(): string {
    this.#playing = this.store.value.source ?? this.#playing
    return withQuery(this.address.whep, { source: this.#playing })
  }

  async #measure(): Promise<void> {
    if (this.store.value.stage !== 'room') return
    const now = await read(this.listening.link.peer)
    this.energy += ((this.graph?.incoming().power ?? 0) * MEASURE_EVERY) / 1000
    const loss = lossDown(this.heard, now)
    const age = playedAge(bufferDelay(this.heard, now), this.graph?.latency() ?? 0, this.listening.picture.take())
    this.heard = now
    const rtt = now.rtt_ms ?? this.core.socket.roundTrip
    this.store.patch({ rtt_ms: rtt })
    if (this.core.store.value.socket !== 'open') return
    this.core.send({
      type: 'quality',
      ...(rtt === null ? {} : { rtt_ms: rtt }),
      ...(now.jitter_ms === null ? {} : { jitter_ms: now.jitter_ms }),
      ...(loss === null ? {} : { loss }),
      ...(age === null ? {} : { playout_ms: age }),
    })
  }
}
