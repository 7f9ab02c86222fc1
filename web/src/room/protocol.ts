/**
 * What crosses the rooms' WebSockets: JSON text messages with a `type`.
 *
 * `/booth/{secret}/ws` for interpreters, `/manage/{id}/ws?link=SECRET` (or a manager's API token as `token=`) for
 * managers. The first message is `hello`; the daemon answers `welcome`, then `state` after every change.
 */

/** A language tag (BCP 47), or `floor`. */
export type Source = string;

/** From a page. What a role may not do is answered with `error`. */
export type ToDaemon =
  /** `resume` is `welcome.resume` of a lost connection: the same person goes on, in the same state. */
  | { type: "hello"; name: string; resume?: string }
  | { type: "on_air"; value: boolean }
  | { type: "cough"; value: boolean }
  | { type: "listen"; source: Source }
  | { type: "outgoing"; language: string }
  | { type: "handover"; action: "offer" | "ask" | "take" | "decline" }
  | { type: "chat"; to: "booth" | "managers" | "all"; text: string; booth?: string }
  | { type: "slow_down" }
  | { type: "call_manager"; value?: boolean }
  /** What the page measured, every second; `playout_ms` is how old the programme is when it is heard and seen (buffers of browser and device). */
  | { type: "quality"; rtt_ms?: number; jitter_ms?: number; loss?: number; playout_ms?: number }
  /** Round trip of the control connection: answered with `pong` at once. */
  | { type: "ping"; at: number }
  /** Managers only. */
  | { type: "manage"; booth: string; muted?: boolean; floor_level_db?: number }
  | { type: "answer_call"; person: string };

/** How good a connection is, by the thresholds of the connection test. */
export type Grade = "good" | "average" | "bad";

export interface Quality {
  rtt_ms: number | null;
  jitter_ms: number | null;
  /** Shares, 0 to 1: towards the daemon and from it. */
  loss_up: number | null;
  loss_down: number | null;
  grade: Grade | null;
}

export interface Person {
  id: string;
  name: string;
  role: "interpreter" | "manager";
  /** The booth's language; none for managers. */
  booth: string | null;
  /** The switch; whether they are heard is `heard`. */
  on_air: boolean;
  cough: boolean;
  /** The voice is connected (WHIP). */
  connected: boolean;
  /** On air, connected, neither coughing nor muted: viewers hear them. */
  heard: boolean;
  outgoing: string | null;
  listen: Source;
  calling: boolean;
  quality: Quality;
}

/** `offer`: someone on air offers the microphone; `ask`: someone off air asks for it. */
export interface Handover {
  kind: "offer" | "ask";
  from: string;
  at: string;
}

export interface Booth {
  language: string;
  /** The language's name in itself. */
  name: string;
  second_language: string | null;
  muted: boolean;
  /** dB, at most 0; null for no floor at all (negative infinity). */
  floor_level_db: number | null;
  /** Whether anyone is heard in this booth's language. */
  on_air: boolean;
  handover: Handover | null;
  /** Someone on air asks the floor to slow down; cleared after ten seconds. */
  slow_down: boolean;
  /** Open microphones: a warning when two or more. */
  open: string[];
}

/** What can be listened to. */
export interface Relay {
  source: Source;
  name: string;
  /** `direct`: interpreted from the floor; `relay`: its interpreter hears another booth; `floor`: nobody is on air. */
  quality: "floor" | "direct" | "relay";
  /** Why it can't be chosen (it would hear itself), in words. */
  refused: string | null;
}

export type FromDaemon =
  | { type: "welcome"; you: string; resume: string; event: { id: string; name: string }; booth: string | null }
  | {
      type: "state";
      at: string;
      event: { id: string; name: string; status: string; floor_language: string };
      booths: Booth[];
      people: Person[];
      relays: Relay[];
    }
  | { type: "chat"; from: string; name: string; role: string; booth: string | null; to: string; text: string; at: string }
  /** Ten times a second while something sounds: dB relative to full scale per booth's language and for the floor. */
  | { type: "levels"; floor: number; booths: Record<string, number> }
  /** The daemon's own figures of this page's voice and sound, every second. */
  | { type: "stats"; rtt_ms: number | null; jitter_ms: number | null; loss: number | null; loss_down: number | null }
  | { type: "slow_down"; from: string; booth: string }
  | { type: "pong"; at: number }
  /** The link was revoked or ran out, or the event closed its rooms: no reconnect on `revoked` and `expired`. */
  | { type: "closed"; reason: "revoked" | "expired" | "event" | "replaced" | "slow"; detail: string }
  | { type: "error"; detail: string };
