/** What a key does in the player; pure, so that it can be tested without one. */
export type Action =
  | 'play'
  | 'mute'
  | 'louder'
  | 'quieter'
  | 'back'
  | 'forward'
  | 'start'
  | 'live'
  | 'captions'
  | 'fullscreen'
  | 'pip'
  | 'help'

export interface KeyInput {
  key: string
  ctrl: boolean
  alt: boolean
  meta: boolean
}

/** The kind of element that has the focus, as far as keys mean something to it. */
export type FocusKind = 'none' | 'button' | 'slider' | 'text'

const CHARACTERS: Record<string, Action> = {
  k: 'play',
  m: 'mute',
  l: 'live',
  c: 'captions',
  f: 'fullscreen',
  p: 'pip',
  '?': 'help',
}

const KEYS: Record<string, Action> = {
  ' ': 'play',
  ArrowUp: 'louder',
  ArrowDown: 'quieter',
  ArrowLeft: 'back',
  ArrowRight: 'forward',
  Home: 'start',
  End: 'live',
}

/**
 * @param focus what has the focus: a text field keeps every key, a slider its arrows, a button its space
 * @param enabled whether the viewer leaves single-character shortcuts on (WCAG 2.1.4); the other keys work anyway
 */
export function actionFor(input: KeyInput, focus: FocusKind, enabled: boolean): Action | null {
  if (input.ctrl || input.alt || input.meta || focus === 'text') return null
  const character = CHARACTERS[input.key.toLowerCase()]
  if (character) return enabled ? character : null
  const action = KEYS[input.key]
  if (!action) return null
  if (focus === 'button' && input.key === ' ') return null
  if (focus === 'slider' && input.key !== ' ') return null
  return action
}

export function focusKind(element: Element | null): FocusKind {
  if (!element || element === document.body) return 'none'
  if (element instanceof HTMLInputElement) {
    if (element.type === 'range') return 'slider'
    return element.type === 'checkbox' || element.type === 'radio' ? 'button' : 'text'
  }
  if (element.matches('textarea, select, [contenteditable], [contenteditable] *')) return 'text'
  return element.matches('button, a[href], summary, [role="button"], [role^="menuitem"]') ? 'button' : 'none'
}
