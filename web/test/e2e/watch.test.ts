import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { complaints, launch, open, plays, stats, took, tone, until, type Entry } from './browser'
import { sleep, StandIn } from './daemon'
import { AUDIOS } from './media'

const daemon = new StandIn()
let browser: Browser

beforeAll(async () => {
  await daemon.start()
  browser = await launch()
})

afterAll(async () => {
  await browser?.close()
  await daemon.kill()
  expect(complaints).toEqual([])
})

/** Focus by keyboard alone: Tab until the element of that name has it. */
async function tabTo(page: Page, name: RegExp): Promise<void> {
  for (let i = 0; i < 30; i += 1) {
    const focused = await page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? '')
    if (name.test(focused)) return
    await page.keyboard.press('Tab')
  }
  throw new Error(`nothing named ${name} is reached by Tab`)
}

test('an event that starts plays at once, with picture and sound, near its live edge', async () => {
  const event = daemon.event('start', {
    name: 'Congress', description: 'Opening session', scheduled_start: new Date(Date.now() + 3_723_000).toISOString(),
  })
  const page = await open(browser, `${daemon.origin}/watch/start`)
  await page.getByText('The event has not started yet').first().waitFor()
  await expect.poll(() => page.getByRole('heading', { level: 1 }).textContent(), { timeout: 10_000 }).toBe('Congress')
  await expect.poll(() => page.title(), { timeout: 10_000 }).toBe('Congress · Boothcast')
  const countdown = page.getByRole('timer')
  const before = await countdown.textContent()
  expect(before).toMatch(/01 hour.*0[12] minutes?.*\d\d seconds?/)
  await sleep(1200)
  expect(await countdown.textContent()).not.toBe(before)
  // Nothing of the broadcast was asked for before it is allowed.
  expect(daemon.requests.filter((path) => path.startsWith('/live/start'))).toEqual([])

  const started = event.setStatus('started')
  const playing = await plays(page)
  expect(await took(page, started, 'live', (entry) => entry.phase === 'live')).toBeLessThanOrEqual(1000)
  expect(await took(page, started, 'playing', (entry) => entry.playback === 'playing')).toBeLessThanOrEqual(5000)
  expect(playing.engine).toBe('hls.js')
  expect(playing.levels.map((level) => level.height).sort()).toEqual([144, 240])
  expect(playing.audio_tracks.map((track) => track.name)).toEqual(AUDIOS.map((audio) => audio.label))
  const heard = await tone(page)
  expect(heard.level).toBeGreaterThan(100)
  expect(heard.hertz).toBeGreaterThan(470)
  expect(heard.hertz).toBeLessThan(530)

  // At the live edge the distance settles at the hold-back, on the event's own clock too.
  const settled = await until(page, 'near the edge', (now) => (now.latency ?? 99) < 1.8 && Date.now() - (now.playing_date ?? 0) < 2000)
  expect(settled.errors.filter((error) => error.fatal)).toEqual([])
  console.log(`live edge: ${settled.latency?.toFixed(2)} s behind the playlist, ${((Date.now() - (settled.playing_date ?? 0)) / 1000).toFixed(2)} s behind the clock, target ${settled.target_latency}`)
  await page.context().close()
})

