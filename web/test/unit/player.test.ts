import { describe, expect, test } from 'vitest'
import { eventAddresses, eventIdFrom, eventOrigins, parseAddress, parseOptions } from '../../src/player/address'
import { nextPhase, plays, type Phase, type PhaseInput } from '../../src/player/machine'
import { parsePreferences, PreferenceStore } from '../../src/player/prefs'
import { actionFor } from '../../src/player/shortcuts'
import { applyMessage, imageFor, textFor, type EventState, type Status } from '../../src/player/state'
import { clockText, countdownParts, durationText } from '../../src/player/time'
import { lacks, parseOffer, sameTrack } from '../../src/player/offer'
import { findLanguage, initialAudio, initialCaptions, levelLabel, sortedLevels, type Level, type Track } from '../../src/player/tracks'

const BASE = 'https://live.example.org/'
const NOW = Date.parse('2026-03-02T09:00:00Z')
const apply = (previous: EventState | null, message: unknown) => applyMessage(previous, message, BASE, NOW)

describe('state', () => {
  const first = apply(null, {
    type: 'state', at: '2026-03-02T09:00:00Z', status: 'inactive', name: 'Congress', description: 'Plain language',
    scheduled_start: '2026-03-02T10:00:00+01:00', server_time: '2026-03-02T09:00:05Z',
    texts: { inactive: 'Soon', ended: '' }, images: { general: '/pictures/a.png', poster: 'javascript:alert(1)', ended: 'data:image/png,x' },
    service_message: { text: 'Hello', until: '2026-03-02T09:10:00Z' }, something_new: 5,
  })

  test('the first message is the whole', () => {
    expect(first).toEqual({
      status: 'inactive', name: 'Congress', description: 'Plain language', scheduledStart: NOW, countdown: true,
      texts: { inactive: 'Soon' }, images: { general: 'https://live.example.org/pictures/a.png' },
      serviceMessage: { text: 'Hello', until: NOW + 600_000 }, hlsUrl: null, otherOrigins: [], tracksVersion: 0, clockOffset: 5000,
    })
  })

  test('later ones change what they name', () => {
    expect(apply(first, { type: 'status', status: 'started' })).toEqual({ ...first, status: 'started' })
    expect(apply(first, { type: 'service_message', service_message: null })?.serviceMessage).toBeNull()
    expect(apply(first, { type: 'languages' })?.tracksVersion).toBe(1)
    // A whole state keeps what was counted here.
    const again = apply(apply(first, { type: 'languages' }), { status: 'paused', name: 'B' })
    expect(again).toMatchObject({ status: 'paused', name: 'B', tracksVersion: 1, clockOffset: 5000 })
  })

  test('what is not understood changes nothing', () => {
    for (const message of [null, 5, 'status', [], {}, { type: 'status' }, { type: 'status', status: 'exploded' }, { type: 'input' }, { status: 'x' }]) {
      expect(apply(first, message)).toBe(first)
    }
    expect(apply(null, { type: 'status', status: 'started' })).toBeNull()
  })

  test('other servers are taken note of, within reason', () => {
    const other = (hls_url: unknown) => ({ pathway: 'b', hls_url })
    const origins = (other_origins: unknown) => apply(null, { status: 'started', other_origins })?.otherOrigins
    const url = 'https://b.example/live/ID/index.m3u8'
    expect(origins([other(url), other('javascript:alert(1)'), other(5), null])).toEqual([url])
    expect(origins(Array.from({ length: 50 }, () => other(url)))?.length).toBe(8)
    expect(origins({ hls_url: url })).toEqual([])
  })

  test('texts are bounded', () => {
    expect(apply(null, { status: 'ended', name: 'x'.repeat(10_000) })?.name.length).toBe(2000)
  })

  test('a status without its own words or picture takes the nearest', () => {
    expect(textFor(first!, 'preview')).toBe('Soon')
    expect(textFor(first!, 'ended')).toBeUndefined()
    expect(imageFor(first!, 'ended')).toBe('https://live.example.org/pictures/a.png')
  })
})

