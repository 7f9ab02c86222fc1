/**
 * An interpreter's booth without its looks: joins, listens (WHEP), speaks (WHIP), and keeps microphone, switch and the
 * daemon's picture in step.
 *
 * The microphone's track is enabled only while the switch is on and the cough key is not held, so that nothing said off
 * air leaves this computer. The daemon opens and closes with ramps; going off air, the track is shut a moment later, so
 * that the ramp has something to work on.
 */
import { Store } from '../store'
import { lookUp, withQuery, type InfoFailure, type RoomAddress } from './address'
import { RoomCore } from './core'
import { Microphone } from './devices'
import { ListeningGraph, MicrophoneMeter } from './graph'
import { grade } from './grade'
import { Listening } from './listening'
import { RoomPreferenceStore, type RoomPreferences } from './prefs'
import type { Grade, Person, ToDaemon } from './protocol'
import { playedAge } from './picture'
import { bufferDelay, lossDown, lossUp, NO_COUNTERS, read, type Counters } from './quality'
import { RtcLink, type LinkState, type Refusal } from './rtc'
import { shapeOpus, VOICE, VOICE_BITRATE } from './sdp'
import { airOf, boothOf, nextSource, outgoingChoices, type Air } from './state'

export interface BoothInfo {
  event: { id: string; name: string; status: string; floor_language: string }
  booth: { language: string; name: string; second_language: string | null }
}

/** Own figures, each null while unknown. */
export interface OwnFigures {
  rtt_ms: number | null
  jitter_ms: number | null
  loss_up: number | null
  loss_down: number | null
  /** How old the sound is when it is heard: buffers of browser and device. */
  playout_ms: number | null
  grade: Grade | null
}

export interface BoothSnapshot {
  stage: 'loading' | 'join' | 'room'
  info: BoothInfo | null
  failure: InfoFailure | null
  voice: LinkState
  voiceRefusal: Refusal | null
  /** The user wants the microphone connected. */
  microphone: boolean
  /** The position of the switch that was asked for, until the daemon has said so too. */
  wish: boolean | null
  coughing: boolean
  /** The browser lets sound out; false until a click where it insists on one. */
  audible: boolean
  figures: OwnFigures
}

export const NO_FIGURES: OwnFigures = { rtt_ms: null, jitter_ms: null, loss_up: null, loss_down: null, playout_ms: null, grade: null }

/** Statistics are read and sent this often. */
const MEASURE_EVERY = 1000
/** The track is shut this long after the switch: longer than the daemon's way there and its ramp's first part. */
const SHUT_AFTER = 300
/** A switch that the daemon does not confirm within this was refused. */
const WISH_FOR = 2000
/** Steps of keys. */
export const VOLUME_STEP = 0.05
export const TONE_STEP = 1

export class BoothRoom {
  readonly store = new Store<BoothSnapshot>({
    stage: 'loading', info: null, failure: null, voice: 'off', voiceRefusal: null, microphone: true, wish: null,
    coughing: false, audible: true, figures: NO_FIGURES,
  })
  readonly preferences = new RoomPreferenceStore()
  readonly tone: Store<Pick<RoomPreferences, 'volume' | 'bass' | 'treble' | 'limiter'>>
  readonly core: RoomCore
  readonly listening: Listening
  readonly microphone: Microphone
  readonly voice: RtcLink
  graph: ListeningGraph | null = null
  microphoneMeter: MicrophoneMeter | null = null
  heard: Counters = NO_COUNTERS
  spoken: Counters = NO_COUNTERS
  /** Energy that came in so far: mean square times seconds. (The browser's own counts nothing of a muted element.) */
  energy = 0
  #shut: number | null = null
  #wishEnds: number | null = null
  #wasYou: string | null = null

