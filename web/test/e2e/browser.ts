import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import type { Stats } from '../../src/player/debug'
import { sleep } from './daemon'

const SHOTS = resolve(import.meta.dirname, '../output/shots')
const AXE = readFileSync(resolve(import.meta.dirname, '../../node_modules/axe-core/axe.min.js'), 'utf8')

/** What takes longer than this (ms) hangs. Not a limit of the product: those are measured by `took`. */
const HANGS = 45_000

/** How often the clocks that stand in for time beat (ms). */
const BEAT = 50

/** A change that the page showed. */
export interface Entry {
  /** Unix ms. */
  at: number
  status: string | null
  phase: string
  playback: string
  connection: string
  latency: number | null
  position: number
  message: string | null
}

interface Journal {
  beats: number[]
  entries: Entry[]
}

/** Runs in the page before its own scripts: a beating clock, and every change that the player publishes. */
function keepJournal(beat: number): void {
  const journal: Journal = { beats: [], entries: [] }
  Object.assign(window, { journal })
  let following = false
  const note = () => {
    const { core, video } = window.__boothcast!
    const { phase, playback, connection, event, time } = core.store.value
    journal.entries.push({
      at: Date.now(), phase, playback, connection, status: event?.status ?? null, latency: time.latency,
      position: video.currentTime, message: event?.serviceMessage?.text ?? null,
    })
    if (journal.entries.length > 5000) journal.entries.shift()
  }
  setInterval(() => {
    journal.beats.push(Date.now())
    if (following || !window.__boothcast?.core) return
    following = true
    note()
    window.__boothcast.core.store.subscribe(note)
  }, beat)
}

const ownBeats: number[] = []
setInterval(() => ownBeats.push(Date.now()), BEAT).unref()

/**
 * How long it took from a moment until the page showed something, in the time that the page and the stand-in for the
 * daemon were given to run: on a machine that does other work as well, both stand still for parts of it, and these say
 * nothing about either. What is measured is the same on every machine.
 *
 * @param since Unix ms @returns milliseconds, to one beat
 */
export async function took(page: Pick<Page, 'evaluate'>, since: number, what: string, wanted: (entry: Entry) => boolean): Promise<number> {
  const end = Date.now() + HANGS
  while (Date.now() < end) {
    const { beats, entries } = await page.evaluate(() => (window as unknown as { journal: Journal }).journal)
    const found = entries.find((entry) => entry.at >= since && wanted(entry))
    if (found) {
      const ran = (all: number[]) => all.filter((at) => at > since && at <= found.at).length * BEAT
      return Math.min(ran(beats), ran(ownBeats))
    }
    await sleep(100)
  }
  throw new Error(`not within ${HANGS} ms: ${what}; the player says ${JSON.stringify(await stats(page), null, 1)}`)
}

/** `CHROMIUM` in the environment, or where the distributions put it. */
function executable(): string {
  const found = [process.env['CHROMIUM'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
    (path) => path && existsSync(path),
  )
  if (!found) throw new Error('no Chromium found: install it, or name it in CHROMIUM')
  return found
}

/** A microphone that beeps, allowed without a question, and addresses that pages of one machine find each other by. */
export const MICROPHONE = [
  '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', '--disable-features=WebRtcHideLocalIpsWithMdns',
]

/** @param allowSound false keeps the browser's own rule: no sound before the viewer has touched the page */
export function launch(allowSound = true, extra: readonly string[] = []): Promise<Browser> {
  return chromium.launch({
    executablePath: executable(),
    // Sound is refused to a muted browser's pages as well; decoding must go on as if there were a device.
    ignoreDefaultArgs: ['--mute-audio'],
    args: [
      '--headless=new', '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-gpu',
      `--autoplay-policy=${allowSound ? 'no-user-gesture-required' : 'document-user-activation-required'}`,
      ...extra,
    ],
  })
}

/** Problems that a page ran into: refused by its policy, thrown, or a broken script. */
export const complaints: string[] = []

export async function open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 960, height: 640 }, locale: 'en-GB', ...options })
  const page = await context.newPage()
  await page.addInitScript(keepJournal, BEAT)
  watchFor(page)
  await page.goto(url)
  return page
}

