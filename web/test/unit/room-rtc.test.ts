/** One WHIP or WHEP session in simulated time, and what is changed in descriptions. */
import { expect, test } from 'vitest'
import { CONNECT_WITHIN, DISCONNECTED_FOR, RETRY_MAX, RETRY_REFUSED, RtcLink, sessionUrl, type LinkState } from '../../src/room/rtc'
import { LISTENING, shapeOpus, VOICE } from '../../src/room/sdp'
import { FakeMedia, settled } from './room-world'

function setup(url: () => string | null = () => 'https://daemon/booth/S/whep') {
  const world = new FakeMedia()
  const states: LinkState[] = []
  let detail = ''
  const link = new RtcLink(
    {
      url,
      prepare: () => undefined,
      shape: (sdp) => `${sdp}+`,
      onState: (state, refusal) => {
        states.push(state)
        detail = refusal?.detail ?? ''
      },
    },
    world,
  )
  return { world, states, link, detail: () => detail }
}

test('offers, takes the answer, connects, and is deleted when left', async () => {
  const { world, states, link } = setup()
  link.start()
  await settled()
  expect(world.posts).toEqual([{ url: 'https://daemon/booth/S/whep', offer: 'offer+' }])
  expect(world.peer.remoteDescription).toEqual({ type: 'answer', sdp: 'answer+' })
  world.peer.become('connected')
  expect(states).toEqual(['connecting', 'connected'])
  await world.run(60_000)
  expect(world.posts).toHaveLength(1)
  link.stop()
  expect(world.deleted).toEqual(['session-1'])
  expect(world.peer.closed).toBe(true)
  expect(states.at(-1)).toBe('off')
  expect(world.timers).toBe(0)
})

test('a path that fails is replaced by a new session', async () => {
  const { world, states, link } = setup()
  link.start()
  await settled()
  world.peer.become('connected')
  world.peer.become('failed')
  expect(states.at(-1)).toBe('reconnecting')
  expect(world.deleted).toEqual(['session-1'])
  await world.run(1000)
  world.peer.become('connected')
  expect(states.at(-1)).toBe('connected')
  expect(link.sessions).toBe(2)
})

test('a short silence is waited out, a longer one is not', async () => {
  const { world, states, link } = setup()
  link.start()
  await settled()
  world.peer.become('connected')
  world.peer.become('disconnected')
  await world.run(DISCONNECTED_FOR - 100)
  world.peer.become('connected')
  await world.run(5000)
  expect(states).toEqual(['connecting', 'connected'])
  expect(world.peers).toHaveLength(1)
  world.peer.become('disconnected')
  await world.run(DISCONNECTED_FOR + 1)
  expect(states.at(-1)).toBe('reconnecting')
})

test('a refusal is told in the words of the daemon and asked again slowly', async () => {
  const { world, states, link, detail } = setup()
  world.mood = 'refuses'
  link.start()
  await settled()
  expect(states.at(-1)).toBe('refused')
  expect(detail()).toBe('The event is not open.')
  await world.run(RETRY_REFUSED * 4)
  expect(world.posts.length).toBeGreaterThanOrEqual(4)
  expect(world.posts.length).toBeLessThanOrEqual(6)
  world.mood = 'answers'
  await world.run(RETRY_REFUSED * 1.25)
  world.peer.become('connected')
  expect(states.at(-1)).toBe('connected')
})

test('a daemon that is away is tried for ever, with waits up to their most; the network back hurries', async () => {
  const { world, states, link } = setup()
  world.mood = 'unreachable'
  link.start()
  await world.run(60_000)
  expect(states.at(-1)).toBe('reconnecting')
  const tries = world.posts.length
  expect(tries).toBeGreaterThan(10)
  expect(tries).toBeLessThan(30)
  world.mood = 'answers'
  link.hurry()
  await world.run(1)
  expect(world.posts).toHaveLength(tries + 1)
  await world.run(RETRY_MAX)
})

