/** The sound and picture of a room in real time: one WHEP session that keeps itself up. */
import { Store } from '../store'
import { PictureAge } from './picture'
import { RtcLink, type LinkState, type Refusal, type RtcEnvironment } from './rtc'
import { LISTENING, shapeOpus } from './sdp'

export interface Heard {
  state: LinkState
  refusal: Refusal | null
  /** What arrives; a new one with each session. */
  stream: MediaStream | null
}

export class Listening {
  readonly store = new Store<Heard>({ state: 'off', refusal: null, stream: null })
  /** Of what is shown of it. */
  readonly picture = new PictureAge()
  readonly link: RtcLink

  constructor(url: () => string | null, video: () => boolean, environment?: RtcEnvironment) {
    let stream: MediaStream | null = null
    this.link = new RtcLink(
      {
        url,
        prepare: (peer) => {
          stream = null
          if (video()) peer.addTransceiver('video', { direction: 'recvonly' })
          peer.addTransceiver('audio', { direction: 'recvonly' })
        },
        shape: (sdp) => shapeOpus(sdp, LISTENING),
        onState: (state, refusal) => this.store.patch({ state, refusal, ...(state === 'off' ? { stream: null } : {}) }),
        onTrack: ({ track }) => {
          // Tracks of one session belong together whatever the daemon calls their streams.
          stream = new MediaStream([...(stream?.getTracks() ?? []), track])
          this.store.patch({ stream })
        },
      },
      environment,
    )
  }
}
