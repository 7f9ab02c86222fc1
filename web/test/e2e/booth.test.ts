/** The interpreter's booth in a real browser, with real media from the studio: joined, heard, handed over, lost and back. */
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { BoothStats } from '../../src/room/debug'
import { accessibilityFaults, complaints, launch, MICROPHONE, open, settle, shot } from './browser'
import { sleep, StandIn } from './daemon'
import { RoomStandIn } from './rooms'
import { Studio } from './studio'

const daemon = new StandIn()
let browser: Browser
let studio: Studio
let rooms: RoomStandIn

beforeAll(async () => {
  await daemon.start()
  browser = await launch(true, MICROPHONE)
  studio = await Studio.open(browser, daemon.origin)
})

beforeEach(() => {
  rooms = new RoomStandIn(() => studio)
  daemon.rooms = rooms
})

afterAll(async () => {
  await browser?.close()
  await daemon.kill()
  expect(complaints).toEqual([])
})

const stats = (page: Page): Promise<BoothStats> =>
  page.evaluate(() => (window as unknown as { __boothcast: { stats(): unknown } }).__boothcast.stats()) as Promise<BoothStats>

async function until(page: Page, what: string, wanted: (now: BoothStats) => boolean): Promise<BoothStats> {
  const end = Date.now() + 45_000
  let last: BoothStats | null = null
  while (Date.now() < end) {
    last = await stats(page)
    if (wanted(last)) return last
    await sleep(50)
  }
  throw new Error(`never: ${what}; the booth says ${JSON.stringify(last, null, 1)}`)
}

const enter = async (options: BrowserContextOptions = {}, name = 'Anna Berg'): Promise<Page> => {
  const page = await open(browser, `${daemon.origin}/booth/SECRET?lang=en`, { viewport: { width: 1280, height: 800 }, ...options })
  await page.getByLabel('Name').fill(name)
  await page.getByRole('button', { name: 'Enter the booth' }).click()
  await until(page, 'sound, picture and voice connected', (now) => now.sound === 'connected' && now.voice === 'connected' && now.socket === 'open')
  return page
}

const leave = (page: Page) => page.context().close()

/** Loudest that the studio hears of a voice within a while: the fake microphone beeps once a second. */
async function loudest(milliseconds = 2000): Promise<number> {
  const peak = async () => {
    const voices = rooms.sessions.filter((one) => one.kind === 'whip' && !one.deleted)
    return Math.max(...(await Promise.all(voices.map((one) => studio.level(one.id)))))
  }
  // What was said before stands in the analyser's window, and on its way here.
  await sleep(1200)
  await peak()
  await sleep(milliseconds)
  return peak()
}

/**
 * Nothing is heard for a while. A machine with much else to do may play the last word late, so there is a second chance
 * and a third; what leaks would be heard in all of them.
 */
async function quiet(): Promise<void> {
  const heard: number[] = []
  for (let i = 0; i < 3; i += 1) {
    heard.push(await loudest())
    if (heard.at(-1)! < -60) return
  }
  throw new Error(`still heard: ${heard.map((level) => level.toFixed(1)).join(', ')} dB`)
}