test('an answer that never comes, and media that never flow, are given up', async () => {
  const { world, link } = setup()
  world.mood = 'silent'
  link.start()
  await world.run(CONNECT_WITHIN + 1000)
  expect(world.posts).toHaveLength(2)
  world.mood = 'answers'
  await world.run(CONNECT_WITHIN + 1000)
  const posts = world.posts.length
  await world.run(CONNECT_WITHIN + RETRY_MAX)
  expect(world.posts.length).toBeGreaterThan(posts)
  expect(world.peers.slice(0, -1).every((peer) => peer.closed)).toBe(true)
})

test('left while the answer is under way: the session that was made is deleted', async () => {
  const { world, link } = setup()
  let answer: (value: { answer: string; session: string | null }) => void = () => undefined
  world.post = () => new Promise((done) => {
    answer = done
  })
  link.start()
  await settled()
  link.stop()
  answer({ answer: 'answer', session: 'orphan' })
  await settled()
  expect(world.deleted).toEqual(['orphan'])
  expect(world.peer.remoteDescription).toBeNull()
})

test('renewed on wish; without an address it waits until there is one', async () => {
  let url: string | null = null
  const { world, states, link } = setup(() => url)
  link.start()
  await world.run(500)
  expect(world.posts).toHaveLength(0)
  url = 'https://daemon/whep?source=de'
  await world.run(RETRY_MAX)
  world.peer.become('connected')
  link.renew()
  expect(states.at(-1)).toBe('reconnecting')
  await world.run(1)
  expect(world.deleted).toEqual(['session-1'])
  expect(world.posts).toHaveLength(2)
})

test('a session is ended below the address that was asked, with the same right', () => {
  const asked = 'https://host/live/manage/e1/whep?link=S&source=de'
  expect(sessionUrl(asked, null)).toBeNull()
  expect(sessionUrl(asked, '/live/manage/e1/whep/7')).toBe('https://host/live/manage/e1/whep/7?link=S')
  expect(sessionUrl(asked, '/manage/e1/whep/7')).toBe('https://host/live/manage/e1/whep/7?link=S')
  expect(sessionUrl(asked, 'https://other/x/7')).toBe('https://host/live/manage/e1/whep/7?link=S')
  expect(sessionUrl('https://host/booth/S/whip?person=p1', '/booth/S/whip/9')).toBe('https://host/booth/S/whip/9')
})

const SDP = ['v=0', 'm=audio 9 UDP/TLS/RTP/SAVPF 111 63 0', 'a=rtpmap:111 opus/48000/2', 'a=rtcp-fb:111 transport-cc', 'a=fmtp:111 minptime=10;useinbandfec=0', 'a=rtpmap:63 red/48000/2', 'a=fmtp:63 111/111', 'a=rtpmap:0 PCMU/8000', ''].join('\r\n')

test('only the parameters of Opus change', () => {
  const shaped = shapeOpus(SDP, VOICE)
  expect(shaped).toContain('a=fmtp:111 minptime=10;useinbandfec=1;maxaveragebitrate=80000;stereo=0;sprop-stereo=0\r\n')
  const rest = (sdp: string) => sdp.split('\r\n').filter((line) => !line.startsWith('a=fmtp:111'))
  expect(rest(shaped)).toEqual(rest(SDP))
  expect(shapeOpus(SDP, LISTENING)).toContain('minptime=10;useinbandfec=1;stereo=1')
})

test('a description without parameters gets them, one without Opus stays', () => {
  const bare = SDP.replace('a=fmtp:111 minptime=10;useinbandfec=0\r\n', '')
  expect(shapeOpus(bare, { useinbandfec: '1' })).toContain('a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n')
  expect(shapeOpus('v=0\r\n', VOICE)).toBe('v=0\r\n')
  expect(shapeOpus('', VOICE)).toBe('')
})
