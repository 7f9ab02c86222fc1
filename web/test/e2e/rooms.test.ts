/** Management room, realtime participant and connection test in a real browser, with real media from the studio. */
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { ParticipantStats, ProbeStats, RoomStats } from '../../src/room/debug'
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

async function until<T>(page: Page, what: string, wanted: (now: T) => boolean): Promise<T> {
  const end = Date.now() + 45_000
  let last: T | null = null
  while (Date.now() < end) {
    last = (await page.evaluate(() => (window as unknown as { __boothcast: { stats(): unknown } }).__boothcast.stats())) as T
    if (wanted(last)) return last
    await sleep(50)
  }
  throw new Error(`never: ${what}; the page says ${JSON.stringify(last, null, 1)}`)
}

const leave = (page: Page) => page.context().close()

const LOOKS: Record<string, BrowserContextOptions> = {
  'desktop-light': { colorScheme: 'light', viewport: { width: 1280, height: 800 } },
  'desktop-dark': { colorScheme: 'dark', viewport: { width: 1280, height: 800 } },
  'phone-light': { colorScheme: 'light', viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  'phone-dark': { colorScheme: 'dark', viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
}
const DESKTOP = LOOKS['desktop-light']!

async function looks(page: Page, name: string): Promise<void> {
  await settle(page)
  expect(await accessibilityFaults(page), name).toEqual([])
  await shot(page, name)
  expect(await page.evaluate(() => document.documentElement.scrollWidth - Math.min(innerWidth, screen.width)), name).toBeLessThanOrEqual(0)
  const small = await page.locator('button:visible').evaluateAll((all) =>
    all.filter((one) => one.getBoundingClientRect().width < 24 || one.getBoundingClientRect().height < 24).map((one) => one.outerHTML),
  )
  expect(small, name).toEqual([])
}

async function enter(options: BrowserContextOptions = DESKTOP): Promise<Page> {
  const page = await open(browser, `${daemon.origin}/manage/congress?link=SECRET&lang=en`, options)
  await page.getByLabel('Name').fill('Mia Meyer')
  await page.keyboard.press('Enter')
  await until<RoomStats>(page, 'in the room with picture', (now) => now.socket === 'open' && now.sound === 'connected' && now.frames_decoded > 5)
  return page
}

test('management room: who is there, listening, muting, floor level, calls, chat', async () => {
  const anna = rooms.add('Anna Berg', { on_air: true })
  rooms.add('Rosa', { booth: 'fr', outgoing: 'fr', quality: { rtt_ms: 280, jitter_ms: 40, loss_up: 0.02, loss_down: 0, grade: 'average' } })
  const page = await enter()
  const german = page.getByRole('region', { name: 'Deutsch' })
  await german.getByText('Anna Berg').waitFor()
  await expect.poll(() => german.locator('.card-lamp').textContent(), { timeout: 10_000 }).toBe('On air')
  await expect.poll(() => page.getByRole('region', { name: 'Français' }).textContent(), { timeout: 10_000 }).toContain('Average')
  expect(rooms.sessions.at(-1)!.query).toBe('?link=SECRET&source=floor')
  await until<RoomStats>(page, 'the floor is heard', (now) => now.audio_energy > 0 && Math.abs(now.sound_hertz - 1000) < 5 && now.output_db > -30)

  await german.getByRole('button', { name: 'Listen Deutsch', exact: true }).click()
  await until<RoomStats>(page, 'the booth', (now) => now.listen === 'de' && now.sound === 'connected' && now.sound_sessions === 2)
  expect(rooms.sessions.at(-1)!.query).toBe('?link=SECRET&source=de')
  await page.getByText('You hear: Deutsch').waitFor()
  await german.getByRole('button', { name: 'Listening Deutsch' }).click()
  await until<RoomStats>(page, 'silence', (now) => now.listen === null && now.output_db <= -55)

  await german.getByRole('button', { name: 'Mute Deutsch', exact: true }).click()
  await german.getByRole('button', { name: 'Unmute Deutsch' }).waitFor()
  expect(rooms.booth('de').muted).toBe(true)
  expect(anna.heard).toBe(false)
  await german.getByRole('button', { name: 'Unmute Deutsch' }).press('Enter')
  await until<RoomStats>(page, 'on air again', (now) => now.on_air_booths.includes('de'))

  const slider = german.getByRole('slider', { name: 'Floor level' })
  await slider.fill('-20')
  await expect.poll(() => rooms.booth('de').floor_level_db, { timeout: 10_000 }).toBe(-20)
  await slider.fill('-40')
  await expect.poll(() => rooms.booth('de').floor_level_db, { timeout: 10_000 }).toBeNull()
  await expect.poll(() => slider.getAttribute('aria-valuetext'), { timeout: 10_000 }).toBe('−∞ dB')

  anna.calling = true
  rooms.booth('fr').slow_down = true
  rooms.tell()
  await page.getByText('Anna Berg calls (Deutsch)').waitFor()
  await page.getByText('The speaker is asked to slow down: Français').waitFor()
  await page.getByRole('button', { name: 'Answer', exact: true }).click()
  await until<RoomStats>(page, 'answered', (now) => now.calling.length === 0)
  expect(anna.calling).toBe(false)

  rooms.send({ type: 'chat', from: anna.id, name: anna.name, role: 'interpreter', booth: null, to: 'managers', text: 'The floor is too loud', at: new Date().toISOString() })
  await page.getByRole('tab', { name: 'DE Booth Deutsch 1 unread' }).click()
  await page.getByRole('log').getByText('The floor is too loud').waitFor()
  await page.getByLabel('Message to: DE Booth Deutsch').fill('Better now?')
  await page.getByRole('button', { name: 'Send' }).click()
  await page.getByRole('log').getByText('Better now?').waitFor()
  expect(rooms.messages.filter((one) => one.type === 'chat').at(-1)).toEqual({ type: 'chat', to: 'booth', text: 'Better now?', booth: 'de' })

  rooms.send({ type: 'levels', floor: -12, booths: { de: -18 } })
  await until<RoomStats>(page, 'levels, then silence', (now) => now.levels.floor === -100)
  await leave(page)
})

test('a manager without a link comes in with a token, which is not in the address', async () => {
  rooms.gone.set('congress', 401)
  const page = await open(browser, `${daemon.origin}/manage/congress?lang=en`, DESKTOP)
  await page.getByLabel('API token').fill('bc_secret')
  expect(await accessibilityFaults(page)).toEqual([])
  await page.keyboard.press('Enter')
  await page.getByText('This token does not open the room.').waitFor()
  rooms.gone.clear()
  await page.reload()
  await page.getByLabel('Name').waitFor()
  expect(page.url()).not.toContain('bc_secret')
  expect(daemon.requests.some((path) => path === '/manage/congress/info?token=bc_secret')).toBe(true)
  await leave(page)
})

test('realtime participant: picture and sound, sound alone, pause of the event, and back after a loss', async () => {
  const event = daemon.event('congress', { status: 'started', name: 'Congress on plain language' })
  const page = await open(browser, `${daemon.origin}/participant/SECRET?lang=en`, DESKTOP)
  const first = await until<ParticipantStats>(page, 'picture and sound', (now) => now.sound === 'connected' && now.frames_decoded > 10 && now.audio_energy > 0)
  expect(first).toMatchObject({ language: 'de', video: true, width: 640, blocked: false, event_status: 'started' })
  expect(rooms.sessions.at(-1)!.query).toBe('?video=true')
  await page.getByRole('checkbox', { name: 'Picture' }).uncheck()
  await until<ParticipantStats>(page, 'sound alone', (now) => !now.video && now.sound === 'connected' && now.audio_energy > 0 && now.frames_decoded === 0)
  expect(rooms.sessions.at(-1)!.query).toBe('?video=false')
  await page.getByText('You hear Deutsch, as it is spoken.').waitFor()
  await studio.leaveAll()
  await until<ParticipantStats>(page, 'renewed', (now) => now.sound === 'connected' && now.sound_sessions >= 3)
  event.setStatus('paused')
  await page.getByText('The event is paused').waitFor()
  await until<ParticipantStats>(page, 'left', (now) => now.sound === 'off')
  event.setStatus('started')
  await until<ParticipantStats>(page, 'on again', (now) => now.sound === 'connected')
  await page.getByRole('button', { name: 'Pause' }).click()
  await until<ParticipantStats>(page, 'stopped', (now) => now.sound === 'off' && now.paused)
  await page.getByRole('button', { name: 'Play' }).first().click()
  await until<ParticipantStats>(page, 'playing', (now) => now.sound === 'connected')
  await page.getByRole('slider', { name: 'Volume' }).fill('40')
  expect((await until<ParticipantStats>(page, 'volume', (now) => now.volume < 0.5)).volume).toBeCloseTo(0.4)
  rooms.refusal = { status: 503, detail: 'All 20 places for participants are taken.' }
  await studio.leaveAll()
  await page.getByText('All 20 places for participants are taken.').waitFor()
  await leave(page)
})

test('a browser that refuses sound gets a button', async () => {
  daemon.event('congress', { status: 'started' })
  const context = await browser.newContext({ ...DESKTOP, locale: 'en-GB' })
  const page = await context.newPage()
  // Scripts of a test count as the user's gesture in Chromium, so the browser's own rule cannot be met: this is it.
  await page.addInitScript(() => {
    const { play } = HTMLMediaElement.prototype
    let clicked = false
    addEventListener('click', () => (clicked = true), true)
    HTMLMediaElement.prototype.play = function (this: HTMLMediaElement) {
      if (clicked) return play.call(this)
      return Promise.reject(new DOMException('no gesture', 'NotAllowedError'))
    }
  })
  await page.goto(`${daemon.origin}/participant/SECRET?lang=en`)
  await until<ParticipantStats>(page, 'refused', (now) => now.sound === 'connected' && now.blocked)
  await looks(page, 'participant-blocked-desktop-light')
  await page.locator('.participant-play').click()
  await until<ParticipantStats>(page, 'it plays', (now) => !now.blocked && now.frames_decoded > 5 && now.audio_energy > 0)
  await leave(page)
})

test('connection test: thirty seconds, the grade with its reasons, and the result is handed in', async () => {
  const page = await open(browser, `${daemon.origin}/test/SECRET?lang=en`, DESKTOP)
  await page.getByRole('button', { name: 'Start the test' }).click()
  await expect.poll(() => page.getByLabel('Name').getAttribute('aria-invalid'), { timeout: 10_000 }).toBe('true')
  await expect.poll(() => page.getByLabel('Email').getAttribute('aria-invalid'), { timeout: 10_000 }).toBe('true')
  await page.getByLabel('Name').fill('Anna Berg')
  await page.getByLabel('Email').fill('anna@example.org')
  await page.getByLabel('Place').fill('Ghent')
  await page.keyboard.press('Enter')
  await until<ProbeStats>(page, 'it runs', (now) => now.stage === 'running' && now.progress > 0.1 && now.ping_ms !== null)
  await looks(page, 'test-running-desktop-light')
  const done = await until<ProbeStats>(page, 'it ends', (now) => now.stage === 'done')
  expect(done.saved).toBe(true)
  expect(done.loss_up).not.toBeNull()
  expect(done.loss_down).not.toBeNull()
  expect(done.jitter_ms).not.toBeNull()
  expect(rooms.results).toHaveLength(1)
  expect(rooms.results[0]!['session']).toBe(rooms.sessions.at(-1)!.id)
  await expect.poll(() => rooms.sessions.at(-1)!.deleted, { timeout: 10_000 }).toBe(true)
  expect(rooms.results[0]).toMatchObject({ name: 'Anna Berg', email: 'anna@example.org', place: 'Ghent', ping_ms: done.ping_ms, loss_up: done.loss_up })
  await page.getByText('The result was sent to the organiser.').waitFor()
  await looks(page, 'test-done-desktop-light')
  await leave(page)
})

test('connection test: refused in the words of the daemon', async () => {
  rooms.refusal = { status: 503, detail: 'Too many tests run now; try again in a minute.' }
  const page = await open(browser, `${daemon.origin}/test/SECRET?lang=en`)
  await page.getByLabel('Name').fill('Anna')
  await page.getByLabel('Email').fill('a@b')
  await page.keyboard.press('Enter')
  await page.getByText('Too many tests run now').waitFor()
  await page.getByRole('button', { name: 'Test again' }).click()
  await page.getByRole('button', { name: 'Start the test' }).waitFor()
  await leave(page)
})

for (const [look, options] of Object.entries(LOOKS)) {
  test(`looks: ${look}`, async () => {
    rooms.add('Anna Berg', { on_air: true })
    rooms.add('Ben Okafor', { calling: true, listen: 'fr' })
    rooms.add('Rosa Diaz', { booth: 'fr', outgoing: 'fr', on_air: true, cough: true, quality: { rtt_ms: 280, jitter_ms: 40, loss_up: 0.021, loss_down: 0, grade: 'average' } })
    rooms.booth('fr').slow_down = true
    const manage = await enter(options)
    rooms.chat(rooms.person('Anna Berg'), 'all', 'We are ready.')
    rooms.send({ type: 'levels', floor: -14, booths: { de: -18, fr: -30 } })
    await looks(manage, `manage-${look}`)
    await leave(manage)
    const event = daemon.event('congress', { status: 'started', name: 'Congress on plain language' })
    const participant = await open(browser, `${daemon.origin}/participant/SECRET?lang=en`, options)
    await until<ParticipantStats>(participant, 'picture', (now) => now.frames_decoded > 5)
    await looks(participant, `participant-${look}`)
    event.setStatus('paused')
    await participant.getByText('The event is paused').waitFor()
    await looks(participant, `participant-paused-${look}`)
    await leave(participant)
    const probe = await open(browser, `${daemon.origin}/test/SECRET?lang=en`, options)
    await probe.getByLabel('Name').waitFor()
    await looks(probe, `test-${look}`)
    await leave(probe)
  })
}
