/** The rooms' pure parts: grade, figures, what follows from the daemon's picture, keys, addresses, what is remembered. */
import { describe, expect, test } from 'vitest'
import { parseRoom, withQuery } from '../../src/room/address'
import { constraints } from '../../src/room/devices'
import { grade } from '../../src/room/grade'
import { FLOOR_OFF_DB, floorLevel } from '../../src/room/manage'
import { PictureAge, playedAge } from '../../src/room/picture'
import { DEFAULTS, parsePreferences, RoomPreferenceStore } from '../../src/room/prefs'
import { Collector } from '../../src/room/probe'
import type { Booth, Person, Relay } from '../../src/room/protocol'
import { bufferDelay, countersOf, lossDown, lossUp, NO_COUNTERS } from '../../src/room/quality'
import { boothAction, KEY_OF } from '../../src/room/shortcuts'
import { airOf, bothOpen, handoverOf, nextSource, outgoingChoices, threadOf } from '../../src/room/state'
import { backoff } from '../../src/room/timing'

describe('grade', () => {
  const of = (ping_ms: number | null, jitter_ms: number | null, loss_up: number | null, loss_down: number | null) =>
    grade({ ping_ms, jitter_ms, loss_up, loss_down })

  test.each([
    [40, 3, 0, 0, 'good'],
    [249.9, 29.9, 0, 0, 'good'],
    [250, 3, 0, 0, 'average'],
    [5000, 3, 0, 0, 'average'],
    [40, 30, 0, 0, 'average'],
    [40, 99.9, 0, 0, 'average'],
    [40, 100, 0, 0, 'bad'],
    [40, 3, 0.0001, 0, 'average'],
    [40, 3, 0, 0.1499, 'average'],
    [40, 3, 0.15, 0, 'bad'],
    [40, 3, 0, 1, 'bad'],
  ] as const)('ping %d, jitter %d, loss %d up and %d down: %s', (ping, jitter, up, down, wanted) => {
    expect(of(ping, jitter, up, down).grade).toBe(wanted)
  })

  test('says every reason, and nothing while nothing is known', () => {
    expect(of(300, 120, 0.2, 0.01).reasons).toEqual([
      { what: 'ping', grade: 'average' }, { what: 'jitter', grade: 'bad' }, { what: 'loss_up', grade: 'bad' }, { what: 'loss_down', grade: 'average' },
    ])
    expect(of(null, null, null, null)).toEqual({ grade: null, reasons: [] })
    expect(of(20, null, null, null)).toEqual({ grade: 'good', reasons: [] })
  })
})