describe('phases', () => {
  const next = (current: Phase, status: Status | null, rest: Partial<PhaseInput> = {}) =>
    nextPhase(current, { status, connection: 'online', preview: false, holding: false, ...rest })

  test('media is asked for only while viewers may', () => {
    const allowed = (['inactive', 'preview', 'started', 'paused', 'ended'] as const).map((status) => [plays(status, false), plays(status, true)])
    expect(allowed).toEqual([[false, false], [false, true], [true, true], [false, true], [false, false]])
  })

  test('each status has its page', () => {
    expect(next('connecting', null)).toBe('connecting')
    expect(next('connecting', 'inactive')).toBe('holding')
    expect(next('holding', 'preview')).toBe('holding')
    expect(next('holding', 'started')).toBe('live')
    expect(next('live', 'paused')).toBe('paused')
    expect(next('live', 'ended')).toBe('ended')
    expect(next('paused', 'started')).toBe('live')
    expect(next('ended', 'inactive')).toBe('holding')
  })

  test('what is held is played out before the page shows', () => {
    for (const status of ['paused', 'ended', 'inactive'] as const) {
      expect(next('live', status, { holding: true })).toBe('draining')
      expect(next('draining', status, { holding: true })).toBe('draining')
      expect(next('draining', status)).toBe(status === 'inactive' ? 'holding' : status)
    }
    expect(next('draining', 'started', { holding: true })).toBe('live')
    // A page that shows already does not go back to the picture.
    expect(next('paused', 'ended', { holding: true })).toBe('ended')
  })

  test('a lost connection changes nothing, a refusal does', () => {
    expect(next('live', 'started', { connection: 'reconnecting', holding: true })).toBe('live')
    expect(next('live', 'started', { connection: 'gone', holding: true })).toBe('draining')
    expect(next('draining', 'started', { connection: 'gone' })).toBe('gone')
    expect(next('connecting', null, { connection: 'denied' })).toBe('denied')
    expect(next('gone', 'inactive')).toBe('holding')
  })
})

describe('tracks', () => {
  const track = (index: number, name: string, language: string, isDefault = false): Track => ({ index, name, language, isDefault })
  const tracks = [track(0, 'Original', 'mul', true), track(1, 'Deutsch', 'de-AT'), track(2, 'Français', 'fr'), track(3, 'English', 'en')]

  test('a language is found by tag, by kin, by name', () => {
    expect(findLanguage(tracks, 'fr')).toBe(2)
    expect(findLanguage(tracks, 'DE')).toBe(1)
    expect(findLanguage(tracks, 'fr-CA')).toBe(2)
    expect(findLanguage(tracks, 'original')).toBe(0)
    expect(findLanguage(tracks, 'nl')).toBe(-1)
    expect(findLanguage(tracks, '')).toBe(-1)
  })

  test("the viewer's choice goes before the page's wish, that before the default", () => {
    expect(initialAudio(tracks, { language: 'fr', name: 'Français' }, 'de')).toBe(2)
    expect(initialAudio(tracks, { language: 'nl', name: 'Nederlands' }, 'de')).toBe(1)
    expect(initialAudio(tracks, null, 'nl')).toBe(0)
    expect(initialAudio([], null, 'nl')).toBe(-1)
    // Two of one language: the name tells them apart.
    const twins = [track(0, 'English', 'en', true), track(1, 'English (clean)', 'en')]
    expect(initialAudio(twins, { language: 'en', name: 'English (clean)' }, null)).toBe(1)
  })

  test('captions are off unless asked for, and stay off once switched off', () => {
    expect(initialCaptions(tracks, null, null)).toBe(-1)
    expect(initialCaptions(tracks, null, 'de')).toBe(1)
    expect(initialCaptions(tracks, 'off', 'de')).toBe(-1)
    expect(initialCaptions(tracks, 'fr', 'de')).toBe(2)
    expect(initialCaptions(tracks, 'nl', 'off')).toBe(-1)
  })

  const level = (index: number, height: number, rest: Partial<Level> = {}): Level => ({
    index, height, width: 0, bitrate: height * 4000, frameRate: 25, source: false, ...rest,
  })

  test('rungs are named by their lines, and told apart where those are the same', () => {
    const words = { source: 'source', audioOnly: 'sound' }
    const all = [level(0, 1080), level(1, 1080, { source: true }), level(2, 720, { bitrate: 3e6 }), level(3, 720, { bitrate: 2e6 }), level(4, 1080, { frameRate: 50 }), level(5, 0)]
    expect(all.map((one) => levelLabel(one, all, words))).toEqual(['1080p', '1080p source', '720p (3.0 Mbps)', '720p (2.0 Mbps)', '1080p50', 'sound'])
    expect(sortedLevels(all).map((one) => one.index)).toEqual([1, 0, 4, 2, 3, 5])
  })
})

