import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { defineConfig, type Plugin } from 'vite'

/** Every page, and whether the daemon serves it one level down (`/watch/{id}`, `/booth/{secret}`). */
const PAGES = {
  index: { below: false },
  watch: { below: true },
  embed: { below: true },
  booth: { below: true },
  manage: { below: true },
  participant: { below: true },
  test: { below: true },
}

const file = (name: string): string => resolve(import.meta.dirname, name)

/**
 * Pages have one shell, `page.html`, and a script and a class of their own. Assets are addressed relative to the page,
 * since the daemon may stand below a prefix of a reverse proxy; scripts find their own chunks relative to themselves,
 * which is right at any depth.
 */
function pages(): Plugin {
  const shell = readFileSync(file('page.html'), 'utf8')
  const made = new Map(Object.keys(PAGES).map((name) => [file(`${name}.html`), shell.replaceAll('%PAGE%', name)]))
  return {
    name: 'boothcast:pages',
    enforce: 'pre',
    buildStart() {
      this.addWatchFile(file('page.html'))
    },
    resolveId: (id) => (made.has(id) ? id : null),
    load: (id) => made.get(id) ?? null,
    generateBundle: {
      order: 'post',
      handler(_options, bundle) {
        for (const [name, { below }] of Object.entries(PAGES)) {
          const page = bundle[`${name}.html`]
          if (page?.type !== 'asset') throw new Error(`${name}.html is not in the build`)
          if (below) page.source = String(page.source).replaceAll('="./', '="../')
        }
      },
    },
  }
}

/** What is built into the pages, and where its licence stands. */
const BUNDLED = ['preact', 'hls.js']

/** The licences of what is built in go along with it, as their terms ask: `assets/licences.txt`. */
function licences(): Plugin {
  return {
    name: 'boothcast:licences',
    generateBundle() {
      const source = BUNDLED.map((name) => {
        const folder = resolve(import.meta.dirname, 'node_modules', name)
        const { version } = JSON.parse(readFileSync(resolve(folder, 'package.json'), 'utf8')) as { version: string }
        return `${name} ${version}\n\n${readFileSync(resolve(folder, 'LICENSE'), 'utf8').trim()}\n`
      }).join(`\n${'-'.repeat(80)}\n\n`)
      this.emitFile({ type: 'asset', fileName: 'assets/licences.txt', source })
    },
  }
}

export default defineConfig({
  base: './',
  plugins: [pages(), licences()],
  build: {
    outDir: 'dist',
    assetsDir: 'assets',
    emptyOutDir: true,
    // data: URLs would need to be allowed by the content security policy.
    assetsInlineLimit: 0,
    // hls.js is a chunk of its own, loaded while the page shows; 600 kB is its known size.
    chunkSizeWarningLimit: 700,
    modulePreload: { polyfill: false },
    target: ['chrome109', 'firefox115', 'safari15.4'],
    rolldownOptions: {
      input: Object.fromEntries(Object.keys(PAGES).map((name) => [name, file(`${name}.html`)])),
    },
  },
})