test('joined by keyboard: name, devices, then sound and picture, and a voice that is heard only on air', async () => {
  const page = await open(browser, `${daemon.origin}/booth/SECRET?lang=en`, { viewport: { width: 1280, height: 800 } })
  await page.getByLabel('Name').waitFor()
  await expect.poll(() => page.getByRole('heading', { level: 1 }).textContent(), { timeout: 10_000 }).toBe('Congress on plain language')
  await page.getByLabel('Name').press('Enter')
  await expect.poll(() => page.getByRole('alert').textContent(), { timeout: 10_000 }).toBe('Please enter your name.')
  await until(page, 'the level of the microphone before joining', (now) => now.microphone === 'open' && now.microphone_db > -50)
  expect(await page.getByLabel('Microphone', { exact: true }).locator('option').count()).toBeGreaterThan(1)
  await page.keyboard.type('Anna Berg')
  await page.keyboard.press('Enter')

  const first = await until(page, 'connected', (now) => now.sound === 'connected' && now.voice === 'connected' && now.frames_decoded > 5)
  expect(first).toMatchObject({ page: 'booth', stage: 'room', socket: 'open', air: 'off', on_air: false, microphone_open: false, listen: 'floor' })
  const later = await until(page, 'picture and sound go on', (now) => now.frames_decoded > first.frames_decoded + 10 && now.audio_energy > first.audio_energy)
  expect(later.width).toBe(640)
  await until(page, 'the tone comes out of the graph', (now) => now.output_db > -30 && Math.abs(now.sound_hertz - 1000) < 5)
  await until(page, 'own figures', (now) => now.rtt_ms !== null && now.jitter_ms !== null && now.loss_down === 0 && (now.playout_ms ?? 0) > 0)
  const measured = rooms.messages.length
  expect(measured).toBeGreaterThan(0)
  expect(rooms.sessions.map((one) => [one.kind, one.person]).sort()).toEqual([['whep', rooms.person('Anna Berg').id], ['whip', rooms.person('Anna Berg').id]])

  // Off air nothing leaves this computer.
  await quiet()
  const lamp = page.locator('.air-word')
  await expect.poll(() => lamp.textContent(), { timeout: 10_000 }).toBe('Off air')
  await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur())
  await page.keyboard.press('m')
  await until(page, 'on air', (now) => now.air === 'on' && now.heard && now.microphone_open)
  await expect.poll(() => lamp.textContent(), { timeout: 10_000 }).toBe('On air')
  await expect.poll(() => page.locator('[data-announcer=air]').textContent(), { timeout: 10_000 }).toBe('On air')
  await expect.poll(() => page.title(), { timeout: 10_000 }).toContain('● On air')
  await page.getByRole('button', { name: 'Go off air' }).waitFor()
  expect(await loudest()).toBeGreaterThan(-30)

  await page.keyboard.down('c')
  await until(page, 'cough', (now) => now.air === 'cough' && now.coughing && !now.microphone_open && !now.heard)
  await quiet()
  await page.keyboard.up('c')
  await until(page, 'after the cough', (now) => now.air === 'on' && now.heard && now.microphone_open)

  rooms.booth('de').muted = true
  rooms.tell()
  await until(page, 'muted by a manager', (now) => now.air === 'muted' && !now.heard)
  await page.getByText('A manager muted your booth: viewers hear the floor.').waitFor()
  rooms.booth('de').muted = false
  rooms.tell()
  await until(page, 'no more', (now) => now.air === 'on')
  await page.keyboard.press('m')
  await until(page, 'off air', (now) => now.air === 'off' && !now.on_air && !now.microphone_open)
  await quiet()
  await leave(page)
})

test('source, tone and outgoing language, by hand and by key', async () => {
  const rosa = rooms.add('Rosa', { booth: 'fr', on_air: true, outgoing: 'fr' })
  rooms.refused.set('nl', 'Nederlands hears your booth: you would hear yourself.')
  const page = await enter()
  await page.getByRole('button', { name: 'Français' }).click()
  await until(page, 'the French booth', (now) => now.listen === 'fr')
  await expect.poll(() => page.getByRole('button', { name: 'Français' }).getAttribute('aria-pressed'), { timeout: 10_000 }).toBe('true')
  rooms.relay.add('fr')
  rooms.tell()
  await page.getByText('This booth itself hears a relay').waitFor()
  const refused = page.getByRole('button', { name: 'Nederlands' })
  await expect.poll(() => refused.getAttribute('aria-disabled'), { timeout: 10_000 }).toBe('true')
  await expect.poll(() => refused.getAttribute('title'), { timeout: 10_000 }).toBe('Nederlands hears your booth: you would hear yourself.')
  await refused.click({ force: true })
  await page.keyboard.press('f')
  await until(page, 'the floor', (now) => now.listen === 'floor')
  await page.keyboard.press('3')
  await until(page, 'the third source', (now) => now.listen === 'fr')
  await page.keyboard.press('r')
  await until(page, 'the next source is the floor: Nederlands cannot be chosen', (now) => now.listen === 'de' || now.listen === 'floor')
  expect(rooms.messages.filter((one) => one.type === 'listen' && one.source === 'nl')).toEqual([])

  await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur())
  const before = await stats(page)
  await page.keyboard.press('ArrowUp')
  await page.keyboard.press('b')
  await page.keyboard.press('Shift+V')
  await page.keyboard.press('l')
  const after = await stats(page)
  expect(after.volume).toBeCloseTo(before.volume + 0.05)
  expect(after).toMatchObject({ bass: 1, treble: -1, limiter: false })
  await page.getByRole('slider', { name: 'Volume' }).fill('0')
  await until(page, 'silence', (now) => now.output_db <= -55)

  expect((await stats(page)).outgoing).toBe('de')
  await page.getByRole('radio', { name: 'Français' }).click()
  await until(page, 'French goes out', (now) => now.outgoing === 'fr')
  await page.getByRole('radio', { name: 'Français' }).press('ArrowLeft')
  await until(page, 'German goes out', (now) => now.outgoing === 'de')
  await page.keyboard.press('x')
  await until(page, 'French again', (now) => now.outgoing === 'fr')
  expect(rosa.on_air).toBe(true)
  await leave(page)
})

