// @ts-check
/*
 * Boothcast player: JavaScript API.
 *
 *     <div id="player"></div>
 *     <script src="https://live.example.org/player.js"></script>
 *     <script>
 *       const player = Boothcast.player(document.getElementById('player'), { event: 'EVENT_ID', language: 'de' })
 *       player.on('status', ({ status }) => { … })
 *       player.setLanguage('fr')
 *     </script>
 *
 * Boothcast.player(element, options) puts a frame with the player into `element` (a picture of 16:9 as wide as the
 * element, unless the element has a height of its own and `fill` is set) and returns a player.
 *
 * Options
 *   event        id of the event; the only one that must be given
 *   origin       address of the Boothcast server; default: where this script was loaded from
 *   language     audio language (BCP 47 tag) for viewers who have not chosen one themselves in this player
 *   captions     captions language for viewers who have not chosen one themselves; default: none
 *   autoplay     false waits until play() or the viewer's play button; default: true
 *   muted        true starts without sound; default: false, and without sound only where the browser insists
 *   ui_language  language of buttons and messages (en, nl, de, fr); default: the browser's
 *   title        name of the frame for screen readers; default: "Live"
 *   fill         true: the frame takes the element's own height
 *
 * Methods. Each returns a promise, resolved when the player has done it, rejected with an Error that says why not.
 * Methods called before the player is ready wait for it.
 *   play()  pause()  setMuted(boolean)  setVolume(0…1)  goLive()
 *   setLanguage(tag)        resolves to whether the event has it now; if not, it is taken when it appears
 *   setCaptions(tag|null)   the same for captions; null switches them off
 *   setQuality(height|'auto')   resolves to whether there is such a rung
 *   seek(seconds)           to so many seconds behind the live edge
 *   getState()              resolves to {status, phase, name, playback, muted, volume, language, languages: [{language,
 *                           name}], captions, caption_languages, quality, qualities, date, latency_seconds,
 *                           behind_live_seconds, window_seconds}
 *                           latency_seconds is how long ago what is seen arrived at the server, behind_live_seconds how
 *                           far behind those who watch live (0 for them), window_seconds how far one can go back
 * Not promises:
 *   on(name, callback), off(name, callback)   both return the player
 *   destroy()               removes the frame; what still waits is rejected
 *   iframe, ready           the frame's element; a promise of the first state
 *
 * Events (name: what the callback gets)
 *   ready            the state, as of getState()
 *   status           {status, phase}: status is the event's (inactive, preview, started, paused, ended), phase is what
 *                    the viewer sees (connecting, holding, live, draining, paused, ended, gone, denied); on a pause the
 *                    phase follows the status when the rest has been played out
 *   play, pause      {}
 *   error            {code: 'network' | 'media' | 'unsupported', message}; the first two repair themselves
 *   languagechange   {language, name}
 *   captionschange   {captions}
 *   qualitychange    {quality, current}: quality is a height or 'auto', current the height on screen
 *   trackschange     {languages, caption_languages, qualities}
 *   volumechange     {muted, volume}
 *   time             {date, latency_seconds, behind_live_seconds, window_seconds}, about once a second;
 *                    date is the event's own clock (PROGRAM-DATE-TIME) at the picture on screen
 *
 * Without this script: the frame speaks plain postMessage. To it: {boothcast: 1, id, method, params: [...]}; back come
 * {boothcast: 1, id, result} or {boothcast: 1, id, error: {message}}, and by itself {boothcast: 1, event, detail}. It
 * listens only to the window that holds it, at the origin given in its address as `parent`.
 *
 * The server decides which sites may embed a player (allowed domains); elsewhere the frame stays empty.
 */
