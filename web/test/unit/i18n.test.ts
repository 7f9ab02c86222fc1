import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { fill, LANGUAGES, pickLanguage } from '../../src/i18n'

const folder = resolve(import.meta.dirname, '../../src/i18n')
const read = (language: string): Record<string, string> =>
  JSON.parse(readFileSync(join(folder, `${language}.json`), 'utf8')) as Record<string, string>
const english = read('en')
const places = (text: string): string[] => [...text.matchAll(/\{\w+\}/g)].map(([place]) => place).sort()

describe('languages', () => {
  test('every file is offered, and every language has its file', () => {
    const files = readdirSync(folder).filter((name) => name.endsWith('.json')).map((name) => name.replace('.json', ''))
    expect(files.sort()).toEqual([...LANGUAGES].sort())
  })

  test.each(LANGUAGES)('%s has the same keys, places and nothing empty', (language) => {
    const texts = read(language)
    expect(Object.keys(texts)).toEqual(Object.keys(english))
    for (const [key, text] of Object.entries(texts)) {
      expect(text.trim(), key).not.toBe('')
      expect(places(text), key).toEqual(places(english[key] ?? ''))
    }
  })

  test('every key is used, and every used key exists', () => {
    const sources = readdirSync(resolve(folder, '..'), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.tsx?$/.test(name))
      .map((name) => readFileSync(resolve(folder, '..', name), 'utf8'))
      .join('\n')
    const computed = /^(status|option|grade)\./
    const unused = Object.keys(english).filter((key) => !sources.includes(`'${key}'`) && !computed.test(key))
    expect(unused).toEqual([])
  })

  test('no text for people stands in a component', () => {
    const views = readdirSync(resolve(folder, '..'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.tsx'))
    for (const name of views) {
      const source = readFileSync(resolve(folder, '..', name), 'utf8')
      // Words between tags, but for the product's own name and file names.
      const words = [...source.matchAll(/>\s*([A-Za-z][A-Za-z ]{3,})\s*</g)].map(([, text]) => text?.trim())
      expect(words.filter((text) => text !== 'Boothcast'), name).toEqual([])
    }
  })
})

test('the address wins over the browser, the browser over English', () => {
  expect(pickLanguage('fr', ['de-AT'])).toBe('fr')
  expect(pickLanguage('FR-ca', [])).toBe('fr')
  expect(pickLanguage('xx', ['pt-BR', 'nl-BE', 'de'])).toBe('nl')
  expect(pickLanguage(null, ['pt-BR'])).toBe('en')
})

test('places are filled, and unfilled ones stay visible', () => {
  expect(fill('{a} of {b}', { a: 1, b: 'two' })).toBe('1 of two')
  expect(fill('{a} of {b}', { a: 1 })).toBe('1 of {b}')
})
