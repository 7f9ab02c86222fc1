import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { complaints, launch, open, plays, stats, took, until, type Entry } from './browser'
import { sleep, StandIn } from './daemon'

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

for (const seconds of [1.5, 7]) {
  test(`a daemon that is gone for ${seconds} s: the player plays again by itself within 5 s of its return`, async () => {
    const id = `killed-${seconds * 10}`
    daemon.event(id, { status: 'started' })
    const page = await open(browser, `${daemon.origin}/watch/${id}`)
    await plays(page)
    await daemon.kill()
    await sleep(seconds * 1000)
    await daemon.start()
    const back = Date.now()
    const before = await stats(page)
    const again = (entry: Entry) =>
      entry.playback === 'playing' && (entry.latency ?? 99) < 6 && entry.position > before.position + 0.3 && entry.connection === 'online'
    const needed = await took(page, back, 'playing at the live edge again', again)
    expect(needed).toBeLessThanOrEqual(5000)
    const after = await stats(page)
    console.log(`gone ${seconds} s: playing ${needed / 1000} s after the return, ${after.reloads} reloads, ${after.resumes} resumes, ${after.stalled_seconds.toFixed(1)} s stalled`)
    await plays(page)
    expect((await stats(page)).phase).toBe('live')
    await page.context().close()
  })
}

test('a stream that stands still and goes on is caught up with', async () => {
  const event = daemon.event('frozen', { status: 'started' })
  const page = await open(browser, `${daemon.origin}/watch/frozen`)
  await plays(page)
  event.frozenAt = Date.now()
  await until(page, 'stalled', (now) => now.playback === 'stalled')
  await page.locator('.spinner').waitFor()
  await sleep(4000)
  event.frozenAt = null
  const gone = Date.now()
  expect(await took(page, gone, 'at the live edge again', (entry) => entry.playback === 'playing' && (entry.latency ?? 99) < 5)).toBeLessThanOrEqual(5000)
  await plays(page)
  await page.context().close()
})

test('a started event without a stream yet says so, and plays when it comes', async () => {
  daemon.event('early', { status: 'started' })
  daemon.refusals.push({ path: /live\/early/, status: 404 })
  const page = await open(browser, `${daemon.origin}/watch/early`)
  await page.getByText('The live picture will be here in a moment.').waitFor()
  await sleep(2500)
  daemon.refusals.pop()
  await plays(page)
  await page.context().close()
})

test('a change while the connection is lost is known when it is back', async () => {
  const event = daemon.event('missed', { status: 'started' })
  const page = await open(browser, `${daemon.origin}/watch/missed`)
  await plays(page)
  await daemon.kill()
  await page.getByText('The connection was lost. Reconnecting…').waitFor()
  event.setStatus('ended')
  await daemon.start()
  const back = Date.now()
  expect(await took(page, back, 'ended', (entry) => entry.phase === 'ended')).toBeLessThanOrEqual(5000)
  await page.context().close()
})

test('a proxy that holds the event stream back does not hide a change for long', async () => {
  const event = daemon.event('held')
  const page = await browser.newPage()
  await page.route('**/api/v1/events/held/state', async (route) => {
    if (route.request().headers()['accept']?.includes('event-stream')) return // never answered
    await route.continue()
  })
  await page.goto(`${daemon.origin}/watch/held`)
  await until(page, 'known', (now) => now.status === 'inactive')
  event.setStatus('started')
  await plays(page)
  await page.close()
})

test("the browser's own HLS plays too", async () => {
  daemon.event('native', { status: 'started' })
  const page = await open(browser, `${daemon.origin}/watch/native?engine=native`)
  const able = await page.evaluate(() => document.createElement('video').canPlayType('application/vnd.apple.mpegurl') !== '')
  console.log(`this Chromium ${able ? 'plays HLS by itself' : 'has no HLS of its own'}`)
  if (able) {
    const now = await until(page, 'playing', (one) => one.playback === 'playing' && one.decoded_frames > 25)
    expect(now.engine).toBe('native')
    expect(now.audio_bytes).toBeGreaterThan(0)
  } else {
    await page.getByText('This browser cannot play the broadcast').first().waitFor()
  }
  await page.context().close()
})

test('without permission for sound it plays silently and offers the sound', async () => {
  daemon.event('silent', { status: 'started' })
  const strict = await launch(false)
  try {
    const page = await open(strict, `${daemon.origin}/watch/silent`)
    // To ask the page anything counts as the viewer's touch: it must have begun to play before.
    const parts = () => daemon.requests.filter((path) => path.startsWith('/live/silent') && path.endsWith('.m4s')).length
    await expect.poll(parts, { timeout: 30_000 }).toBeGreaterThan(12)
    const now = await until(page, 'playing', (one) => one.playback === 'playing' && one.decoded_frames > 5)
    expect(now.muted).toBe(true)
    await page.getByRole('button', { name: 'Turn on the sound' }).click()
    await until(page, 'sound', (one) => !one.muted && one.playback === 'playing')
    await page.getByRole('button', { name: 'Turn on the sound' }).waitFor({ state: 'detached' })
    await page.context().close()
  } finally {
    await strict.close()
  }
})