  constructor(readonly address: RoomAddress) {
    const { volume, bass, treble, limiter } = this.preferences.value
    this.tone = new Store({ volume, bass, treble, limiter })
    this.core = new RoomCore(address, 'interpreter', () => this.preferences.value.name)
    this.core.onMessage = (message) => {
      if (message.type === 'welcome') this.#welcomed()
      if (message.type === 'state') this.#reconcile()
    }
    this.core.onSocket = (state) => {
      if (state === 'closed') this.#closeMedia()
      this.#gate()
    }
    this.listening = new Listening(() => this.#mediaUrl(address.whep), () => true)
    this.listening.store.subscribe(({ stream }) => this.graph?.setStream(stream))
    this.microphone = new Microphone((track) => this.#track(track))
    this.voice = new RtcLink({
      url: () => this.#mediaUrl(address.whip),
      prepare: (peer) => this.#prepareVoice(peer),
      shape: (sdp) => shapeOpus(sdp, VOICE),
      onState: (voice, voiceRefusal) => this.store.patch({ voice, voiceRefusal }),
    })
  }

  start(): void {
    lookUp<BoothInfo>(
      this.address.info,
      (info) => this.store.patch({ info, failure: null, stage: 'join' }),
      (failure) => this.store.patch({ failure }),
    )
    addEventListener('online', () => {
      this.core.socket.hurry()
      this.listening.link.hurry()
      this.voice.hurry()
    })
    // The DELETEs outlive the page; the daemon need not wait until it notices.
    addEventListener('pagehide', () => this.leave())
    // A page that comes back from the browser's cache is not in the room any more.
    addEventListener('pageshow', ({ persisted }) => {
      if (persisted) location.reload()
    })
    addEventListener('beforeunload', (event) => {
      if (this.air() !== 'off') event.preventDefault()
    })
    document.addEventListener('visibilitychange', () => this.#stayAwake())
    // A key that is let go while another window has the focus is not heard.
    addEventListener('blur', () => this.cough(false))
    window.setInterval(() => void this.#measure(), MEASURE_EVERY)
  }

  /** Sound for the join page's test, and for the room: made from a click or key, so that browsers let it out. */
  openGraph(): ListeningGraph {
    if (!this.graph) {
      const graph = new ListeningGraph((audible) => this.store.patch({ audible }))
      this.graph = graph
      this.microphoneMeter = new MicrophoneMeter(graph.context)
      this.microphoneMeter.setTrack(this.microphone.track)
      graph.set(this.tone.value)
      void graph.setOutput(this.preferences.value.headphones)
    }
    this.graph.resume()
    return this.graph
  }

  join(name: string): void {
    this.preferences.set({ name })
    this.openGraph()
    this.store.patch({ stage: 'room' })
    if (this.store.value.microphone && !this.microphone.track) void this.microphone.open(this.preferences.value)
    this.core.socket.start()
    this.#stayAwake()
  }

  leave(): void {
    this.core.socket.stop()
    this.#closeMedia()
    this.microphone.close()
  }

  me(): Person | null {
    const { state, you } = this.core.store.value
    return state?.people.find((person) => person.id === you) ?? null
  }

  booth() {
    return boothOf(this.core.store.value.state?.booths ?? [], this.store.value.info?.booth.language ?? null)
  }

  air(): Air {
    return airOf(this.me(), this.booth(), this.core.store.value.socket === 'open', this.store.value.coughing)
  }

  /** The position of the switch as the page shows it. */
  switchedOn(): boolean {
    return this.store.value.wish ?? this.me()?.on_air ?? false
  }

  setOnAir(value: boolean): void {
    // Off air must always work; on air needs a microphone to be worth anything.
    if (value && !this.store.value.microphone) this.connectMicrophone(true)
    this.store.patch({ wish: value })
    this.core.send({ type: 'on_air', value })
    if (this.#wishEnds !== null) clearTimeout(this.#wishEnds)
    this.#wishEnds = window.setTimeout(() => {
      if (this.core.store.value.socket === 'open') this.#dropWish()
    }, WISH_FOR)
    this.#gate()
  }

  cough(value: boolean): void {
    if (value === this.store.value.coughing) return
    this.store.patch({ coughing: value })
    this.#gate()
    if (this.store.value.stage === 'room') this.core.send({ type: 'cough', value })
  }

  listen(source: string): void {
    this.core.send({ type: 'listen', source })
  }

  listenNext(): void {
    this.listen(nextSource(this.core.store.value.state?.relays ?? [], this.me()?.listen ?? 'floor'))
  }

  setOutgoing(language: string): void {
    this.core.send({ type: 'outgoing', language })
  }

  switchOutgoing(): void {
    const other = outgoingChoices(this.booth()).find((language) => language !== this.me()?.outgoing)
    if (other) this.setOutgoing(other)
  }

  handover(action: Extract<ToDaemon, { type: 'handover' }>['action']): void {
    this.core.send({ type: 'handover', action })
  }

  slowDown(): void {
    this.core.send({ type: 'slow_down' })
  }

  callManager(): void {
    this.core.send({ type: 'call_manager', value: !this.me()?.calling })
  }

  connectMicrophone(on: boolean): void {
    this.store.patch({ microphone: on })
    if (on) void this.microphone.open(this.preferences.value)
    else {
      this.microphone.close()
      if (this.switchedOn()) this.setOnAir(false)
    }
  }

  setTone(fields: Partial<Pick<RoomPreferences, 'volume' | 'bass' | 'treble' | 'limiter'>>): void {
    const limit = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value))
    const now = { ...this.tone.value, ...fields }
    const tone = { ...now, volume: limit(now.volume, 0, 1.5), bass: limit(now.bass, -12, 12), treble: limit(now.treble, -12, 12) }
    this.tone.patch(tone)
    this.preferences.set(tone)
    this.graph?.set(tone)
  }

  /** Devices and the browser's processing; an open microphone is opened anew. */
  setDevices(fields: Partial<RoomPreferences>): void {
    const before = this.preferences.value
    this.preferences.set(fields)
    const now = this.preferences.value
    if (now.headphones !== before.headphones) void this.graph?.setOutput(now.headphones)
    const names = ['microphone', 'echoCancellation', 'noiseSuppression', 'autoGain'] as const
    if (this.microphone.store.value.state !== 'off' && names.some((name) => now[name] !== before[name])) {
      void this.microphone.open(now)
    }
  }

  /** The token of the welcome says whose voice and ears they are: several people share a booth's link. */
  #mediaUrl(address: string): string | null {
    const { you } = this.core.store.value
    return you === null ? null : withQuery(address, { person: you })
  }

