import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { complaints, launch, open, plays, stats, tone, until, within } from './browser'
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
  expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Congress')
  expect(await page.title()).toBe('Congress · Boothcast')
  const countdown = page.getByRole('timer')
  const before = await countdown.textContent()
  expect(before).toMatch(/01 hour.*0[12] minutes?.*\d\d seconds?/)
  await sleep(1200)
  expect(await countdown.textContent()).not.toBe(before)
  // Nothing of the broadcast was asked for before it is allowed.
  expect(daemon.requests.filter((path) => path.startsWith('/live/start'))).toEqual([])

  event.setStatus('started')
  await until(page, 'live', (now) => now.phase === 'live', 1000)
  const playing = await plays(page, 8000)
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
  await expect.poll(focused, { timeout: within(3000) }).toBe('Quality: 144p')
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
  await expect.poll(async () => Math.round((await tone(page)).hertz / 100), { timeout: within(6000) }).toBe(10)
  const spoken = await page.getByRole('status').allTextContents()
  expect(spoken).toContain('Language: Deutsch')

  await page.getByRole('button', { name: 'Captions' }).focus()
  await page.keyboard.press('Enter')
  expect(await page.getByRole('menuitemradio').allTextContents()).toEqual(['Off', 'Deutsch'])
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  const captioned = await until(page, 'captions', (now) => now.captions.length > 0)
  expect(captioned.captions[0]).toMatch(/^Untertitel/)
  expect(await page.locator('.captions b').first().textContent()).toMatch(/^\d+$/)

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
    event.setStatus(status)
    const draining = await until(page, 'draining', (now) => now.status === status && now.phase !== 'live', 1000)
    expect(draining.phase).toBe('draining')
    await until(page, title, (now) => now.phase === status, 6000)
    await page.getByText(title).first().waitFor({ timeout: within(500) })
    const last = await page.evaluate(() => (window as unknown as { last: number }).last)
    // To the last frame of what it held when the word came.
    expect(last).toBeGreaterThan(held.buffered_end - 0.2)
    expect((await stats(page)).decoded_frames).toBe(0)
    console.log(`${status}: played ${(last - held.position).toFixed(2)} s on, of ${held.buffered.toFixed(2)} s held`)
    if (status === 'paused') {
      event.setStatus('started')
      await plays(page, 8000)
    }
  }

  // Where nothing plays, a change shows within a second.
  for (const [status, text] of [['inactive', 'The event has not started yet'], ['preview', 'The event has not started yet'], ['ended', 'Thank you']] as const) {
    event.setStatus(status)
    await until(page, status, (now) => now.status === status, 1000)
    await page.getByText(text).first().waitFor({ timeout: within(1000) })
  }
  await page.context().close()
})

test('one can go back in the window and return to the live edge', async () => {
  daemon.event('dvr', { status: 'started' })
  const page = await open(browser, `${daemon.origin}/watch/dvr`)
  await plays(page)
  await until(page, 'at the edge', (now) => (now.latency ?? 99) < 3)
  const slider = page.getByRole('slider', { name: 'Position' })
  await slider.focus()
  expect(await slider.getAttribute('aria-valuetext')).toBe('Live')
  await page.keyboard.press('ArrowLeft')
  await until(page, '10 s behind', (now) => (now.latency ?? 0) > 9)
  await page.keyboard.press('ArrowLeft')
  const back = await until(page, '20 s behind', (now) => (now.latency ?? 0) > 18 && now.playback === 'playing')
  expect(back.latency).toBeLessThan(26)
  expect(await slider.getAttribute('aria-valuetext')).toMatch(/^(19|2\d) seconds behind live, \d\d:\d\d:\d\d$/)
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
  event.send({ type: 'service_message', service_message: { text: 'The sound returns shortly', until: new Date(Date.now() + within(2000)).toISOString() } })
  const banner = page.getByText('The sound returns shortly')
  await banner.waitFor({ timeout: within(1000) })
  await banner.waitFor({ state: 'detached', timeout: within(4000) })
  event.update({ service_message: { text: 'Lunch is at noon' } })
  await page.getByText('Lunch is at noon').waitFor({ timeout: within(1000) })
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
  await page.getByRole('heading', { name: 'Made just now' }).waitFor({ timeout: within(8000) })
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
  expect(await page.locator('html').getAttribute('lang')).toBe('nl')
  await page.getByLabel('Taal van deze pagina').selectOption('fr')
  await page.getByText('L’événement n’a pas encore commencé').first().waitFor()
  await page.reload()
  await page.getByText('L’événement n’a pas encore commencé').first().waitFor()
  await page.context().close()
})
