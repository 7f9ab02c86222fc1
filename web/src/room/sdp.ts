/**
 * The little that is changed in session descriptions: the parameters of Opus (RFC 7587, section 6.1). A browser encodes
 * by what the *answer* says it should receive, and decodes by what its own offer said, so both are shaped alike.
 */

/** Bits per second of an interpreter's voice: full band, with room for forward error correction. */
export const VOICE_BITRATE = 80_000

/** Mono, forward error correction on. */
export const VOICE = { useinbandfec: '1', maxaveragebitrate: String(VOICE_BITRATE), stereo: '0', 'sprop-stereo': '0' }

/** What is heard is stereo: the floor is. */
export const LISTENING = { useinbandfec: '1', stereo: '1' }

/** Sets parameters in every `a=fmtp` line of Opus, adding the line where there is none. All else stays as it is. */
export function shapeOpus(sdp: string, parameters: Readonly<Record<string, string>>): string {
  const types = [...sdp.matchAll(/^a=rtpmap:(\d+) opus\/48000/gim)].map(([, type]) => type)
  let shaped = sdp
  for (const type of types) {
    const line = new RegExp(`^(a=fmtp:${type} )([^\\r\\n]*)`, 'm')
    const merge = (present: string): string => {
      const merged = new Map(present.split(';').flatMap((pair) => {
        const [name = '', ...value] = pair.trim().split('=')
        return name === '' ? [] : [[name, value.join('=')] as const]
      }))
      for (const [name, value] of Object.entries(parameters)) merged.set(name, value)
      return [...merged].map(([name, value]) => `${name}=${value}`).join(';')
    }
    shaped = line.test(shaped)
      ? shaped.replace(line, (_all, start: string, present: string) => start + merge(present))
      : shaped.replace(new RegExp(`^a=rtpmap:${type} [^\\r\\n]*`, 'm'), (all) => `${all}\r\na=fmtp:${type} ${merge('')}`)
  }
  return shaped
}