describe('figures', () => {
  const report = [
    { type: 'transport', id: 'T', selectedCandidatePairId: 'P2' },
    { type: 'candidate-pair', id: 'P1', nominated: true, currentRoundTripTime: 0.5 },
    { type: 'candidate-pair', id: 'P2', nominated: true, currentRoundTripTime: 0.04 },
    { type: 'inbound-rtp', id: 'A', kind: 'audio', jitter: 0.005, packetsReceived: 950, packetsLost: 50, jitterBufferDelay: 4800, jitterBufferEmittedCount: 48_000, totalAudioEnergy: 2.5, bytesReceived: 10 },
    { type: 'inbound-rtp', id: 'V', kind: 'video', framesDecoded: 77, bytesReceived: 20, packetsLost: 9 },
    { type: 'outbound-rtp', id: 'O', kind: 'audio', packetsSent: 400 },
    { type: 'remote-inbound-rtp', id: 'R', kind: 'audio', packetsLost: -1, jitter: 0.002 },
  ]

  test('are taken from what the browser counts', () => {
    expect(countersOf(report)).toEqual({
      rtt_ms: 40, jitter_ms: 5, received: 950, lost: 50, sent: 400, sent_lost: 0, sent_jitter_ms: 2, buffered_seconds: 4800, buffered_samples: 48_000,
      frames_decoded: 77, audio_energy: 2.5, bytes_received: 30,
    })
    expect(countersOf([{ type: 'inbound-rtp', id: 'A', kind: 'audio', jitter: 'x', packetsReceived: Number.NaN }])).toEqual(NO_COUNTERS)
  })

  test('are differences, and a new session begins anew', () => {
    const before = { ...NO_COUNTERS, received: 1000, lost: 0, sent: 1000, sent_lost: 10, buffered_seconds: 100, buffered_samples: 960_000 }
    const now = { ...NO_COUNTERS, received: 1045, lost: 5, sent: 1050, sent_lost: 20, buffered_seconds: 100 + 48_000 * 0.06, buffered_samples: 1_008_000 }
    expect(lossDown(before, now)).toBeCloseTo(0.1)
    expect(lossUp(before, now)).toBeCloseTo(0.2)
    expect(bufferDelay(before, now)).toBeCloseTo(60)
    expect(lossDown(now, now)).toBeNull()
    expect(bufferDelay(now, now)).toBeNull()
    const fresh = { ...NO_COUNTERS, received: 75, lost: 25, sent: 10, sent_lost: 0, buffered_seconds: 480 * 0.05, buffered_samples: 480 }
    expect(lossDown(now, fresh)).toBeCloseTo(0.25)
    expect(lossUp(now, fresh)).toBe(0)
    expect(bufferDelay(now, fresh)).toBeCloseTo(50)
  })

  test('of sound and picture meet half way, and nearer to the sound when they are far apart', () => {
    expect(playedAge(40, 40, 40)).toBeCloseTo(60)
    expect(playedAge(40, 40, null)).toBe(80)
    expect(playedAge(null, 40, 40)).toBeNull()
    expect(playedAge(360, 40, 100)).toBeCloseTo(350)
    expect(playedAge(60, 40, 600)).toBeCloseTo(150)
    const picture = new PictureAge()
    expect(picture.take()).toBeNull()
    for (const age of [40, 60, Number.NaN, -5, 1e9]) picture.note(age)
    expect(picture.take()).toBeCloseTo(50)
    expect(picture.take()).toBeNull()
  })

  test('of a test are averages, jitter by the worse way', () => {
    const collector = new Collector()
    expect(collector.ping_ms).toBeNull()
    collector.ping(10)
    collector.ping(30)
    collector.ping(Number.NaN)
    collector.jitter(null, null)
    collector.jitter(4, 20)
    collector.jitter(10, null)
    expect(collector.ping_ms).toBe(20)
    expect(collector.jitter_ms).toBe(15)
  })
})

const QUALITY = { rtt_ms: null, jitter_ms: null, loss_up: null, loss_down: null, grade: null }
const person = (id: string, fields: Partial<Person> = {}): Person => ({
  id, name: id.toUpperCase(), role: 'interpreter', booth: 'de', on_air: false, cough: false, connected: true, heard: false, outgoing: 'de',
  listen: 'floor', calling: false, quality: QUALITY, ...fields,
})
const booth = (fields: Partial<Booth> = {}): Booth => ({
  language: 'de', name: 'Deutsch', second_language: null, muted: false, floor_level_db: -14, on_air: false, handover: null, slow_down: false, open: [], ...fields,
})

