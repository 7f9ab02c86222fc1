// Chromium on a leash: one JSON command a line on standard input, one JSON answer a line on standard output.
//
// goto {url}            opens a page                      eval {code}          the value of an expression in the page
// click {selector}      clicks an element                 press {key}          presses a key
// screenshot {path}     writes a PNG                      serve {url, file|body, type}  answers an address itself
// log {}                errors of the page so far         sound {}             starts to measure how loud the video is
import { createInterface } from 'node:readline';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const profile = mkdtempSync(join(tmpdir(), 'boothcast-chromium-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium',
  headless: false, // `--headless=new` below is Chromium's own, which plays sound and video as the visible one does
  ignoreHTTPSErrors: true,
  viewport: { width: 1280, height: 800 },
  args: [
    '--headless=new', '--no-sandbox', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
    '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--autoplay-policy=no-user-gesture-required', '--disable-features=WebRtcHideLocalIpsWithMdns',
  ],
});
const page = context.pages()[0] ?? (await context.newPage());
const errors = [];
const note = (text) => { if (errors.length < 200) errors.push(text); };
page.on('pageerror', (error) => note(`page: ${error.message}`));
page.on('console', (message) => { if (message.type() === 'error') note(`console: ${message.text()}`); });

const commands = {
  goto: async ({ url }) => { await page.goto(url, { waitUntil: 'domcontentloaded', timeout: 15000 }); },
  eval: ({ code }) => page.evaluate(code),
  click: async ({ selector }) => {
    // The player hides its controls from a mouse that rests.
    for (const x of [600, 640]) await page.mouse.move(x, 300);
    await page.click(selector, { timeout: 5000 });
  },
  press: ({ key }) => page.keyboard.press(key),
  screenshot: async ({ path }) => { await page.screenshot({ path }); },
  serve: ({ url, file, body, type }) => page.route(url, (route) => route.fulfill({ path: file, body, contentType: type })),
  log: () => errors,
  sound: () => page.evaluate(() => {
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 32768;
    const source = context.createMediaElementSource(document.querySelector('video'));
    source.connect(analyser);
    analyser.connect(context.destination);
    window.loudness = () => {
      const samples = new Float32Array(analyser.fftSize);
      analyser.getFloatTimeDomainData(samples);
      return Math.max(...samples.map(Math.abs));
    };
  }),
};

console.log(JSON.stringify({ ok: true }));
try {
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: name, ...rest } = JSON.parse(line);
    try {
      console.log(JSON.stringify({ ok: true, value: (await commands[name](rest)) ?? null }));
    } catch (error) {
      console.log(JSON.stringify({ ok: false, error: String(error) }));
    }
  }
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
