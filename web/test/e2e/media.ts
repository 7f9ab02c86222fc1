/**
 * Test media: two rungs, three languages told apart by their tone, cut like the daemon cuts them: parts of 0.32 s,
 * segments of 1.92 s. Made by ffmpeg once into `test/output/media` and read from there.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

export const PART = 0.32
export const PARTS_PER_SEGMENT = 6
export const SEGMENT = PART * PARTS_PER_SEGMENT
/** Length of the material in segments. */
export const SEGMENTS = 50

const OUTPUT = resolve(import.meta.dirname, '../output/media')

export interface Rendition {
  name: string
  init: Buffer
  /** One `moof` and `mdat` each. */
  parts: Buffer[]
}

export const VIDEOS = [
  { name: '240p', width: 426, height: 240, bandwidth: 500_000, codec: 'avc1.42c015' },
  { name: '144p', width: 256, height: 144, bandwidth: 200_000, codec: 'avc1.42c00c' },
] as const

/** Tone in Hz by language. */
export const AUDIOS = [
  { name: 'floor', label: 'Original', language: 'en', tone: 500 },
  { name: 'de', label: 'Deutsch', language: 'de', tone: 1000 },
  { name: 'fr', label: 'Français', language: 'fr', tone: 2000 },
] as const

function make(): void {
  mkdirSync(OUTPUT, { recursive: true })
  const seconds = String(SEGMENTS * SEGMENT)
  const fragments = ['-movflags', 'empty_moov+default_base_moof', '-frag_duration', '320000', '-f', 'mp4']
  const video = (size: string) => ['-f', 'lavfi', '-t', seconds, '-i', `testsrc2=size=${size}:rate=25`]
  execFileSync(
    'ffmpeg',
    [
      '-v', 'error', '-y', ...video('426x240'),
      ...AUDIOS.flatMap(({ tone }) => ['-f', 'lavfi', '-t', seconds, '-i', `sine=frequency=${tone}:sample_rate=48000`]),
      ...VIDEOS.flatMap(({ name, width, height, bandwidth }) => [
        '-map', '0:v', '-s', `${width}x${height}`, '-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency',
        '-profile:v', 'baseline', '-pix_fmt', 'yuv420p', '-g', '48', '-keyint_min', '48', '-sc_threshold', '0', '-b:v',
        String(bandwidth * 0.7), ...fragments, join(OUTPUT, `${name}.mp4`),
      ]),
      ...AUDIOS.flatMap(({ name }, i) => [
        '-map', `${i + 1}:a`, '-c:a', 'aac', '-b:a', '64k', '-ac', '2', '-flags', '+bitexact', ...fragments, join(OUTPUT, `${name}.mp4`),
      ]),
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  )
  writeFileSync(join(OUTPUT, 'made'), `${SEGMENTS}`)
}

/** Splits a fragmented MP4 into its head and one piece for each fragment. */
function split(file: Buffer): { init: Buffer; parts: Buffer[] } {
  const parts: Buffer[] = []
  let init: Buffer | null = null
  let start = 0
  for (let at = 0; at + 8 <= file.length; ) {
    const size = file.readUInt32BE(at)
    const type = file.toString('latin1', at + 4, at + 8)
    if (size < 8) throw new Error(`box ${type} of ${size} bytes at ${at}`)
    if (type === 'moof' && init === null) {
      init = file.subarray(0, at)
      start = at
    }
    at += size
    if (type === 'mdat' && init !== null) {
      parts.push(file.subarray(start, at))
      start = at
    }
  }
  if (init === null) throw new Error('no fragments')
  return { init, parts }
}

export function loadMedia(): Map<string, Rendition> {
  const mark = join(OUTPUT, 'made')
  if (!existsSync(mark) || readFileSync(mark, 'utf8') !== `${SEGMENTS}`) make()
  return new Map(
    [...VIDEOS, ...AUDIOS].map(({ name }) => [name, { name, ...split(readFileSync(join(OUTPUT, `${name}.mp4`))) }]),
  )
}