;(() => {
  'use strict'

  const PROTOCOL = 1

  /** The server's root: this script stands in it. Read now, since `currentScript` is gone later. */
  const script = document.currentScript
  const home = script instanceof HTMLScriptElement && script.src ? new URL('.', script.src).href : location.href

  /**
   * @typedef {object} Options
   * @property {string} event
   * @property {string} [origin]
   * @property {string} [language]
   * @property {string} [captions]
   * @property {boolean} [autoplay]
   * @property {boolean} [muted]
   * @property {string} [ui_language]
   * @property {string} [title]
   * @property {boolean} [fill]
   */

  class Player {
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    #waiting = new Map()
    /** @type {{message: object, id: number}[]} */
    #queue = []
    /** @type {Map<string, Set<(detail: any) => void>>} */
    #listeners = new Map()
    #nextId = 1
    #isReady = false
    #destroyed = false
    /** @type {string} */
    #origin
    /** @type {(event: MessageEvent) => void} */
    #onMessage

    /**
     * @param {Element} element
     * @param {Options} options
     */
    constructor(element, options) {
      const root = new URL(options.origin ? options.origin.replace(/\/*$/, '/') : home, location.href)
      const url = new URL(`embed/${encodeURIComponent(options.event)}`, root)
      this.#origin = url.origin
      const query = url.searchParams
      if (options.language) query.set('language', options.language)
      if (options.captions) query.set('captions', options.captions)
      if (options.autoplay === false) query.set('autoplay', '0')
      if (options.muted) query.set('muted', '1')
      if (options.ui_language) query.set('lang', options.ui_language)
      // Pages without an origin of their own (file:, sandboxed frames) are "null", which nothing can be sent to.
      if (location.origin !== 'null') query.set('parent', location.origin)

      const iframe = document.createElement('iframe')
      iframe.src = url.href
      iframe.title = options.title || 'Live'
      iframe.allow = 'autoplay; fullscreen; picture-in-picture; encrypted-media'
      iframe.allowFullscreen = true
      iframe.style.border = '0'
      iframe.style.display = 'block'
      iframe.style.width = '100%'
      if (options.fill) iframe.style.height = '100%'
      else iframe.style.aspectRatio = '16 / 9'
      this.iframe = iframe

      this.ready = new Promise((resolve) => this.on('ready', resolve))
      this.#onMessage = (event) => this.#receive(event)
      addEventListener('message', this.#onMessage)
      element.append(iframe)
    }

    play() {
      return this.#call('play')
    }
    pause() {
      return this.#call('pause')
    }
    /** @param {boolean} muted */
    setMuted(muted) {
      return this.#call('setMuted', muted)
    }
    /** @param {number} volume */
    setVolume(volume) {
      return this.#call('setVolume', volume)
    }
    /** @param {string} language */
    setLanguage(language) {
      return this.#call('setLanguage', language)
    }
    /** @param {string | null} language */
    setCaptions(language) {
      return this.#call('setCaptions', language)
    }
    /** @param {number | 'auto'} quality */
    setQuality(quality) {
      return this.#call('setQuality', quality)
    }
    /** @param {number} secondsBehindLive */
    seek(secondsBehindLive) {
      return this.#call('seek', secondsBehindLive)
    }
    goLive() {
      return this.#call('goLive')
    }
    getState() {
      return this.#call('getState')
    }

    /**
     * @param {string} name
     * @param {(detail: any) => void} callback
     */
    on(name, callback) {
      const listeners = this.#listeners.get(name) ?? new Set()
      listeners.add(callback)
      this.#listeners.set(name, listeners)
      return this
    }

    /**
     * @param {string} name
     * @param {(detail: any) => void} callback
     */
    off(name, callback) {
      this.#listeners.get(name)?.delete(callback)
      return this
    }

    destroy() {
      if (this.#destroyed) return
      this.#destroyed = true
      removeEventListener('message', this.#onMessage)
      this.iframe.remove()
      for (const { reject } of this.#waiting.values()) reject(new Error('the player was destroyed'))
      this.#waiting.clear()
      this.#queue = []
      this.#listeners.clear()
    }

    /**
     * @param {string} method
     * @param {unknown[]} params
     * @returns {Promise<any>}
     */
    #call(method, ...params) {
      if (this.#destroyed) return Promise.reject(new Error('the player was destroyed'))
      const id = this.#nextId++
      const message = { boothcast: PROTOCOL, id, method, params }
      return new Promise((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject })
        if (this.#isReady) this.iframe.contentWindow?.postMessage(message, this.#origin)
        else this.#queue.push({ message, id })
      })
    }

    /** @param {MessageEvent} event */
    #receive(event) {
      if (event.source !== this.iframe.contentWindow || event.origin !== this.#origin) return
      const data = event.data
      if (typeof data !== 'object' || data === null || data.boothcast !== PROTOCOL) return
      if (typeof data.event === 'string') {
        if (data.event === 'ready') this.#flush()
        for (const callback of [...(this.#listeners.get(data.event) ?? [])]) {
          try {
            callback(data.detail)
          } catch (error) {
            // One listener's mistake is its own: the others still hear.
            console.error(error)
          }
        }
        return
      }
      const waiting = this.#waiting.get(data.id)
      if (!waiting) return
      this.#waiting.delete(data.id)
      if (data.error) waiting.reject(new Error(String(data.error.message)))
      else waiting.resolve(data.result)
    }

    /** The frame is there, for the first time or again: what waited goes to it. */
    #flush() {
      this.#isReady = true
      for (const { message } of this.#queue) this.iframe.contentWindow?.postMessage(message, this.#origin)
      this.#queue = []
    }
  }

  const api = {
    /**
     * @param {Element} element
     * @param {Options} options
     */
    player(element, options) {
      if (!(element instanceof Element)) throw new TypeError('Boothcast.player: the first argument must be an element')
      if (typeof options?.event !== 'string' || options.event === '') {
        throw new TypeError('Boothcast.player: the option "event" must be the id of an event')
      }
      return new Player(element, options)
    },
  }

  Object.defineProperty(window, 'Boothcast', { value: Object.freeze(api), configurable: true, enumerable: true })
})()