describe('what follows from the picture of a room', () => {
  test('the lamp is red only when viewers hear it', () => {
    const on = person('a', { on_air: true, heard: true })
    expect(airOf(null, null, true, false)).toBe('off')
    expect(airOf(person('a'), booth(), true, true)).toBe('off')
    expect(airOf(on, booth(), true, false)).toBe('on')
    expect(airOf(on, booth(), true, true)).toBe('cough')
    expect(airOf({ ...on, cough: true, heard: false }, booth(), true, false)).toBe('cough')
    expect(airOf({ ...on, heard: false }, booth({ muted: true }), true, false)).toBe('muted')
    expect(airOf({ ...on, connected: false, heard: false }, booth(), true, false)).toBe('waiting')
    expect(airOf(on, booth(), false, false)).toBe('unknown')
  })

  test('handing over', () => {
    const me = person('a')
    const ben = person('b')
    const at = '2026-01-01T00:00:00Z'
    expect(handoverOf(me, booth(), [me])).toEqual({ kind: 'none' })
    expect(handoverOf(me, booth(), [me, ben])).toEqual({ kind: 'none' })
    expect(handoverOf(me, booth(), [me, { ...ben, on_air: true }])).toEqual({ kind: 'can_ask' })
    expect(handoverOf({ ...me, on_air: true }, booth(), [me, ben])).toEqual({ kind: 'can_offer' })
    expect(handoverOf({ ...me, on_air: true }, booth(), [me, person('c', { booth: 'fr' })])).toEqual({ kind: 'none' })
    const offer = booth({ handover: { kind: 'offer', from: 'b', at } })
    expect(handoverOf(me, offer, [me, ben])).toEqual({ kind: 'offer', from: 'B' })
    expect(handoverOf(ben, offer, [me, ben])).toEqual({ kind: 'offered' })
    const ask = booth({ handover: { kind: 'ask', from: 'b', at } })
    expect(handoverOf({ ...me, on_air: true }, ask, [me, ben])).toEqual({ kind: 'ask', from: 'B' })
    expect(handoverOf(me, ask, [me, ben])).toEqual({ kind: 'none' })
    expect(bothOpen(booth({ open: ['a', 'b'] }), [me, ben])).toEqual(['A', 'B'])
    expect(bothOpen(booth({ open: ['a'] }), [me, ben])).toEqual([])
  })

  test('languages, sources, conversations', () => {
    expect(outgoingChoices(booth())).toEqual([])
    expect(outgoingChoices(booth({ second_language: 'fr' }))).toEqual(['de', 'fr'])
    const relay = (source: string, refused: string | null = null): Relay => ({ source, name: source, quality: 'direct', refused })
    const relays = [relay('floor'), relay('de', 'own'), relay('fr'), relay('nl')]
    expect(nextSource(relays, 'floor')).toBe('fr')
    expect(nextSource(relays, 'nl')).toBe('floor')
    expect(nextSource([], 'fr')).toBe('floor')
    const line = (to: string, role: string, booth: string | null) => ({ to, role, booth })
    expect(threadOf(line('all', 'manager', null), 'de', null)).toBe('all')
    expect(threadOf(line('booth', 'interpreter', 'de'), 'de', 'de')).toBe('booth')
    // One conversation between two booths, in both.
    expect(threadOf(line('booth', 'interpreter', 'fr'), 'de', 'de')).toBe('booth:fr')
    expect(threadOf(line('booth', 'interpreter', 'de'), 'de', 'fr')).toBe('booth:fr')
    expect(threadOf(line('booth', 'manager', 'de'), 'de', null)).toBe('managers')
    expect(threadOf(line('managers', 'interpreter', null), 'de', 'de')).toBe('managers')
    expect(threadOf(line('managers', 'interpreter', null), null, 'de')).toBe('booth:de')
    expect(threadOf(line('booth', 'manager', 'de'), null, null)).toBe('booth:de')
    expect(threadOf(line('managers', 'manager', null), null, null)).toBe('managers')
  })

  test('the slider: its end is no floor at all', () => {
    expect(floorLevel(FLOOR_OFF_DB)).toBeLessThan(-60)
    expect(floorLevel(-14)).toBe(-14)
    expect(floorLevel(3)).toBe(0)
  })
})

describe('keys', () => {
  const key = (name: string, fields: object = {}) => ({ key: name, ctrl: false, alt: false, meta: false, ...fields })

  test('letters act, unless one types, holds a modifier or has turned them off', () => {
    expect(boothAction(key('m'), 'none', true)).toBe('on_air')
    expect(boothAction(key('M'), 'button', true)).toBe('on_air')
    expect(boothAction(key('m'), 'text', true)).toBeNull()
    expect(boothAction(key('m'), 'none', false)).toBeNull()
    expect(boothAction(key('m', { ctrl: true }), 'none', true)).toBeNull()
    expect(boothAction(key('b'), 'none', true)).toBe('bass_up')
    expect(boothAction(key('B'), 'none', true)).toBe('bass_down')
    expect(boothAction(key('w'), 'none', true)).toBe('write')
    expect(boothAction(key('W'), 'none', true)).toBe('next_chat')
    expect(boothAction(key('4'), 'none', true)).toBe('source_4')
    expect(boothAction(key('0'), 'none', true)).toBeNull()
    expect(boothAction(key('?'), 'none', true)).toBe('help')
  })

  test('arrows belong to what has the focus', () => {
    expect(boothAction(key('ArrowUp'), 'none', false)).toBe('louder')
    expect(boothAction(key('ArrowUp'), 'slider', true)).toBeNull()
    expect(boothAction(key('ArrowUp'), 'button', true)).toBeNull()
  })

  test('what stands on the buttons', () => {
    expect([KEY_OF.on_air, KEY_OF.cough, KEY_OF.handover, KEY_OF.bass_up]).toEqual(['M', 'C', 'H', 'B'])
  })
})

