/** Where a room's page stands, and the addresses that belong to its link. */

export type RoomPage = 'booth' | 'manage' | 'participant' | 'test'

export interface RoomAddress {
  /** The secret of the link; for the management room the event's id. */
  key: string
  /** The daemon's own root, ending in `/`, whatever prefix a proxy put before it. */
  root: string
  info: string
  socket: string
  whip: string
  whep: string
  /** The connection test's session and result. */
  probe: string
  result: string
}

/**
 * Splits `https://host/prefix/booth/{secret}` around `page`. The management room's right (`link` or `token` of the query)
 * goes along everywhere.
 *
 * @param token a manager's API token, where the address has none
 */
export function parseRoom(href: string, page: RoomPage, token: string | null = null): RoomAddress {
  const url = new URL(href)
  const match = new RegExp(`^(.*/)${page}/([^/]+)/?$`).exec(url.pathname)
  let key = ''
  try {
    key = decodeURIComponent(match?.[2] ?? '')
  } catch {
    // A broken escape is no secret.
  }
  const root = new URL(match?.[1] ?? '/', url.origin)
  const below = (leaf: string): URL => {
    const address = new URL(`${page}/${encodeURIComponent(key)}/${leaf}`, root)
    if (page === 'manage') {
      for (const name of ['link', 'token']) {
        const value = url.searchParams.get(name)
        if (value !== null) address.searchParams.set(name, value)
      }
      if (token !== null && address.search === '') address.searchParams.set('token', token)
    }
    return address
  }
  const socket = below('ws')
  socket.protocol = socket.protocol === 'https:' ? 'wss:' : 'ws:'
  return {
    key, root: root.href, info: below('info').href, socket: socket.href, whip: below('whip').href, whep: below('whep').href,
    probe: below('rtc').href, result: below('result').href,
  }
}

/** The address with more in its query. */
export function withQuery(address: string, query: Readonly<Record<string, string>>): string {
  const url = new URL(address)
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
  return url.href
}

/** Why a link's `info` could not be had. */
export type InfoFailure = 'unknown' | 'expired' | 'revoked' | 'unauthorised' | 'unreachable'

/** Another try at a link that could not be looked up. */
const LOOK_AGAIN = 2000

/** Looks a link up, again and again while the daemon cannot be reached. */
export function lookUp<T>(address: string, found: (info: T) => void, failed: (failure: InfoFailure) => void): void {
  void fetchInfo<T>(address).then((answer) => {
    if ('info' in answer) return found(answer.info)
    failed(answer.failure)
    if (answer.failure === 'unreachable') window.setTimeout(() => lookUp(address, found, failed), LOOK_AGAIN)
  })
}

export async function fetchInfo<T>(address: string): Promise<{ info: T } | { failure: InfoFailure }> {
  let response: Response
  try {
    response = await fetch(address, { headers: { accept: 'application/json' }, cache: 'no-store', signal: AbortSignal.timeout(8000) })
  } catch {
    return { failure: 'unreachable' }
  }
  if (response.status === 410) return { failure: 'expired' }
  if (response.status === 401) return { failure: 'unauthorised' }
  if (response.status === 403) return { failure: 'revoked' }
  if (response.status === 404) return { failure: 'unknown' }
  if (!response.ok) return { failure: 'unreachable' }
  try {
    return { info: (await response.json()) as T }
  } catch {
    return { failure: 'unreachable' }
  }
}