test('quality, language and captions are chosen with the keyboard alone, and remembered', async () => {
  daemon.event('menus', { status: 'started' })
  const page = await open(browser, `${daemon.origin}/watch/menus`)
  await plays(page)

  await tabTo(page, /^Quality: Auto$/)
  await page.keyboard.press('Enter')
  const names = await page.getByRole('menuitemradio').allTextContents()
  expect(names.slice(1)).toEqual(['240p', '144p'])
  expect(names[0]).toMatch(/^Auto \((240|144)p\)$/)
  await page.keyboard.press('End')
  await page.keyboard.press('Enter')
  await until(page, 'the 144p rung on screen', (now) => now.height === 144 && now.levels[now.level]?.height === 144)
  // The focus is back at the button, which tells what is on screen once the player has noticed the new pictures.
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label'))
  await expect.poll(focused).toBe('Quality: 144p')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('2')
  await page.keyboard.press(' ')
  await until(page, 'the 240p rung on screen', (now) => now.height === 240)

  await page.getByRole('button', { name: 'Language: Original' }).focus()
  await page.keyboard.press('ArrowUp')
  // Opened upwards: the last is in focus; Escape leaves everything as it was.
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Français')
  await page.keyboard.press('Escape')
  expect((await stats(page)).audio_track).toBe(0)
  await page.keyboard.press('Enter')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  await until(page, 'German', (now) => now.audio_tracks[now.audio_track]?.language === 'de')
  await expect.poll(async () => Math.round((await tone(page)).hertz / 100), { timeout: 20_000 }).toBe(10)
  const spoken = await page.getByRole('status').allTextContents()
  expect(spoken).toContain('Language: Deutsch')

  await page.getByRole('button', { name: 'Captions' }).focus()
  await page.keyboard.press('Enter')
  expect(await page.getByRole('menuitemradio').allTextContents()).toEqual(['Off', 'Deutsch'])
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  const captioned = await until(page, 'captions', (now) => now.captions.length > 0)
  expect(captioned.captions[0]).toMatch(/^Untertitel/)
  await expect.poll(() => page.locator('.captions b').first().textContent(), { timeout: 10_000 }).toMatch(/^\d+$/)

  // A viewer who comes back finds all three as they were left (quality starts automatic again).
  await page.reload()
  const again = await plays(page)
  expect(again.audio_tracks[again.audio_track]?.language).toBe('de')
  expect(Math.round((await tone(page)).hertz / 100)).toBe(10)
  await until(page, 'captions again', (now) => now.captions.length > 0)

  // Keys of the player itself.
  await page.locator('body').click({ position: { x: 2, y: 620 } })
  await page.keyboard.press('c')
  await until(page, 'captions off', (now) => now.caption_track === -1 && now.captions.length === 0)
  await page.keyboard.press('m')
  expect((await stats(page)).muted).toBe(true)
  await page.keyboard.press('k')
  await until(page, 'paused', (now) => now.playback === 'paused')
  await page.keyboard.press(' ')
  await until(page, 'playing', (now) => now.playback === 'playing')
  await page.keyboard.press('?')
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor()
  await page.getByLabel('Use single-key shortcuts').uncheck()
  await page.keyboard.press('Escape')
  await page.keyboard.press('m')
  expect((await stats(page)).muted).toBe(true)
  await page.context().close()
})

test('captions that are always later than what is playing show all the same, and go on', async () => {
  const event = daemon.event('written', { status: 'started' })
  // More than any distance from the live edge here: at every moment the list of captions ends before the position.
  event.captionDelay = 3
  const page = await open(browser, `${daemon.origin}/watch/written?captions=de`)
  await plays(page)
  const newest = (captions: string[]) => Math.max(...captions.map((text) => Number(/\d+/.exec(text))))
  const { captions } = await until(page, 'captions', (now) => now.captions.length > 0)
  await until(page, 'four more', (now) => newest(now.captions) >= newest(captions) + 4)
  await page.context().close()
})

test('on a pause and at the end the rest is played out, then the page shows', async () => {
  const event = daemon.event('pause', { status: 'started', texts: { ended: 'Thank you, see you next year' } })
  const page = await open(browser, `${daemon.origin}/watch/pause`)
  await plays(page)
  await sleep(1000)

  for (const [status, title] of [['paused', 'The event is paused'], ['ended', 'Thank you, see you next year']] as const) {
    const held = await page.evaluate(() => {
      const w = window as unknown as { last?: number }
      const { video } = window.__boothcast!
      const follow = () => {
        if (video.currentTime > 0) w.last = Math.max(w.last ?? 0, video.currentTime)
        requestAnimationFrame(follow)
      }
      w.last = 0
      follow()
      return window.__boothcast!.stats()
    })
    const alarms = (await stats(page)).alarms
    // The first time the word of it is late: the refusal of the playlist is what the player hears of it.
    const changed = event.setStatus(status, status === 'ended')
    const now = await until(page, title, (one) => one.phase === status)
    expect(await took(page, changed, 'playing out', (entry) => entry.phase === 'draining')).toBeLessThanOrEqual(1000)
    // No longer than what a hold-back and the longest wait for the rest can be.
    expect(await took(page, changed, title, (entry) => entry.phase === status)).toBeLessThanOrEqual(5000)
    // Playlists were refused from the first moment on; nobody was told of trouble.
    expect(now.alarms).toBe(alarms)
    await page.getByText(title).first().waitFor()
    const last = await page.evaluate(() => (window as unknown as { last: number }).last)
    // To the last frame of what it held when the word came.
    expect(last).toBeGreaterThan(held.buffered_end - 0.2)
    expect((await stats(page)).decoded_frames).toBe(0)
    console.log(`${status}: played ${(last - held.position).toFixed(2)} s on, of ${held.buffered.toFixed(2)} s held`)
    if (status === 'paused') {
      event.setStatus('started')
      await plays(page)
    }
  }

  // Where nothing plays, a change shows within a second.
  for (const [status, text] of [['inactive', 'The event has not started yet'], ['preview', 'The event has not started yet'], ['ended', 'Thank you']] as const) {
    const changed = event.setStatus(status)
    await page.getByText(text).first().waitFor()
    const shown = (entry: Entry) => entry.status === status && entry.phase === (status === 'ended' ? 'ended' : 'holding')
    expect(await took(page, changed, status, shown)).toBeLessThanOrEqual(1000)
  }
  await page.context().close()
})

