/**
 * `window.__boothcast.stats()` of booth, management room, participant's page and connection test: what end-to-end tests and
 * support read. Stable: names here are kept, new ones may be added; read only, but for `room`, which is the page's
 * controller itself and promises nothing. (The player's own is in `player/debug.ts`.)
 */
import type { BoothRoom } from './booth'
import type { ListeningGraph } from './graph'
import type { Listening } from './listening'
import type { ManageRoom } from './manage'
import type { Participant } from './participant'
import type { Probe } from './probe'
import type { Counters } from './quality'
import type { RoomCore } from './core'

/** Of pages that hear something. */
export interface MediaStats {
  /** WHEP: `off`, `connecting`, `connected`, `reconnecting`, `refused`. */
  sound: string
  /** WHEP sessions that were connected so far. */
  sound_sessions: number
  frames_decoded: number
  /** Energy of what arrived, mean square times seconds: rises while something sounds. Read once a second. */
  audio_energy: number
  bytes_received: number
  packets_lost: number
  /** `width × height` of the picture, 0 before the first. */
  width: number
  height: number
}

/** Of booth and management room. */
export interface RoomStats extends MediaStats {
  page: 'booth' | 'manage'
  /** `loading`, `join`, `room`. */
  stage: string
  /** `connecting`, `open`, `reconnecting`, `closed`. */
  socket: string
  /** WebSockets that were welcomed so far. */
  welcomes: number
  /** `revoked`, `expired`, `event`, `replaced`, `unknown_link`, or null. */
  closed: string | null
  you: string | null
  people: string[]
  event_status: string | null
  /** Languages of booths in which somebody is heard. */
  on_air_booths: string[]
  /** What is listened to. */
  listen: string | null
  chat: number
  /** Texts of the chat, oldest first. */
  chat_texts: string[]
  unread: number
  calling: string[]
  /** dB relative to full scale, as the daemon says. */
  levels: { floor: number; booths: Record<string, number> }
  rtt_ms: number | null
  error: string | null
  /** Strongest frequency of what arrives now, before tone and volume, in Hz; meaningless in silence. */
  sound_hertz: number
  /** Level (RMS) of the same over most of a second, dB relative to full scale. */
  sound_db: number
  /** What comes out of this page's graph, dB relative to full scale (-60 for silence). */
  output_db: number
}

export interface BoothStats extends RoomStats {
  page: 'booth'
  /** `off`, `on`, `cough`, `muted`, `waiting`, `unknown`: the lamp. */
  air: string
  /** The switch as it shows, and as the daemon has it. */
  switched_on: boolean
  on_air: boolean
  heard: boolean
  coughing: boolean
  /** The microphone's track lets sound through. */
  microphone_open: boolean
  /** `off`, `opening`, `open`, `denied`, `missing`, `insecure`. */
  microphone: string
  microphone_db: number
  /** WHIP, as `sound`. */
  voice: string
  voice_sessions: number
  packets_sent: number
  outgoing: string | null
  handover: { kind: string; from: string } | null
  jitter_ms: number | null
  loss_up: number | null
  loss_down: number | null
  playout_ms: number | null
  grade: string | null
  volume: number
  bass: number
  treble: number
  limiter: boolean
  /** dB that the limiter takes off now. */
  limiter_reduction_db: number
}

export interface ParticipantStats extends MediaStats {
  page: 'participant'
  language: string | null
  video: boolean
  event_status: string | null
  connection: string
  blocked: boolean
  paused: boolean
  volume: number
  muted: boolean
  position: number
}

export interface ProbeStats {
  page: 'test'
  /** `form`, `connecting`, `running`, `saving`, `done`, `failed`. */
  stage: string
  progress: number
  ping_ms: number | null
  jitter_ms: number | null
  loss_up: number | null
  loss_down: number | null
  grade: string | null
  saved: boolean | null
}

export interface RoomDebugHandle<T = BoothStats | RoomStats | ParticipantStats | ProbeStats> {
  version: 1
  readonly room: unknown
  stats(): T
}

