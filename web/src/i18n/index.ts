/**
 * Every text of every page stands in the JSON files beside this one, under the same keys (a test compares them).
 * English comes with the page, the others are fetched when they are needed. To add a language: add its file and its
 * tag to `LANGUAGES`.
 */
import { Store, useStore } from '../store'
import en from './en.json'

export type Key = keyof typeof en
type Messages = Record<Key, string>

export const LANGUAGES = ['en', 'nl', 'de', 'fr'] as const
export type Language = (typeof LANGUAGES)[number]

const LOADERS: Record<Language, () => Promise<{ default: Messages }>> = {
  en: () => Promise.resolve({ default: en }),
  nl: () => import('./nl.json'),
  de: () => import('./de.json'),
  fr: () => import('./fr.json'),
}

/** Their own names, for a menu that can be read by those who need it. */
export const LANGUAGE_NAMES: Record<Language, string> = { en: 'English', nl: 'Nederlands', de: 'Deutsch', fr: 'Français' }

/** What `?lang=` says, else the first of the browser's languages that we speak, else English. */
export function pickLanguage(wish: string | null, preferred: readonly string[]): Language {
  for (const tag of [wish, ...preferred]) {
    const found = LANGUAGES.find((language) => language === tag?.toLowerCase().split('-')[0])
    if (found) return found
  }
  return 'en'
}

/** Puts values into `{name}` places; a place without a value stays visible, so that it is noticed. */
export function fill(message: string, values: Readonly<Record<string, string | number>>): string {
  return message.replace(/\{(\w+)\}/g, (place, name: string) => String(values[name] ?? place))
}

export const translation = new Store<{ language: Language; messages: Messages }>({ language: 'en', messages: en })

export function t(key: Key, values: Readonly<Record<string, string | number>> = {}): string {
  return fill(translation.value.messages[key], values)
}

/** The browser's own variety of the page's language, which says how times and dates are written (en-GB, not just en). */
export function locale(): string {
  const { language } = translation.value
  return navigator.languages.find((tag) => tag.toLowerCase().split('-')[0] === language) ?? language
}

/** Draws the component again when the language changes. */
export function useLanguage(): Language {
  return useStore(translation, (value) => value.language)
}

export async function setLanguage(language: Language): Promise<void> {
  const { default: messages } = await LOADERS[language]()
  translation.patch({ language, messages })
  document.documentElement.lang = language
}

/** Called once by each page before it draws; a language that cannot be fetched leaves English. */
export async function startTranslation(): Promise<void> {
  const wish = new URLSearchParams(location.search).get('lang')
  try {
    await setLanguage(pickLanguage(wish, navigator.languages))
  } catch {
    document.documentElement.lang = 'en'
  }
}