export function watchFor(page: Page): void {
  page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`))
  page.on('console', (message) => {
    if (/Content Security Policy|violates/.test(message.text())) complaints.push(`${page.url()}: ${message.text()}`)
  })
}

export function stats(page: Pick<Page, 'evaluate'>): Promise<Stats> {
  return page.evaluate(() => {
    if (!window.__boothcast) throw new Error('no player on this page')
    return window.__boothcast.stats()
  })
}

/** Waits until the player's figures are as wanted; says what they were if they never are. */
export async function until(
  page: Pick<Page, 'evaluate'>,
  what: string,
  wanted: (stats: Stats) => boolean,
): Promise<Stats> {
  const end = Date.now() + HANGS
  let last: Stats | null = null
  while (Date.now() < end) {
    last = await stats(page)
    if (wanted(last)) return last
    await sleep(40)
  }
  throw new Error(`not within ${HANGS} ms: ${what}; the player says ${JSON.stringify(last, null, 1)}`)
}

/** Picture and sound advance: frames and bytes decoded, and the position. */
export async function plays(page: Pick<Page, 'evaluate'>): Promise<Stats> {
  const first = await until(page, 'playing', (now) => now.playback === 'playing' && now.decoded_frames > 0)
  return until(
    page,
    'pictures and sound advance',
    (now) =>
      now.position > first.position + 0.8 && now.decoded_frames > first.decoded_frames + 10 && (now.audio_bytes ?? 0) > (first.audio_bytes ?? 0),
  )
}

/** The strongest frequency in the sound that comes out of the element, and how loud it is (0 to 255). */
export function tone(page: Pick<Page, 'evaluate'>): Promise<{ hertz: number; level: number }> {
  return page.evaluate(async () => {
    const store = window as unknown as { analyser?: AnalyserNode }
    if (!store.analyser) {
      const context = new AudioContext()
      const analyser = context.createAnalyser()
      analyser.fftSize = 4096
      analyser.smoothingTimeConstant = 0
      context.createMediaElementSource(window.__boothcast!.video).connect(analyser)
      analyser.connect(context.destination)
      await context.resume()
      store.analyser = analyser
    }
    await new Promise((done) => setTimeout(done, 300))
    const bins = new Uint8Array(store.analyser.frequencyBinCount)
    store.analyser.getByteFrequencyData(bins)
    const level = Math.max(...bins)
    return { hertz: (bins.indexOf(level) * store.analyser.context.sampleRate) / store.analyser.fftSize, level }
  })
}

export async function shot(page: Page, name: string): Promise<void> {
  mkdirSync(SHOTS, { recursive: true })
  await page.screenshot({ path: join(SHOTS, `${name}.png`) })
}

/** Faults against WCAG 2.2 A and AA that axe finds; `serious` and `critical` fail a test, as does contrast. */
export async function accessibilityFaults(page: Page): Promise<string[]> {
  await page.evaluate(AXE)
  return page.evaluate(async () => {
    const axe = (window as unknown as { axe: { run(context: unknown, options: object): Promise<AxeResult> } }).axe
    const { violations } = await axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    })
    return violations.flatMap((one) => one.nodes.map((node) => `${one.impact} ${one.id}: ${node.target.join(' ')}: ${node.failureSummary}`))
  })
}

interface AxeResult {
  violations: { id: string; impact: string; nodes: { target: string[]; failureSummary: string }[] }[]
}

/** Until what was drawn is on screen: two frames and the longest transition of the tokens. */
export async function settle(page: Page): Promise<void> {
  await page.evaluate(() => new Promise<void>((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 150)))))
}