test('handover both ways, two open microphones, slow down, call, chat with unread counts', async () => {
  const ben = rooms.add('Ben', { on_air: true })
  const page = await enter()
  await page.keyboard.press('h')
  await until(page, 'asked', (now) => now.handover?.kind === 'ask')
  await page.getByRole('button', { name: 'Waiting – withdraw' }).waitFor()
  rooms.booth('de').handover = { kind: 'offer', from: ben.id, at: new Date().toISOString() }
  rooms.tell()
  await page.getByText('Ben offers you the microphone.').waitFor()
  await page.keyboard.press('t')
  await until(page, 'taken', (now) => now.on_air && now.air === 'on' && now.microphone_open)
  expect(ben.on_air).toBe(false)
  rooms.booth('de').handover = { kind: 'ask', from: ben.id, at: new Date().toISOString() }
  rooms.tell()
  await page.getByText('Ben asks for the microphone.').waitFor()
  await page.getByRole('button', { name: 'Not now' }).click()
  await until(page, 'declined', (now) => now.handover === null && now.on_air)
  ben.on_air = true
  rooms.tell()
  await page.getByText('More than one microphone is open: Ben, Anna Berg').waitFor()

  await page.keyboard.press('s')
  await page.getByText('The speaker is asked to slow down: Deutsch').waitFor()
  await page.keyboard.press('g')
  await page.getByText('A manager was called.').waitFor()
  await until(page, 'calling', (now) => now.calling.includes('Anna Berg'))
  await page.keyboard.press('g')
  await until(page, 'cancelled', (now) => now.calling.length === 0)

  // Letters typed into the chat are letters.
  await page.keyboard.press('w')
  await page.keyboard.type('mcs hello')
  await page.keyboard.press('Enter')
  await page.getByRole('log').getByText('mcs hello').waitFor()
  expect(rooms.messages.filter((one) => one.type === 'chat').at(-1)).toEqual({ type: 'chat', to: 'booth', text: 'mcs hello' })
  await page.keyboard.press('Escape')
  const mia = rooms.add('Mia', { role: 'manager', booth: null, outgoing: null })
  rooms.chat(mia, 'booth', 'Ten minutes to go', 'de')
  rooms.chat(ben, 'all', 'Hello all')
  rooms.chat(rooms.add('Rosa', { booth: 'fr' }), 'all', 'Hello')
  const now = await until(page, 'three unread', (now) => now.unread === 3)
  expect(now.chat_texts).toEqual(['mcs hello', 'Ten minutes to go', 'Hello all', 'Hello'])
  await page.getByRole('tab', { name: 'All 2 unread' }).waitFor()
  await page.getByRole('tab', { name: 'Booth', exact: true }).focus()
  await page.keyboard.press('ArrowRight')
  await page.getByRole('log').getByText('Ten minutes to go').waitFor()
  await until(page, 'two unread', (now) => now.unread === 2)
  await page.keyboard.press('Shift+?')
  await leave(page)
})

test('network gone: it says so, comes back by itself, and is in the same state', async () => {
  const page = await enter()
  await page.keyboard.press('m')
  const before = await until(page, 'on air', (now) => now.air === 'on')
  rooms.down = true
  rooms.cut()
  await studio.leaveAll()
  await until(page, 'told', (now) => now.socket === 'reconnecting' && now.air === 'unknown')
  await page.getByText('The connection was lost. It comes back by itself; your switch stays as it is.').waitFor()
  await until(page, 'media lost', (now) => now.sound === 'reconnecting' && now.voice === 'reconnecting')
  rooms.down = false
  const after = await until(page, 'back', (now) => now.socket === 'open' && now.sound === 'connected' && now.voice === 'connected' && now.air === 'on')
  expect(after).toMatchObject({ you: before.you, on_air: true, microphone_open: true })
  expect(after.sound_sessions).toBeGreaterThan(before.sound_sessions)
  expect(rooms.people).toHaveLength(1)
  await until(page, 'picture again', (now) => now.frames_decoded > 5)
  expect(await loudest()).toBeGreaterThan(-30)
  await leave(page)
})

test('what was switched off meanwhile is off when it is back', async () => {
  const page = await enter()
  await page.keyboard.press('m')
  await until(page, 'on air', (now) => now.air === 'on')
  rooms.down = true
  rooms.cut()
  await until(page, 'lost', (now) => now.socket === 'reconnecting')
  await page.keyboard.press('m')
  await until(page, 'the microphone is shut at once', (now) => !now.microphone_open)
  rooms.down = false
  await until(page, 'off', (now) => now.socket === 'open' && now.air === 'off' && !now.on_air)
  await leave(page)
})

test.each([['revoked', 'This link was withdrawn'], ['expired', 'This link has expired']] as const)(
  '%s: in words, and without another try',
  async (reason, title) => {
    const page = await enter()
    rooms.close(reason)
    await page.getByRole('heading', { name: title }).waitFor()
    expect(await stats(page)).toMatchObject({ socket: 'closed', closed: reason, sound: 'off', voice: 'off' })
    await expect.poll(() => rooms.sessions.every((one) => one.deleted), { timeout: 20_000 }).toBe(true)
    await leave(page)
  },
)