function media(listening: Listening, heard: Counters, energy: number): MediaStats {
  const { stream } = listening.store.value
  const settings = stream?.getVideoTracks()[0]?.getSettings()
  return {
    sound: listening.store.value.state,
    sound_sessions: listening.link.sessions,
    frames_decoded: heard.frames_decoded,
    audio_energy: energy,
    bytes_received: heard.bytes_received,
    packets_lost: heard.lost,
    width: settings?.width ?? 0,
    height: settings?.height ?? 0,
  }
}

function common(core: RoomCore, stage: string, listen: string | null, rtt: number | null, graph: ListeningGraph | null) {
  const incoming = graph?.incoming() ?? { power: 0, hertz: 0 }
  const { socket, closed, you, state, chat, unread, error } = core.store.value
  return {
    stage,
    socket,
    welcomes: core.socket.welcomes,
    closed: closed?.reason ?? null,
    you,
    people: state?.people.map((person) => person.name) ?? [],
    event_status: state?.event.status ?? null,
    on_air_booths: state?.booths.filter((booth) => booth.on_air).map((booth) => booth.language) ?? [],
    listen,
    chat: chat.length,
    chat_texts: chat.map((line) => line.text),
    unread: Object.values(unread).reduce((sum, count) => sum + count, 0),
    calling: state?.people.filter((person) => person.calling).map((person) => person.name) ?? [],
    levels: { floor: core.levels.value.floor, booths: { ...core.levels.value.booths } },
    rtt_ms: rtt,
    error,
    sound_hertz: incoming.hertz,
    sound_db: 10 * Math.log10(Math.max(incoming.power, 1e-10)),
    output_db: graph?.meter.read() ?? -60,
  }
}

function expose(room: unknown, stats: () => BoothStats | RoomStats | ParticipantStats | ProbeStats): void {
  Object.assign(window, { __boothcast: { version: 1, room, stats } satisfies RoomDebugHandle })
}

export function exposeBooth(room: BoothRoom): void {
  expose(room, (): BoothStats => {
    const { stage, voice, coughing, figures } = room.store.value
    const me = room.me()
    const handover = room.booth()?.handover
    return {
      page: 'booth',
      ...media(room.listening, room.heard, room.energy),
      ...common(room.core, stage, me?.listen ?? null, figures.rtt_ms, room.graph),
      air: room.air(),
      switched_on: room.switchedOn(),
      on_air: me?.on_air ?? false,
      heard: me?.heard ?? false,
      coughing,
      microphone_open: room.microphone.track?.enabled ?? false,
      microphone: room.microphone.store.value.state,
      microphone_db: room.microphoneMeter?.read() ?? -60,
      voice,
      voice_sessions: room.voice.sessions,
      packets_sent: room.spoken.sent,
      outgoing: me?.outgoing ?? null,
      handover: handover ? { kind: handover.kind, from: handover.from } : null,
      jitter_ms: figures.jitter_ms,
      loss_up: figures.loss_up,
      loss_down: figures.loss_down,
      playout_ms: figures.playout_ms,
      grade: figures.grade,
      ...room.tone.value,
      limiter_reduction_db: room.graph?.reduction ?? 0,
    }
  })
}

export function exposeManage(room: ManageRoom): void {
  expose(room, (): RoomStats => {
    const { stage, source, rtt_ms } = room.store.value
    return {
      page: 'manage',
      ...media(room.listening, room.heard, room.energy),
      ...common(room.core, stage, source, rtt_ms, room.graph),
    }
  })
}

export function exposeParticipant(room: Participant): void {
  expose(room, (): ParticipantStats => {
    const { info, video, event, connection, blocked, paused, volume, muted } = room.store.value
    return {
      page: 'participant',
      ...media(room.listening, room.heard, room.heard.audio_energy),
      width: room.element.videoWidth,
      height: room.element.videoHeight,
      language: info?.language ?? null,
      video: (info?.video ?? false) && video,
      event_status: event?.status ?? info?.event.status ?? null,
      connection,
      blocked,
      paused,
      volume,
      muted,
      position: room.element.currentTime,
    }
  })
}

export function exposeProbe(room: Probe): void {
  expose(room, (): ProbeStats => {
    const { stage, progress, figures, grading, saved } = room.store.value
    return { page: 'test', stage, progress, ...figures, grade: grading?.grade ?? null, saved }
  })
}