test('pictures that come later than sound do not make the delay look shorter than it is', async () => {
  const event = daemon.event('late', { status: 'started' })
  const page = await open(browser, `${daemon.origin}/watch/late`)
  await plays(page)
  event.pictureDelay = 0.9
  // hls.js knows only the list of pictures: its figure falls by what they are late, down to less than nothing.
  const figures = () =>
    page.evaluate(() => {
      const { hls, stats } = window.__boothcast!
      const { latency, live_latency, playing_date } = stats()
      return { ofPictures: hls!.latency, listed: latency!, shown: live_latency!, clock: (Date.now() - playing_date!) / 1000 }
    })
  await expect.poll(async () => { const now = await figures(); return now.clock - now.ofPictures }, { timeout: 20_000 }).toBeGreaterThan(0.7)
  const now = await figures()
  // To a tick of the player and a part; the page may be kept from running in between.
  expect(now.clock - now.shown).toBeLessThan(0.6)
  expect(now.clock - now.listed).toBeLessThan(0.6)
  await page.context().close()
})

test('a browser that does not expect to decode a rung smoothly gets a lower one by itself, any by hand', async () => {
  daemon.event('weak', { status: 'started' })
  const page = await open(browser, 'about:blank', { viewport: { width: 1280, height: 800 } })
  // What Chromium answers on a machine that dropped pictures before.
  await page.addInitScript(() => {
    const info = (given: MediaDecodingConfiguration) => ({ supported: true, powerEfficient: false, smooth: (given.video?.height ?? 0) <= 144 })
    navigator.mediaCapabilities.decodingInfo = (given: MediaDecodingConfiguration) => Promise.resolve(info(given) as never)
  })
  await page.goto(`${daemon.origin}/watch/weak`)
  const now = await plays(page)
  await until(page, '144p', (one) => one.height === 144)
  expect(now.level).toBe(-1)
  await page.evaluate(() => window.__boothcast!.core.setQuality(240))
  await until(page, '240p', (one) => one.height === 240)
  await page.context().close()
})

test('one can go back in the window and return to the live edge', async () => {
  daemon.event('dvr', { status: 'started' })
  const page = await open(browser, `${daemon.origin}/watch/dvr`)
  await plays(page)
  await until(page, 'at the edge', (now) => (now.latency ?? 99) < 3)
  const slider = page.getByRole('slider', { name: 'Position' })
  await slider.focus()
  await expect.poll(() => slider.getAttribute('aria-valuetext'), { timeout: 10_000 }).toBe('Live')
  await page.keyboard.press('ArrowLeft')
  await until(page, '10 s behind', (now) => (now.latency ?? 0) > 9)
  await page.keyboard.press('ArrowLeft')
  const back = await until(page, '20 s behind', (now) => (now.latency ?? 0) > 18 && now.playback === 'playing')
  expect(back.latency).toBeLessThan(26)
  await expect.poll(() => slider.getAttribute('aria-valuetext'), { timeout: 10_000 }).toMatch(/^(19|2\d) seconds behind live, \d\d:\d\d:\d\d$/)
  await plays(page)
  await page.getByRole('button', { name: 'Go to live' }).click()
  await until(page, 'at the edge', (now) => (now.latency ?? 99) < 3 && now.playback === 'playing')
  await plays(page)
  await page.context().close()
})

test('a service message shows while it is live, and goes at its time', async () => {
  const event = daemon.event('message', { status: 'started' })
  const page = await open(browser, `${daemon.origin}/watch/message`)
  await until(page, 'live', (now) => now.phase === 'live')
  const text = 'The sound returns shortly'
  const ends = Date.now() + 3000
  const sent = event.send({ type: 'service_message', service_message: { text, until: new Date(ends).toISOString() } })
  const banner = page.getByText(text)
  await banner.waitFor({ state: 'attached' })
  expect(await took(page, sent, text, (entry) => entry.message === text)).toBeLessThanOrEqual(1000)
  await banner.waitFor({ state: 'detached' })
  expect(Date.now()).toBeGreaterThanOrEqual(ends)
  event.update({ service_message: { text: 'Lunch is at noon' } })
  await page.getByText('Lunch is at noon').waitFor()
  await page.getByRole('button', { name: 'Close message' }).click()
  await page.getByText('Lunch is at noon').waitFor({ state: 'detached' })
  event.setStatus('ended')
  await page.context().close()
})

