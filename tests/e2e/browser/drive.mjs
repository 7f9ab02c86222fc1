// Chromium on a leash: one JSON command a line on standard input, one JSON answer a line on standard output.
//
// goto {url}            opens a page                      eval {code}          the value of an expression in the page
// click {selector}      clicks an element                 press {key}          presses a key
// screenshot {path}     writes a PNG                      serve {url, file|body, type}  answers an address itself
// log {}                errors of the page so far         sound {}             starts to measure how loud the video is
// fill {selector, text} types into a field                hold {key}, release {key}
// tab {name}            goes on in this tab, which is opened if it is not there; every command is for the tab in front
// behind {from, to, fec}  from now on WebRTC answers name port `to` where they name port `from`; with `fec: false` pages
//                         send no forward error correction
// offline {value}       takes HTTP and WebSockets away from the pages, and gives them back
// frugal {}             from now on videos are decoded, but drawn for screenshots only: for many tabs on a small machine
// before {code}         runs in every page that is opened from now on, before its own scripts
// size {width, height, dark}  how large the page is shown, and whether dark is preferred
//
// The first argument, if there is one, is a WAV file that every microphone plays.
import { createInterface } from 'node:readline';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [speech] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), 'boothcast-chromium-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium',
  headless: false, // `--headless=new` below is Chromium's own, which plays sound and video as the visible one does
  ignoreHTTPSErrors: true,
  viewport: { width: 1280, height: 800 },
  args: [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
    '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--autoplay-policy=no-user-gesture-required', '--disable-features=WebRtcHideLocalIpsWithMdns',
    ...(speech ? [`--use-file-for-fake-audio-capture=${speech}`] : []),
  ],
});
// A machine that also runs the daemon and an encoder may take its time.
const ACTION = 45_000;
const tabs = new Map();
let page, errors;

async function tab(name) {
  if (!tabs.has(name)) {
    const opened = tabs.size === 0 ? (context.pages()[0] ?? (await context.newPage())) : await context.newPage();
    const seen = [];
    const note = (text) => { if (seen.length < 200) seen.push(text); };
    opened.on('pageerror', (error) => note(`page: ${error.message}`));
    opened.on('console', (message) => { if (message.type() === 'error') note(`console: ${message.text()}`); });
    tabs.set(name, { opened, seen });
  }
  ({ opened: page, seen: errors } = tabs.get(name));
}
await tab('main');

const commands = {
  goto: async ({ url }) => { await page.goto(url, { waitUntil: 'domcontentloaded', timeout: ACTION }); },
  eval: ({ code }) => page.evaluate(code),
  click: async ({ selector }) => {
    // A tab behind others draws seldom, and a click waits for what is drawn.
    await page.bringToFront();
    // The player hides its controls from a mouse that rests.
    for (const x of [600, 640]) await page.mouse.move(x, 300);
    await page.click(selector, { timeout: ACTION });
  },
  press: ({ key }) => page.keyboard.press(key),
  hold: ({ key }) => page.keyboard.down(key),
  release: ({ key }) => page.keyboard.up(key),
  fill: ({ selector, text }) => page.fill(selector, text, { timeout: ACTION }),
  offline: ({ value }) => context.setOffline(value),
  before: ({ code }) => context.addInitScript(code),
  tab: ({ name }) => tab(name),
  close: async ({ name }) => { await tabs.get(name).opened.close(); tabs.delete(name); },
  size: async ({ width, height, dark }) => {
    await page.bringToFront();
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
  },
  behind: async ({ from, to, fec }) => {
    // The pages ask for it themselves, whatever the answer says.
    if (fec === false) await context.addInitScript(() => {
      const { setRemoteDescription } = RTCPeerConnection.prototype;
      RTCPeerConnection.prototype.setRemoteDescription = function without({ type, sdp }) {
        return setRemoteDescription.call(this, { type, sdp: sdp.replaceAll('useinbandfec=1', 'useinbandfec=0') });
      };
    });
    await context.route(/\/(whip|whep|rtc)(\?.*)?$/, async (route) => {
      if (route.request().method() !== 'POST') return route.continue();
      const answer = await route.fetch();
      const body = (await answer.text()).replaceAll(` ${from} typ`, ` ${to} typ`);
      await route.fulfill({ response: answer, body });
    });
  },
  frugal: async () => {
    await context.addInitScript(() => {
      addEventListener('DOMContentLoaded', () => {
        document.head.append(Object.assign(document.createElement('style'), { textContent: 'html:not(.shown) video { visibility: hidden }' }));
      });
    });
  },
  screenshot: async ({ path }) => {
    await page.bringToFront();
    const show = (shown) => page.evaluate((on) => document.documentElement.classList.toggle('shown', on), shown);
    await show(true);
    await new Promise((drawn) => setTimeout(drawn, 250));
    await page.screenshot({ path });
    await show(false);
  },
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
