/**
 * A realtime participant: one language by its link, with picture or sound alone. Follows the event's public state, so that
 * it waits before the start and says when there is a pause or an end, and plays in between.
 */
import { eventAddresses } from '../player/address'
import { StateSource, type Connection } from '../player/source'
import { applyMessage, type EventState } from '../player/state'
import { Store } from '../store'
import { lookUp, withQuery, type InfoFailure, type RoomAddress } from './address'
import { Listening } from './listening'
import { RoomPreferenceStore } from './prefs'
import { NO_COUNTERS, read, type Counters } from './quality'

export interface ParticipantInfo {
  event: { id: string; name: string; status: string }
  language: string
  language_name: string
  video: boolean
}

export interface ParticipantSnapshot {
  info: ParticipantInfo | null
  failure: InfoFailure | null
  event: EventState | null
  connection: Connection
  /** The link allows a picture and the participant wants it. */
  video: boolean
  /** The browser waits for a click before it plays. */
  blocked: boolean
  /** The participant stopped it. */
  paused: boolean
  volume: number
  muted: boolean
}

const MEASURE_EVERY = 1000

export class Participant {
  readonly store = new Store<ParticipantSnapshot>({
    info: null, failure: null, event: null, connection: 'connecting', video: true, blocked: false, paused: false, volume: 1, muted: false,
  })
  readonly preferences = new RoomPreferenceStore()
  readonly listening: Listening
  /** Plays picture and sound together; for sound alone it stays unseen. */
  readonly element: HTMLVideoElement
  heard: Counters = NO_COUNTERS
  #source: StateSource | null = null

  constructor(readonly address: RoomAddress) {
    const element = document.createElement('video')
    element.playsInline = true
    element.disableRemotePlayback = true
    this.element = element
    this.store.patch({ volume: Math.min(1, this.preferences.value.volume) })
    this.#applyVolume()
    this.listening = new Listening(
      () => withQuery(address.whep, { video: String(this.#wantsVideo()) }),
      () => this.#wantsVideo(),
    )
    this.listening.store.subscribe(({ stream }, before) => {
      if (stream === before.stream) return
      element.srcObject = stream
      if (stream) this.#play()
    })
  }

  start(): void {
    lookUp<ParticipantInfo>(this.address.info, (info) => this.#follow(info), (failure) => this.store.patch({ failure }))
    addEventListener('online', () => {
      this.listening.link.hurry()
      void this.#source?.refresh()
    })
    addEventListener('pagehide', () => this.listening.link.stop())
    addEventListener('pageshow', ({ persisted }) => {
      if (persisted) location.reload()
    })
    window.setInterval(() => void this.#measure(), MEASURE_EVERY)
  }

  /** From a click or key. */
  play(): void {
    this.store.patch({ paused: false, blocked: false })
    this.#decide()
    this.#play()
  }

  pause(): void {
    this.store.patch({ paused: true })
    this.#decide()
  }

  setVideo(video: boolean): void {
    if (video === this.store.value.video) return
    this.store.patch({ video })
    this.listening.link.renew()
  }

  setVolume(volume: number): void {
    const clamped = Math.min(1, Math.max(0, volume))
    this.store.patch({ volume: clamped, muted: false })
    this.preferences.set({ volume: clamped })
    this.#applyVolume()
  }

  setMuted(muted: boolean): void {
    this.store.patch({ muted })
    this.#applyVolume()
  }

  /** Whether the event is such that there is something to hear: participants are let in as viewers are. */
  live(): boolean {
    return (this.store.value.event?.status ?? this.store.value.info?.event.status) === 'started'
  }

  #wantsVideo(): boolean {
    const { info, video } = this.store.value
    return (info?.video ?? false) && video
  }

  #applyVolume(): void {
    const { volume, muted } = this.store.value
    this.element.volume = volume
    this.element.muted = muted
  }

  #play(): void {
    this.element.play().then(
      () => this.store.patch({ blocked: false }),
      (error: unknown) => {
        if (error instanceof Error && error.name === 'NotAllowedError') this.store.patch({ blocked: true })
      },
    )
  }

  #decide(): void {
    if (this.live() && !this.store.value.paused) this.listening.link.start()
    else this.listening.link.stop()
  }

  #follow(info: ParticipantInfo): void {
    this.store.patch({ info, failure: null })
    this.#decide()
    const { root } = this.address
    this.#source = new StateSource(
      eventAddresses({ event: info.event.id, root }, null, null).state,
      (message) => {
        this.store.patch({ event: applyMessage(this.store.value.event, message, root, Date.now()) })
        this.#decide()
      },
      (connection) => {
        this.store.patch({ connection })
        if (connection === 'online') this.listening.link.hurry()
      },
    )
    this.#source.start()
  }

  async #measure(): Promise<void> {
    this.heard = await read(this.listening.link.peer)
  }
}