describe('addresses', () => {
  test('the root is found behind any prefix', () => {
    expect(parseAddress('https://h/watch/abc?x=1', 'watch')).toEqual({ event: 'abc', root: 'https://h/' })
    expect(parseAddress('https://h/live/tv/embed/a%20b', 'embed')).toEqual({ event: 'a b', root: 'https://h/live/tv/' })
    expect(parseAddress('https://h/watch/watch', 'watch')).toEqual({ event: 'watch', root: 'https://h/' })
    expect(parseAddress('https://h/watch/%E0%A4%A', 'watch').event).toBe('')
  })

  test('the token goes along, also to a playlist elsewhere', () => {
    const page = { event: 'a/b', root: 'https://h/x/' }
    const others = ['https://b.example/x/live/ID-2/index.m3u8', 'https://cdn.example/other.m3u8']
    expect(eventOrigins(page, null, null, others)).toEqual([
      { root: page.root, ...eventAddresses(page, null, null) },
      { root: 'https://b.example/x/', state: 'https://b.example/x/api/v1/events/ID-2/state', playlist: others[0] },
    ])
    // A manager's token is for its own server.
    expect(eventOrigins(page, 'T', null, others)).toEqual([{ root: page.root, ...eventAddresses(page, 'T', null) }])
    expect(eventAddresses(page, null, null)).toEqual({
      state: 'https://h/x/api/v1/events/a%2Fb/state', playlist: 'https://h/x/live/a%2Fb/index.m3u8',
    })
    expect(eventAddresses(page, 'T&1', 'https://cdn/y.m3u8?k=1').playlist).toBe('https://cdn/y.m3u8?k=1&preview=T%261')
  })

  test('the query is read with defaults', () => {
    expect(parseOptions('')).toEqual({ language: null, captions: null, autoplay: true, muted: false, preview: null, engine: 'auto', parent: null })
    expect(parseOptions('?autoplay=0&muted&language=de&parent=https://a.b/c&engine=x')).toMatchObject({
      autoplay: false, muted: true, language: 'de', parent: 'https://a.b', engine: 'auto',
    })
    expect(parseOptions('?parent=nonsense&muted=0')).toMatchObject({ parent: null, muted: false })
  })

  test('a pasted address gives its id', () => {
    expect(eventIdFrom(' abc ')).toBe('abc')
    expect(eventIdFrom('https://h/x/watch/a%20b?lang=de#t')).toBe('a b')
    expect(eventIdFrom('h/embed/q')).toBe('q')
    expect(eventIdFrom('/watch/%E0%A4%A')).toBe('%E0%A4%A')
  })
})

test('preferences survive damage and refusal', () => {
  for (const stored of [null, '', '{', '5', '[]', '{"volume":7,"language":5,"captions":{},"shortcuts":"no"}']) {
    expect(parsePreferences(stored)).toEqual({ language: null, captions: null, volume: 1, shortcuts: true })
  }
  const refusing = { getItem: () => { throw new Error('denied') }, setItem: () => { throw new Error('denied') } }
  const store = new PreferenceStore(refusing)
  store.set({ volume: 0.5 })
  expect(store.value.volume).toBe(0.5)
  const kept = new Map<string, string>()
  const storage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value) }
  new PreferenceStore(storage).set({ language: { language: 'de', name: 'Deutsch' }, captions: 'off' })
  expect(new PreferenceStore(storage).value).toMatchObject({ language: { language: 'de', name: 'Deutsch' }, captions: 'off' })
})

