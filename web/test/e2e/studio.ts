/**
 * The other end of WHIP and WHEP for tests of the rooms: a page of the same browser that answers offers with peers of its
 * own, sends a picture and a tone, and measures the voices that come in. Real media; the daemon's own is tested elsewhere.
 */
import type { Browser, Page } from 'playwright-core'

interface StudioWindow {
  answer(kind: string, offer: string): Promise<{ id: string; answer: string }>
  leave(id: string): void
  leaveAll(): void
  level(id: string): number
  live(): string[]
}

/** Runs in the studio's page. */
function equip(): void {
  const studio = window as unknown as StudioWindow
  const peers = new Map<string, { peer: RTCPeerConnection; analyser: AnalyserNode | null; peak: number }>()
  // Looked at more often than its window is long, whatever the machine does: no beep is missed.
  setInterval(() => {
    for (const entry of peers.values()) {
      if (!entry.analyser) continue
      const samples = new Float32Array(entry.analyser.fftSize)
      entry.analyser.getFloatTimeDomainData(samples)
      for (const sample of samples) entry.peak = Math.max(entry.peak, Math.abs(sample))
    }
  }, 100)
  const context = new AudioContext({ sampleRate: 48_000 })
  const tone = new OscillatorNode(context, { frequency: 1000 })
  const loud = new GainNode(context, { gain: 0.2 })
  const floor = new MediaStreamAudioDestinationNode(context)
  tone.connect(loud).connect(floor)
  tone.start()
  const canvas = document.createElement('canvas')
  canvas.width = 640
  canvas.height = 360
  const draw = canvas.getContext('2d')!
  let frame = 0
  setInterval(() => {
    frame += 1
    const sky = draw.createLinearGradient(0, 0, 640, 360)
    sky.addColorStop(0, '#1c3a52')
    sky.addColorStop(1, '#7a4a3a')
    draw.fillStyle = sky
    draw.fillRect(0, 0, 640, 360)
    draw.fillStyle = '#e9d9b8'
    draw.fillRect(250, 200, 140, 120)
    draw.beginPath()
    draw.arc(320, 150, 48, 0, 7)
    draw.fill()
    draw.fillStyle = '#2b1d14'
    draw.fillRect(230, 285, 180, 60)
    draw.fillStyle = '#fff8'
    draw.fillRect((frame * 6) % 640, 350, 60, 6)
  }, 66)
  const picture = canvas.captureStream(15)
  let number = 0

  studio.answer = async (kind, offer) => {
    await context.resume()
    const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' })
    number += 1
    const id = String(number)
    const entry = { peer, analyser: null as AnalyserNode | null, peak: 0 }
    peers.set(id, entry)
    peer.ondatachannel = ({ channel }) => {
      channel.onmessage = ({ data }) => {
        const { type, at } = JSON.parse(String(data)) as { type: string; at: number }
        if (type === 'ping') channel.send(JSON.stringify({ type: 'pong', at }))
      }
    }
    peer.ontrack = ({ track }) => {
      if (track.kind !== 'audio') return
      // Chromium decodes what an element plays.
      const element = new Audio()
      element.muted = true
      element.srcObject = new MediaStream([track])
      void element.play()
      entry.analyser = new AnalyserNode(context, { fftSize: 32_768 })
      new MediaStreamAudioSourceNode(context, { mediaStream: new MediaStream([track]) }).connect(entry.analyser)
    }
    await peer.setRemoteDescription({ type: 'offer', sdp: offer })
    for (const transceiver of peer.getTransceivers()) {
      if (kind === 'whip') continue
      const track = transceiver.receiver.track.kind === 'video' ? picture.getVideoTracks()[0]! : floor.stream.getAudioTracks()[0]!
      await transceiver.sender.replaceTrack(track)
      transceiver.direction = kind === 'rtc' ? 'sendrecv' : 'sendonly'
    }
    await peer.setLocalDescription()
    if (peer.iceGatheringState !== 'complete') {
      await new Promise<void>((done) => {
        peer.addEventListener('icegatheringstatechange', () => peer.iceGatheringState === 'complete' && done())
      })
    }
    return { id, answer: peer.localDescription!.sdp }
  }
  studio.leave = (id) => {
    peers.get(id)?.peer.close()
    peers.delete(id)
  }
  studio.leaveAll = () => {
    for (const id of [...peers.keys()]) studio.leave(id)
  }
  studio.level = (id) => {
    const entry = peers.get(id)
    if (!entry) return -100
    const { peak } = entry
    entry.peak = 0
    return 20 * Math.log10(Math.max(peak, 1e-5))
  }
  studio.live = () => [...peers].filter(([, { peer }]) => peer.connectionState === 'connected').map(([id]) => id)
}

export class Studio {
  private constructor(private readonly page: Page) {}

  static async open(browser: Browser, origin: string): Promise<Studio> {
    const page = await browser.newPage()
    await page.goto(`${origin}/assets/licences.txt`)
    await page.evaluate(equip)
    return new Studio(page)
  }

  answer(kind: string, offer: string): Promise<{ id: string; answer: string }> {
    return this.page.evaluate(([kind, offer]) => (window as unknown as StudioWindow).answer(kind!, offer!), [kind, offer])
  }

  leave(id: string): Promise<void> {
    return this.page.evaluate((id) => (window as unknown as StudioWindow).leave(id), id)
  }

  /** Every peer is gone without a word, as when a daemon is killed. */
  leaveAll(): Promise<void> {
    return this.page.evaluate(() => (window as unknown as StudioWindow).leaveAll())
  }

  /** Peak of a voice since the last call, in dB relative to full scale. */
  level(id: string): Promise<number> {
    return this.page.evaluate((id) => (window as unknown as StudioWindow).level(id), id)
  }

  live(): Promise<string[]> {
    return this.page.evaluate(() => (window as unknown as StudioWindow).live())
  }
}