test('tracks that appear while it is live are offered after a reload of the tracks', async () => {
  const event = daemon.event('tracks', { status: 'started' })
  event.audios = AUDIOS.slice(0, 2)
  const page = await open(browser, `${daemon.origin}/watch/tracks?language=fr`)
  expect((await plays(page)).audio_track).toBe(0)
  event.audios = AUDIOS
  event.send({ type: 'languages' })
  // The language that the address asks for is taken now that it is there.
  await until(page, 'French', (now) => now.audio_tracks.length === 3 && now.audio_tracks[now.audio_track]?.language === 'fr')
  await plays(page)
  await page.context().close()
})

test('languages come and go while it is live: who hears another one hears no gap, who hears it falls back to the floor', async () => {
  const event = daemon.event('come-and-go', { status: 'started' })
  event.audios = AUDIOS.slice(0, 2)
  const page = await open(browser, `${daemon.origin}/watch/come-and-go?language=de`)
  const before = await plays(page)
  expect(before.audio_tracks[before.audio_track]?.language).toBe('de')
  event.audios = AUDIOS
  event.send({ type: 'languages' })
  const offered = await until(page, 'French offered', (now) => now.audio_tracks.length === 3)
  // German plays on in the same engine.
  expect(offered.reloads).toBe(before.reloads)
  expect(offered.audio_tracks[offered.audio_track]?.language).toBe('de')
  await plays(page)
  await page.locator('.player').hover()
  await page.getByRole('button', { name: /^Language/ }).click()
  await page.getByRole('menuitemradio', { name: 'Français' }).click()
  const french = await until(page, 'French', (now) => now.audio_tracks[now.audio_track]?.language === 'fr' && now.playback === 'playing')
  // German goes: nothing to do for who hears French.
  event.audios = AUDIOS.filter((audio) => audio.name !== 'de')
  event.send({ type: 'languages' })
  const without = await until(page, 'no German any more', (now) => now.audio_tracks.length === 2)
  expect(without.reloads).toBe(french.reloads)
  expect(without.audio_tracks[without.audio_track]?.language).toBe('fr')
  // French goes: the floor is what is left. It comes back: that is what was chosen.
  event.audios = AUDIOS.slice(0, 1)
  event.send({ type: 'languages' })
  await until(page, 'the floor', (now) => now.audio_tracks[now.audio_track]?.name === 'Original')
  await plays(page)
  event.audios = AUDIOS
  event.send({ type: 'languages' })
  await until(page, 'French again', (now) => now.audio_tracks[now.audio_track]?.language === 'fr')
  await plays(page)
  await page.context().close()
})

test('a preview token plays what viewers do not see yet', async () => {
  daemon.event('preview', { status: 'preview' })
  const page = await open(browser, `${daemon.origin}/watch/preview?preview=TOKEN`)
  await plays(page)
  const asked = daemon.requests.filter((path) => path.startsWith('/live/preview/') && !path.endsWith('init.mp4'))
  expect(asked.filter((path) => !path.includes('preview=TOKEN'))).toEqual([])
  await page.context().close()
})

test('an unknown event and a refused viewer get a page that says so, and recover', async () => {
  const page = await open(browser, `${daemon.origin}/watch/unknown`)
  await page.getByText('There is no such event').first().waitFor()
  daemon.event('unknown', { status: 'inactive', name: 'Made just now' })
  await page.getByRole('heading', { name: 'Made just now' }).waitFor()
  daemon.event('denied')
  daemon.refusals.push({ path: /events\/denied/, status: 403 })
  await page.goto(`${daemon.origin}/embed/denied`)
  await page.getByText('You may not watch this event here').first().waitFor()
  await page.context().close()
})

test('a page speaks the language of its address or browser', async () => {
  daemon.event('speech')
  const page = await open(browser, `${daemon.origin}/watch/speech`, { locale: 'nl-BE' })
  await page.getByText('Het evenement is nog niet begonnen').first().waitFor()
  await expect.poll(() => page.locator('html').getAttribute('lang'), { timeout: 10_000 }).toBe('nl')
  await page.getByLabel('Taal van deze pagina').selectOption('fr')
  await page.getByText('L’événement n’a pas encore commencé').first().waitFor()
  await page.reload()
  await page.getByText('L’événement n’a pas encore commencé').first().waitFor()
  await page.context().close()
})
