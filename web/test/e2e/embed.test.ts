import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Browser, Frame, Page } from 'playwright-core'
import { resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { accessibilityFaults, complaints, launch, open, plays, shot, until, watchFor } from './browser'
import { StandIn } from './daemon'

const daemon = new StandIn()
let browser: Browser
let site: Server
/** A site of its own origin that embeds the player. */
let siteOrigin: string

beforeAll(async () => {
  await daemon.start()
  browser = await launch()
  site = createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
    if (request.url?.startsWith('/example')) return response.end(readFileSync(resolve(import.meta.dirname, '../../example/index.html')))
    response.end(
      `<!doctype html><html lang="en"><title>Site</title><div id="player"></div><script src="${daemon.origin}/player.js"></script>` +
        (request.url === '/frame' ? `<iframe id="other" srcdoc="<p>other</p>"></iframe>` : ''),
    )
  })
  await new Promise<void>((done) => site.listen(0, '127.0.0.1', done))
  siteOrigin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`
})

afterAll(async () => {
  await browser?.close()
  await daemon.kill()
  site.close()
  expect(complaints).toEqual([])
})

type Handle = { player: import('./player-api').ApiPlayer; told: [string, Record<string, unknown>][] }

/** Makes the player on the site and writes down all that it tells. */
async function embed(page: Page, options: Record<string, unknown>): Promise<Frame> {
  await page.evaluate((given) => {
    const { Boothcast } = window as unknown as { Boothcast: { player(e: Element, o: object): Handle['player'] } }
    const player = Boothcast.player(document.querySelector('#player')!, given)
    const told: Handle['told'] = []
    const names = ['ready', 'status', 'play', 'pause', 'error', 'languagechange', 'captionschange', 'qualitychange', 'trackschange', 'volumechange', 'time']
    for (const name of names) player.on(name, (detail) => told.push([name, detail]))
    Object.assign(window, { player, told })
  }, options)
  await page.evaluate(() => (window as unknown as Handle).player.ready)
  const frame = page.frames().find((one) => one.url().includes('/embed/'))
  if (!frame) throw new Error('no frame')
  return frame
}

const call = (page: Page, method: string, ...params: unknown[]): Promise<unknown> =>
  page.evaluate(
    ([name, given]) => (window as unknown as { player: Record<string, (...p: unknown[]) => unknown> }).player[name as string]!(...(given as unknown[])),
    [method, params] as const,
  )

const told = (page: Page, name: string): Promise<Record<string, unknown>[]> =>
  page.evaluate((wanted) => (window as unknown as Handle).told.filter(([one]) => one === wanted).map(([, detail]) => detail), name)

test('the JavaScript API goes there and back between two origins', async () => {
  const event = daemon.event('api', { name: 'Embedded', status: 'inactive' })
  const page = await open(browser, siteOrigin)
  const frame = await embed(page, { event: 'api', language: 'de', ui_language: 'fr', title: 'Our congress' })
  expect(new URL(frame.url()).origin).not.toBe(siteOrigin)
  await expect.poll(() => page.locator('iframe').getAttribute('title'), { timeout: 10_000 }).toBe('Our congress')
  await expect.poll(async () => ((await call(page, 'getState')) as { name: string }).name).toBe('Embedded')
  await frame.getByText('L’événement n’a pas encore commencé').first().waitFor()

  event.setStatus('started')
  await plays(frame)
  await expect.poll(async () => (await told(page, 'status')).at(-1)).toEqual({ status: 'started', phase: 'live' })
  await expect.poll(async () => (await told(page, 'play')).length).toBeGreaterThan(0)
  await expect.poll(async () => (await told(page, 'languagechange')).at(-1)).toEqual({ language: 'de', name: 'Deutsch' })
  await expect.poll(async () => (await told(page, 'time')).length).toBeGreaterThan(1)
  expect((await told(page, 'time')).at(-1)?.['date']).toMatch(/^\d{4}-\d\d-\d\dT/)

  expect(await call(page, 'setLanguage', 'fr')).toBe(true)
  await until(frame, 'French', (now) => now.audio_tracks[now.audio_track]?.language === 'fr')
  expect(await call(page, 'setLanguage', 'xx')).toBe(false)
  expect(await call(page, 'setCaptions', 'de')).toBe(true)
  await until(frame, 'captions', (now) => now.captions.length > 0)
  expect(await call(page, 'setCaptions', null)).toBe(true)
  expect(await call(page, 'setQuality', 144)).toBe(true)
  expect(await call(page, 'setQuality', 999)).toBe(false)
  await until(frame, '144p', (now) => now.height === 144)
  await call(page, 'setVolume', 0.3)
  await expect.poll(async () => (await told(page, 'volumechange')).at(-1)).toEqual({ muted: false, volume: 0.3 })
  await call(page, 'pause')
  await until(frame, 'paused', (now) => now.playback === 'paused')
  await expect.poll(async () => (await told(page, 'pause')).length).toBe(1)
  await call(page, 'goLive')
  await until(frame, 'playing', (now) => now.playback === 'playing')
  await call(page, 'seek', 15)
  await until(frame, '15 s behind', (now) => (now.latency ?? 0) > 14)
  const state = (await call(page, 'getState')) as Record<string, unknown>
  expect(state).toMatchObject({
    status: 'started', phase: 'live', language: 'fr', captions: null, quality: 144, qualities: [240, 144], volume: 0.3,
    languages: [{ language: 'en', name: 'Original' }, { language: 'de', name: 'Deutsch' }, { language: 'fr', name: 'Français' }],
    caption_languages: [{ language: 'de', name: 'Deutsch' }],
  })
  expect(await call(page, 'setVolume', 'loud').catch((error: Error) => error.message)).toContain('expected a number from 0 to 1, got "loud"')
  const destroyed = page.evaluate(async () => {
    const { player } = window as unknown as Handle
    const waiting = player.getState().catch((error: Error) => error.message)
    player.destroy()
    return [await waiting, await player.play().catch((error: Error) => error.message), document.querySelectorAll('iframe').length]
  })
  expect(await destroyed).toEqual(['the player was destroyed', 'the player was destroyed', 0])
  await page.context().close()
})

test('autoplay can be left to the viewer, and to the page', async () => {
  daemon.event('calm', { status: 'started', images: { poster: '/image.svg' } })
  const page = await open(browser, siteOrigin)
  const frame = await embed(page, { event: 'calm', autoplay: false, muted: true })
  await frame.getByRole('button', { name: 'Play' }).first().waitFor()
  expect(daemon.requests.filter((path) => path.startsWith('/live/calm'))).toEqual([])
  await call(page, 'play')
  const now = await until(frame, 'playing', (one) => one.playback === 'playing' && one.decoded_frames > 0)
  expect(now.muted).toBe(true)
  await page.context().close()
})

test('the example page does what it shows', async () => {
  daemon.event('example', { name: 'Embedded', status: 'started' })
  const page = await open(browser, `${siteOrigin}/example?origin=${encodeURIComponent(daemon.origin)}&event=example`)
  await page.getByRole('button', { name: 'Deutsch' }).waitFor()
  const frame = page.frames().find((one) => one.url().includes('/embed/'))!
  await plays(frame)
  await page.getByRole('button', { name: 'Deutsch' }).click()
  await until(frame, 'German', (now) => now.audio_tracks[now.audio_track]?.language === 'de')
  await page.locator('button[aria-pressed=true]', { hasText: 'Deutsch' }).waitFor()
  await page.getByLabel('Captions').selectOption('Deutsch')
  await until(frame, 'captions', (now) => now.captions.length > 0)
  await page.getByLabel('Quality').selectOption('144p')
  await until(frame, '144p', (now) => now.height === 144)
  await page.getByRole('button', { name: '30 seconds back' }).click()
  await page.getByText(/^2\d\.\d s behind live, back in time\.$|^3\d\.\d s behind live, back in time\.$/).waitFor()
  await page.getByRole('button', { name: 'Live', exact: true }).click()
  await until(frame, 'live', (now) => (now.latency ?? 99) < 4)
  await page.getByRole('button', { name: 'Mute' }).click()
  await until(frame, 'muted', (now) => now.muted)
  await expect.poll(() => page.getByRole('log').textContent(), { timeout: 10_000 }).toContain('languagechange {"language":"de","name":"Deutsch"}')
  expect(await accessibilityFaults(page)).toEqual([])
  await shot(page, 'example')
  await page.context().close()
})

test('another window, and another origin, are not listened to', async () => {
  daemon.event('guarded', { status: 'started' })
  const page = await open(browser, `${siteOrigin}/frame`)
  const frame = await embed(page, { event: 'guarded' })
  await plays(frame)
  // A frame beside ours has no say, though it reaches our window.
  const other = page.frames().find((one) => one !== frame && one !== page.mainFrame())
  await other?.evaluate(() => {
    for (let i = 0; i < parent.length; i += 1) parent[i]?.postMessage({ boothcast: 1, id: 1, method: 'pause', params: [] }, '*')
  })
  // Nor has the holding window once it is at another origin than the address names.
  const elsewhere = await page.context().newPage()
  watchFor(elsewhere)
  await elsewhere.goto(siteOrigin.replace('127.0.0.1', 'localhost'))
  await elsewhere.evaluate((src) => {
    const iframe = document.createElement('iframe')
    iframe.src = src
    iframe.allow = 'autoplay'
    document.body.append(iframe)
    return new Promise((done) => (iframe.onload = done))
  }, `${daemon.origin}/embed/guarded?parent=${encodeURIComponent(siteOrigin)}`)
  const wrong = elsewhere.frames().find((one) => one.url().includes('/embed/'))
  await until(wrong!, 'playing', (now) => now.playback === 'playing')
  await elsewhere.evaluate(() => document.querySelector('iframe')!.contentWindow!.postMessage({ boothcast: 1, id: 1, method: 'pause', params: [] }, '*'))
  await plays(wrong!)
  await plays(frame)
  await page.context().close()
})

test('mistakes in its use are told at once', async () => {
  const page = await open(browser, siteOrigin)
  const messages = await page.evaluate(() => {
    const { Boothcast } = window as unknown as { Boothcast: { player(...args: unknown[]): unknown } }
    return [[null, {}], [document.body, {}], [document.body, { event: 5 }]].map((args) => {
      try {
        Boothcast.player(...args)
        return 'accepted'
      } catch (error) {
        return (error as Error).message
      }
    })
  })
  expect(messages[0]).toContain('must be an element')
  expect(messages[1]).toContain('"event"')
  expect(messages[2]).toContain('"event"')
  await page.context().close()
})