describe('addresses', () => {
  test('stand below any prefix, on http and https', () => {
    const address = parseRoom('https://host/live/booth/a%2Fb?lang=de', 'booth')
    expect(address).toMatchObject({
      key: 'a/b', root: 'https://host/live/', info: 'https://host/live/booth/a%2Fb/info', socket: 'wss://host/live/booth/a%2Fb/ws',
      whip: 'https://host/live/booth/a%2Fb/whip', whep: 'https://host/live/booth/a%2Fb/whep',
    })
    expect(parseRoom('http://host:8080/test/S', 'test')).toMatchObject({ probe: 'http://host:8080/test/S/rtc', result: 'http://host:8080/test/S/result' })
    expect(parseRoom('http://host/booth/%E0%A4%A', 'booth').key).toBe('')
  })

  test("the management room's right goes along", () => {
    const { socket, whep } = parseRoom('https://host/manage/e1?link=S&lang=de', 'manage')
    expect(socket).toBe('wss://host/manage/e1/ws?link=S')
    expect(withQuery(whep, { source: 'de' })).toBe('https://host/manage/e1/whep?link=S&source=de')
    expect(parseRoom('https://host/manage/e1', 'manage', 'T').info).toBe('https://host/manage/e1/info?token=T')
    expect(parseRoom('https://host/manage/e1?link=S', 'manage', 'T').info).toBe('https://host/manage/e1/info?link=S')
  })
})

describe('what is remembered', () => {
  test('whatever is stored, it can be used', () => {
    expect(parsePreferences(null)).toEqual(DEFAULTS)
    expect(parsePreferences('{')).toEqual(DEFAULTS)
    expect(parsePreferences('[1]')).toEqual(DEFAULTS)
    expect(parsePreferences(JSON.stringify({ name: 'Anna', volume: 9, bass: -12, treble: 'x', limiter: false, unknown: 1 }))).toEqual({ ...DEFAULTS, name: 'Anna', bass: -12, limiter: false })
    expect(parsePreferences(JSON.stringify({ name: 'x'.repeat(999) })).name).toHaveLength(200)
  })

  test('a full or forbidden storage costs nothing but the memory', () => {
    const store = new RoomPreferenceStore({
      getItem: () => {
        throw new Error('no')
      },
      setItem: () => {
        throw new Error('full')
      },
    })
    store.set({ name: 'Anna' })
    expect(store.value.name).toBe('Anna')
  })

  test("the microphone is asked for without the browser's processing", () => {
    expect(constraints(DEFAULTS)).toEqual({
      channelCount: { ideal: 1 }, sampleRate: { ideal: 48_000 }, echoCancellation: false, noiseSuppression: false, autoGainControl: false,
    })
    expect(constraints({ ...DEFAULTS, microphone: 'usb', echoCancellation: true })).toMatchObject({ deviceId: { exact: 'usb' }, echoCancellation: true })
  })
})

test('waits are doubled up to their most and spread', () => {
  expect([0, 1, 2, 9, 5000].map((failures) => backoff(failures, 300, 4000, 0.999_999))).toEqual([300, 600, 1200, 4000, 4000].map((most) => expect.closeTo(most, 0)))
  expect(backoff(0, 300, 4000, 0)).toBe(150)
})