  #welcomed(): void {
    const { you } = this.core.store.value
    // What broke together with the control connection is not waited for; what still plays goes on, unless the daemon took us
    // for somebody new (it was restarted, or we were away for too long): then it belongs to nobody.
    const same = you === this.#wasYou
    this.#wasYou = you
    for (const link of [this.listening.link, this.voice]) {
      if (link.state === 'off' || (same && link.peer?.connectionState === 'connected')) continue
      link.renew()
    }
    this.listening.link.start()
    if (this.microphone.track) this.voice.start()
  }

  /** The screen of somebody who watches and speaks for an hour must not go dark. Browsers forget it when the page hides. */
  #stayAwake(): void {
    if (this.store.value.stage !== 'room' || document.visibilityState !== 'visible') return
    navigator.wakeLock?.request('screen').catch(() => undefined)
  }

  #closeMedia(): void {
    this.listening.link.stop()
    this.voice.stop()
  }

  #track(track: MediaStreamTrack | null): void {
    this.microphoneMeter?.setTrack(track)
    // Shut until the switch says otherwise: another microphone must not let a word out.
    if (track) track.enabled = false
    this.#gate()
    if (!track) {
      this.voice.stop()
      return
    }
    const [sender] = this.voice.peer?.getSenders() ?? []
    if (sender) sender.replaceTrack(track).catch(() => this.voice.renew())
    else if (this.core.store.value.socket === 'open') this.voice.start()
  }

  #prepareVoice(peer: RTCPeerConnection): void {
    const { track } = this.microphone
    const init: RTCRtpTransceiverInit = { direction: 'sendonly', sendEncodings: [{ maxBitrate: VOICE_BITRATE }] }
    peer.addTransceiver(track ?? 'audio', init)
  }

  #dropWish(): void {
    if (this.#wishEnds !== null) clearTimeout(this.#wishEnds)
    this.#wishEnds = null
    this.store.patch({ wish: null })
    this.#gate()
  }

  #reconcile(): void {
    if (this.store.value.wish === this.me()?.on_air) this.#dropWish()
    this.#gate()
  }

  /** Opens and shuts the microphone's track by switch and cough key. */
  #gate(): void {
    const { track } = this.microphone
    if (this.#shut !== null) clearTimeout(this.#shut)
    this.#shut = null
    if (!track) return
    const open = this.switchedOn() && !this.store.value.coughing
    if (open || this.store.value.coughing || this.core.store.value.socket !== 'open') {
      track.enabled = open
    } else if (track.enabled) {
      this.#shut = window.setTimeout(() => {
        track.enabled = false
      }, SHUT_AFTER)
    }
  }

  async #measure(): Promise<void> {
    if (this.store.value.stage !== 'room') return
    const [heard, spoken] = await Promise.all([read(this.listening.link.peer), read(this.voice.peer)])
    this.energy += ((this.graph?.incoming().power ?? 0) * MEASURE_EVERY) / 1000
    const { stats } = this.core.store.value
    const buffered = bufferDelay(this.heard, heard)
    const own = {
      rtt_ms: heard.rtt_ms ?? spoken.rtt_ms ?? this.core.socket.roundTrip,
      jitter_ms: heard.jitter_ms,
      loss_up: stats?.loss ?? lossUp(this.spoken, spoken),
      loss_down: lossDown(this.heard, heard),
      playout_ms: playedAge(buffered, this.graph?.latency() ?? 0, this.listening.picture.take()),
    }
    this.heard = heard
    this.spoken = spoken
    const jitter = Math.max(own.jitter_ms ?? 0, stats?.jitter_ms ?? 0)
    const graded = grade({ ping_ms: own.rtt_ms, jitter_ms: own.jitter_ms === null ? null : jitter, loss_up: own.loss_up, loss_down: own.loss_down })
    this.store.patch({ figures: { ...own, grade: this.me()?.quality.grade ?? graded.grade } })
    if (this.core.store.value.socket !== 'open') return
    const message: ToDaemon = { type: 'quality' }
    if (own.rtt_ms !== null) message.rtt_ms = own.rtt_ms
    if (own.jitter_ms !== null) message.jitter_ms = own.jitter_ms
    if (own.loss_down !== null) message.loss = own.loss_down
    if (own.playout_ms !== null) message.playout_ms = own.playout_ms
    this.core.send(message)
  }
}