test('keys mean what the focus leaves them', () => {
  const key = (name: string, focus: Parameters<typeof actionFor>[1] = 'none', enabled = true, ctrl = false) =>
    actionFor({ key: name, ctrl, alt: false, meta: false }, focus, enabled)
  expect(key('K')).toBe('play')
  expect(key(' ')).toBe('play')
  expect(key(' ', 'button')).toBeNull()
  expect(key('ArrowLeft', 'button')).toBe('back')
  expect(key('ArrowLeft', 'slider')).toBeNull()
  expect(key('m', 'text')).toBeNull()
  expect(key('m', 'none', false)).toBeNull()
  expect(key('ArrowUp', 'none', false)).toBe('louder')
  expect(key('c', 'none', true, true)).toBeNull()
  expect(key('x')).toBeNull()
})

test('times read as people read them', () => {
  expect([0, 59.9, 61, 3661, -5].map(clockText)).toEqual(['0:00', '0:59', '1:01', '1:01:01', '0:00'])
  expect(countdownParts(90_061_000)).toEqual([
    { unit: 'day', value: 1 }, { unit: 'hour', value: 1 }, { unit: 'minute', value: 1 }, { unit: 'second', value: 1 },
  ])
  expect(countdownParts(500)).toEqual([{ unit: 'minute', value: 0 }, { unit: 'second', value: 1 }])
  expect(countdownParts(-1)).toEqual([{ unit: 'minute', value: 0 }, { unit: 'second', value: 0 }])
  expect(durationText(125, 'en')).toBe('2 minutes 5 seconds')
  expect(durationText(0, 'de')).toBe('0 Sekunden')
})

describe('offer', () => {
  const PLAYLIST = [
    '#EXTM3U', '#EXT-X-VERSION:10',
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Original",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="floor/media.m3u8"',
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Français, live",LANGUAGE="fr",DEFAULT=NO,URI="fr/media.m3u8?a=NAME"',
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="b",NAME="Original",LANGUAGE="en",DEFAULT=YES,URI="floor64/media.m3u8"',
    '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="c",NAME="Deutsch",LANGUAGE="de",URI="captions/media.m3u8"',
    '#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="CC1",INSTREAM-ID="CC1"',
    '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"', 'v/media.m3u8', '',
  ]

  test('is read from the multivariant playlist, each rendition once', () => {
    expect(parseOffer(PLAYLIST.join('\r\n'))).toEqual({
      audio: [
        { index: 0, name: 'Original', language: 'en', isDefault: true },
        { index: 1, name: 'Français, live', language: 'fr', isDefault: false },
      ],
      captions: [{ index: 0, name: 'Deutsch', language: 'de', isDefault: false }],
    })
    expect(parseOffer('')).toBeNull()
    expect(parseOffer('{"status":404}')).toBeNull()
    expect(parseOffer('#EXTM3U\n#EXTINF:2,\na.m4s\n')).toBeNull()
  })

  test('is compared with what the engine has by name and language', () => {
    const one = (index: number, name: string, language: string) => ({ index, name, language, isDefault: false })
    const offered = [one(0, 'Original', 'en'), one(1, 'Deutsch', 'de')]
    const present = [one(0, 'Original', 'en'), one(1, 'Français', 'fr'), one(2, 'Deutsch', 'de')]
    expect(sameTrack(present, offered[1])).toBe(2)
    expect(sameTrack(offered, present[1])).toBe(-1)
    expect(sameTrack(offered, undefined)).toBe(-1)
    expect(lacks(offered, 1, present)).toBe(false)
    expect(lacks(present, 1, offered)).toBe(true)
    expect(lacks(offered, -1, present)).toBe(false)
  })
})
