/**
 * What the multivariant playlist offers now, read beside the engine: languages come and go while an event is live, and a
 * player whose own language stays must not stop for it. Engines read that playlist once; so the menus show this offer, and
 * the engine is replaced only when the viewer wants what it does not have.
 */
import type { Track } from './tracks'

export interface Offer {
  audio: Track[]
  captions: Track[]
}

/** Tracks that are read; what a playlist says is not trusted to be reasonable. */
const MAX_TRACKS = 200

/** Attributes of a tag (RFC 8216, section 4.2), quoted or not. */
function attributes(line: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const [, name = '', quoted, plain] of line.matchAll(/([A-Z0-9-]+)=(?:"([^"]*)"|([^",]*))/g)) found.set(name, quoted ?? plain ?? '')
  return found
}

/** The renditions of a multivariant playlist; null when it is none. One that stands in several groups counts once. */
export function parseOffer(playlist: string): Offer | null {
  if (!playlist.startsWith('#EXTM3U') || !playlist.includes('#EXT-X-STREAM-INF:')) return null
  const offer: Offer = { audio: [], captions: [] }
  for (const line of playlist.split(/\r?\n/)) {
    if (!line.startsWith('#EXT-X-MEDIA:')) continue
    const media = attributes(line.slice('#EXT-X-MEDIA:'.length))
    const type = media.get('TYPE')
    const list = type === 'AUDIO' ? offer.audio : type === 'SUBTITLES' ? offer.captions : null
    if (!list || list.length >= MAX_TRACKS) continue
    const language = media.get('LANGUAGE') ?? ''
    const name = media.get('NAME') || language || String(list.length + 1)
    if (list.some((track) => track.name === name && track.language === language)) continue
    list.push({ index: list.length, name, language, isDefault: media.get('DEFAULT') === 'YES' })
  }
  return offer
}

/** The same rendition in another list; -1 when it is not there. */
export function sameTrack(tracks: readonly Track[], wanted: Track | undefined): number {
  return tracks.find((track) => track.name === wanted?.name && track.language === wanted.language)?.index ?? -1
}

/**
 * Whether an engine that knows `present` has to be replaced for what the viewer wants of an offer.
 *
 * @param wanted index in `offered` by the viewer's wishes (`initialAudio`, `initialCaptions`), -1 for none
 */
export function lacks(offered: readonly Track[], wanted: number, present: readonly Track[]): boolean {
  const want = offered.find((track) => track.index === wanted)
  return want !== undefined && sameTrack(present, want) === -1
}
