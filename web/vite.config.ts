import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { defineConfig, type Plugin } from 'vite'

/**
 * The daemon serves `watch.html` and `embed.html` one level down (`/watch/{id}`, `/embed/{id}`), possibly below a
 * prefix of a reverse proxy, so their assets are addressed from one level up. Scripts find their own chunks relative
 * to themselves, which is right at any depth.
 */
function assetsFromOneLevelDown(pages: string[]): Plugin {
  return {
    name: 'boothcast:assets-from-one-level-down',
    enforce: 'post',
    generateBundle: {
      order: 'post',
      handler(_options, bundle) {
        for (const page of pages) {
          const file = bundle[page]
          if (file?.type !== 'asset') throw new Error(`${page} is not in the build`)
          file.source = String(file.source).replaceAll('="./', '="../')
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
  plugins: [licences(), assetsFromOneLevelDown(['watch.html', 'embed.html'])],
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
      input: {
        index: resolve(import.meta.dirname, 'index.html'),
        watch: resolve(import.meta.dirname, 'watch.html'),
        embed: resolve(import.meta.dirname, 'embed.html'),
      },
    },
  },
})
