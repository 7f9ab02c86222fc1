import type { LanguageChoice } from './prefs'

/** One audio rendition or captions track of the multivariant playlist. */
export interface Track {
  /** Position in the engine's list: what `set…` takes. */
  index: number
  /** The NAME attribute: the language in its own words. */
  name: string
  /** BCP 47, or '' when the playlist gives none. */
  language: string
  /** The playlist's DEFAULT=YES. */
  isDefault: boolean
}

/** One rung of the ladder. */
export interface Level {
  index: number
  /** Lines, 0 for sound alone. */
  height: number
  width: number
  /** Bits per second as declared. */
  bitrate: number
  frameRate: number
  /** The contribution itself rather than a transcoded rung. */
  source: boolean
}

const primary = (tag: string): string => tag.toLowerCase().split('-')[0] ?? ''

/**
 * The track for a wish given as a BCP 47 tag: the very tag first, then one of the same language (`de` finds `de-AT` and
 * the other way round), then a track of that name; -1 when there is none.
 */
export function findLanguage(tracks: readonly Track[], wish: string): number {
  const tag = wish.trim().toLowerCase()
  if (tag === '') return -1
  const found =
    tracks.find((track) => track.language.toLowerCase() === tag) ??
    tracks.find((track) => track.language !== '' && primary(track.language) === primary(tag)) ??
    tracks.find((track) => track.name.toLowerCase() === tag)
  return found?.index ?? -1
}

/** The track that a viewer picked earlier, perhaps in another event. */
export function findChoice(tracks: readonly Track[], choice: LanguageChoice): number {
  const same = tracks.find((track) => track.name === choice.name && track.language === choice.language)
  if (same) return same.index
  // A name without a language is one of its kind ("Original"); by language, any variant of it will do.
  return choice.language === '' ? findLanguage(tracks, choice.name) : findLanguage(tracks, choice.language)
}

/** Which audio track to start with: what the viewer chose before, what the embedding page asks for, the default. */
export function initialAudio(tracks: readonly Track[], chosen: LanguageChoice | null, wished: string | null): number {
  if (chosen) {
    const index = findChoice(tracks, chosen)
    if (index >= 0) return index
  }
  if (wished) {
    const index = findLanguage(tracks, wished)
    if (index >= 0) return index
  }
  return tracks.find((track) => track.isDefault)?.index ?? tracks[0]?.index ?? -1
}

/** Which captions to start with; -1 is none. Captions are off unless somebody asked for them. */
export function initialCaptions(tracks: readonly Track[], chosen: string | null, wished: string | null): number {
  if (chosen === 'off') return -1
  for (const wish of [chosen, wished]) {
    if (!wish || wish === 'off') continue
    const index = findLanguage(tracks, wish)
    if (index >= 0) return index
  }
  return -1
}

/** "1080p", "1080p60"; the bitrate is added where two rungs would read the same. */
export function levelLabel(level: Level, all: readonly Level[], words: { source: string; audioOnly: string }): string {
  const plain = (one: Level): string => {
    if (one.height === 0) return words.audioOnly
    const rate = one.frameRate > 32 ? String(Math.round(one.frameRate)) : ''
    return `${one.height}p${rate}${one.source ? ` ${words.source}` : ''}`
  }
  const label = plain(level)
  const twins = all.filter((other) => other.index !== level.index && plain(other) === label)
  return twins.length > 0 && level.bitrate > 0 ? `${label} (${(level.bitrate / 1e6).toFixed(1)} Mbps)` : label
}

/** The highest rung first. */
export function sortedLevels(levels: readonly Level[]): Level[] {
  return [...levels].sort((a, b) => b.height - a.height || Number(b.source) - Number(a.source) || b.bitrate - a.bitrate)
}