test.each([['OLD', 410, 'This link has expired'], ['GONE', 403, 'This link was withdrawn'], ['WRONG', 404, 'This link does not lead to a room']] as const)(
  'a link that is %s (%i) says so before anything else',
  async (secret, status, title) => {
    rooms.gone.set(secret, status)
    const page = await open(browser, `${daemon.origin}/booth/${secret}?lang=en`)
    await page.getByRole('heading', { name: title }).waitFor()
    expect(await accessibilityFaults(page)).toEqual([])
    await leave(page)
  },
)

test('taken over by another tab, and taken back', async () => {
  const page = await enter()
  rooms.close('replaced')
  await page.getByRole('heading', { name: 'This room is open elsewhere' }).waitFor()
  await page.getByRole('button', { name: 'Use it here' }).click()
  await until(page, 'here again', (now) => now.socket === 'open' && now.sound === 'connected')
  await leave(page)
})

test('refused media says why, and is tried again', async () => {
  rooms.refusal = { status: 409, detail: 'The event has not been opened yet.' }
  const page = await open(browser, `${daemon.origin}/booth/SECRET?lang=en`)
  await page.getByLabel('Name').fill('Anna')
  await page.keyboard.press('Enter')
  await page.getByText('The event has not been opened yet.').first().waitFor()
  expect(await stats(page)).toMatchObject({ sound: 'refused', voice: 'refused', air: 'off' })
  rooms.refusal = null
  await until(page, 'let in', (now) => now.sound === 'connected' && now.voice === 'connected')
  await leave(page)
})

const LOOKS: Record<string, BrowserContextOptions> = {
  'desktop-light': { colorScheme: 'light', viewport: { width: 1280, height: 800 } },
  'desktop-dark': { colorScheme: 'dark', viewport: { width: 1280, height: 800 } },
  'phone-light': { colorScheme: 'light', viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  'phone-dark': { colorScheme: 'dark', viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
}

async function looks(page: Page, name: string): Promise<void> {
  await settle(page)
  expect(await accessibilityFaults(page), name).toEqual([])
  await shot(page, name)
  // Nothing sticks out sideways (WCAG 1.4.10), and what is pressed is 24 px at least (2.5.8).
  expect(await page.evaluate(() => document.documentElement.scrollWidth - Math.min(innerWidth, screen.width)), name).toBeLessThanOrEqual(0)
  const small = await page.locator('button:visible').evaluateAll((all) =>
    all.filter((one) => one.getBoundingClientRect().width < 24 || one.getBoundingClientRect().height < 24).map((one) => one.outerHTML),
  )
  expect(small, name).toEqual([])
}

for (const [look, options] of Object.entries(LOOKS)) {
  test(`looks: ${look}`, async () => {
    const ben = rooms.add('Ben Okafor')
    const mia = rooms.add('Mia', { role: 'manager', booth: null, outgoing: null })
    rooms.add('Rosa', { booth: 'fr', on_air: true, outgoing: 'fr' })
    rooms.refused.set('nl', 'It hears your booth')
    const join = await open(browser, `${daemon.origin}/booth/SECRET?lang=en`, options)
    await join.getByLabel('Name').waitFor()
    await until(join, 'microphone', (now) => now.microphone === 'open')
    await looks(join, `booth-join-${look}`)
    await leave(join)
    const page = await enter(options)
    await until(page, 'picture', (now) => now.frames_decoded > 5)
    rooms.chat(ben, 'booth', 'I take the second half, all right?')
    rooms.chat(mia, 'all', 'We begin at ten past. The first speaker reads fast.')
    rooms.chat(rooms.person('Anna Berg'), 'booth', 'Yes. The glossary is on the desk.')
    await looks(page, `booth-off-${look}`)
    await page.keyboard.press('m')
    await until(page, 'on air', (now) => now.air === 'on')
    await looks(page, `booth-on-${look}`)
    rooms.booth('de').handover = { kind: 'ask', from: ben.id, at: new Date().toISOString() }
    rooms.booth('fr').slow_down = true
    rooms.booth('de').muted = true
    rooms.tell()
    await until(page, 'muted', (now) => now.air === 'muted')
    await looks(page, `booth-muted-${look}`)
    rooms.booth('de').muted = false
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor()
    await looks(page, `booth-help-${look}`)
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: 'Devices and settings' }).click()
    await page.getByRole('dialog', { name: 'Devices and settings' }).waitFor()
    await looks(page, `booth-settings-${look}`)
    await leave(page)
  })
}
