/** Where this page stands, and what it was asked to do by its address. */

export interface PageAddress {
  /** The event's id, decoded; '' when the address has none. */
  event: string
  /** The daemon's own root as an absolute address ending in `/`, whatever prefix a proxy put before it. */
  root: string
}

/** Splits `https://host/prefix/watch/{id}` around `page`. */
export function parseAddress(href: string, page: 'watch' | 'embed'): PageAddress {
  const url = new URL(href)
  const match = new RegExp(`^(.*/)${page}/([^/]+)/?$`).exec(url.pathname)
  let event = ''
  try {
    event = decodeURIComponent(match?.[2] ?? '')
  } catch {
    // A broken escape is no event's id.
  }
  return { event, root: new URL(match?.[1] ?? '/', url.origin).href }
}

/** What the query string asks of a player. */
export interface PlayerOptions {
  /** Audio language (BCP 47) for viewers who have not chosen one themselves. */
  language: string | null
  /** Captions language, or 'off'. */
  captions: string | null
  /** Start by itself. */
  autoplay: boolean
  /** Start without sound. */
  muted: boolean
  /** A manager's preview token: goes along to the playlist, and plays what viewers do not see yet. */
  preview: string | null
  /** `native` plays with the browser's own HLS; for tests and for support. */
  engine: 'auto' | 'native'
  /** The origin of the page that embeds us, as the JavaScript API states it. */
  parent: string | null
}

const isOff = (value: string | null): boolean => value === '0' || value === 'false' || value === 'no'
const isOn = (value: string | null): boolean => value !== null && !isOff(value)

export function parseOptions(search: string): PlayerOptions {
  const query = new URLSearchParams(search)
  const word = (name: string): string | null => query.get(name)?.trim().slice(0, 300) || null
  let parent: string | null = null
  try {
    const given = word('parent')
    if (given) parent = new URL(given).origin
  } catch {
    // Not an origin: then the browser's own account of the parent counts.
  }
  return {
    language: word('language'),
    captions: word('captions'),
    autoplay: !isOff(query.get('autoplay')),
    muted: isOn(query.get('muted')),
    preview: word('preview'),
    engine: query.get('engine') === 'native' ? 'native' : 'auto',
    parent,
  }
}

export interface EventAddresses {
  state: string
  playlist: string
}

/** The addresses of an event; `hlsUrl` is the state's own word on where the playlist is. */
export function eventAddresses(page: PageAddress, preview: string | null, hlsUrl: string | null): EventAddresses {
  const id = encodeURIComponent(page.event)
  const playlist = new URL(hlsUrl ?? `live/${id}/index.m3u8`, page.root)
  if (preview) playlist.searchParams.set('preview', preview)
  return { state: new URL(`api/v1/events/${id}/state`, page.root).href, playlist: playlist.href }
}

/** A server that carries the event. */
export interface Origin extends EventAddresses {
  /** Its own root, to which relative addresses in its state refer. */
  root: string
}

/**
 * The servers that carry the event, the page's own first. A preview token is that server's own: it must not go to another.
 *
 * @param others multivariant playlists elsewhere; one that is not at its usual place tells nothing of the state, and is left out
 */
export function eventOrigins(page: PageAddress, preview: string | null, hlsUrl: string | null, others: readonly string[]): Origin[] {
  const own = { root: page.root, ...eventAddresses(page, preview, hlsUrl) }
  if (preview) return [own]
  const found = others.map((playlist): Origin | null => {
    const [, root, id] = /^(.*\/)live\/([^/?#]+)\/index\.m3u8$/.exec(playlist) ?? []
    return root && id ? { root, state: `${root}api/v1/events/${id}/state`, playlist } : null
  })
  return [own, ...found.filter((origin) => origin !== null)]
}

/** The id in what somebody typed or pasted: the id itself, or the whole address of a watch page or embedded player. */
export function eventIdFrom(text: string): string {
  const trimmed = text.trim()
  const pasted = /\/(?:watch|embed)\/([^/?#\s]+)/.exec(trimmed)?.[1]
  if (pasted === undefined) return trimmed
  try {
    return decodeURIComponent(pasted)
  } catch {
    return pasted
  }
}
