/** Every page and state on a desktop and a phone, light and dark: no fault that axe can find, and pictures to look at. */
import type { Browser, BrowserContextOptions } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { accessibilityFaults, complaints, launch, open, plays, shot, settle, until } from './browser'
import { StandIn } from './daemon'

const daemon = new StandIn()
let browser: Browser

beforeAll(async () => {
  await daemon.start()
  browser = await launch()
  const soon = new Date(Date.now() + 2 * 86_400_000 + 3_723_000).toISOString()
  const description = 'The yearly congress on plain language, with speakers from nine countries.\nInterpreted into German and French.'
  daemon.event('holding', { name: 'Congress on plain language', description, scheduled_start: soon })
  daemon.event('image', { name: 'Congress with a picture', scheduled_start: soon, images: { general: '/image.svg' } })
  daemon.event('paused', { name: 'Congress', status: 'paused' })
  daemon.event('ended', { name: 'Congress', status: 'ended', texts: { ended: 'Thank you for being with us.\nThe recording will be here tomorrow.' } })
})

afterAll(async () => {
  await browser?.close()
  await daemon.kill()
  expect(complaints).toEqual([])
})

const LOOKS: Record<string, BrowserContextOptions> = {
  'desktop-light': { colorScheme: 'light', viewport: { width: 1280, height: 860 } },
  'phone-dark': { colorScheme: 'dark', viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
}

for (const [look, options] of Object.entries(LOOKS)) {
  const still = { index: '/', holding: '/watch/holding', image: '/watch/image', paused: '/embed/paused', ended: '/watch/ended', unknown: '/watch/none' }
  for (const [name, path] of Object.entries(still)) {
    test(`${name}, ${look}`, async () => {
      const page = await open(browser, `${daemon.origin}${path}`, options)
      await page.locator('h1').waitFor({ state: 'attached' })
      if (path !== '/') await until(page, 'known', (now) => now.phase !== 'connecting')
      await settle(page)
      expect(await accessibilityFaults(page)).toEqual([])
      await shot(page, `${name}-${look}`)
      // Nothing sticks out sideways: WCAG 1.4.10.
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0)
      await page.context().close()
    })
  }

  test(`playing, ${look}`, async () => {
    const id = `live-${look}`
    const event = daemon.event(id, { name: 'Congress on plain language', description: 'Opening session', status: 'started' })
    const page = await open(browser, `${daemon.origin}/watch/${id}?captions=de`, options)
    await plays(page)
    await until(page, 'captions', (now) => now.captions.length > 0)
    event.update({ service_message: { text: 'The sound of the second speaker is weak; we are working on it.' } })
    await page.getByText('The sound of the second speaker').waitFor()
    const stage = page.locator('.player')
    await stage.hover()
    await page.evaluate(() => document.querySelector<HTMLElement>('.control-play')!.focus())
    await settle(page)
    await shot(page, `playing-${look}`)
    expect(await accessibilityFaults(page)).toEqual([])
    for (const menu of ['Language', 'Quality', 'Captions']) {
      await page.getByRole('button', { name: new RegExp(`^${menu}`) }).click()
      await page.getByRole('menu').waitFor()
      expect(await accessibilityFaults(page)).toEqual([])
      await shot(page, `menu-${menu.toLowerCase()}-${look}`)
      await page.keyboard.press('Escape')
    }
    // WCAG 2.5.8: what is pressed is 24 px at least.
    const small = await page.locator('.player button:visible').evaluateAll((all) =>
      all.filter((one) => one.getBoundingClientRect().width < 24 || one.getBoundingClientRect().height < 24).map((one) => one.outerHTML),
    )
    expect(small).toEqual([])
    const bar = await page.locator('.controls-row').evaluate((row) => row.scrollWidth - row.clientWidth)
    expect(bar).toBeLessThanOrEqual(0)
    await page.keyboard.press('?')
    await page.getByRole('dialog').waitFor()
    expect(await accessibilityFaults(page)).toEqual([])
    await shot(page, `help-${look}`)
    await page.context().close()
  })
}
