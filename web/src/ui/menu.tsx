import { useId, useLayoutEffect, useRef } from 'preact/hooks'
import { Icon, type IconName } from './icons'

export interface MenuItem {
  key: string
  label: string
  checked: boolean
  /** Language of the label, where it is not the page's. */
  lang?: string
}

export interface MenuProps {
  /** Name of the button and the list. */
  label: string
  icon: IconName
  /** What is chosen now, beside the icon. */
  value?: string
  items: readonly MenuItem[]
  open: boolean
  onOpen(open: boolean): void
  onSelect(key: string): void
}

/** How long typed letters are taken together when searching the list. */
const TYPEAHEAD = 600

/**
 * A button with a list of which one is chosen: the menu button pattern of the ARIA Authoring Practices with
 * `menuitemradio`. Arrow keys, Home, End and first letters move; Enter and Space choose; Escape and Tab leave.
 */
export function Menu({ label, icon, value, items, open, onOpen, onSelect }: MenuProps) {
  const id = useId()
  const root = useRef<HTMLDivElement>(null)
  const button = useRef<HTMLButtonElement>(null)
  const list = useRef<HTMLDivElement>(null)
  const typed = useRef({ text: '', at: 0 })
  const openAtEnd = useRef(false)

  const options = () => [...(list.current?.querySelectorAll<HTMLElement>('[role="menuitemradio"]') ?? [])]

  // Before the next key can arrive, the focus is in the list.
  useLayoutEffect(() => {
    if (!open) return
    const all = options()
    const checked = all.find((one) => one.getAttribute('aria-checked') === 'true')
    const first = openAtEnd.current ? all.at(-1) : (checked ?? all[0])
    openAtEnd.current = false
    first?.focus()
    const outside = (event: PointerEvent) => {
      if (!event.composedPath().includes(root.current as EventTarget)) onOpen(false)
    }
    document.addEventListener('pointerdown', outside, true)
    return () => document.removeEventListener('pointerdown', outside, true)
  }, [open])

  const close = (focus: boolean) => {
    if (focus) button.current?.focus()
    onOpen(false)
  }

  const choose = (key: string) => {
    close(true)
    onSelect(key)
  }

  const onButtonKey = (event: KeyboardEvent) => {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return
    event.preventDefault()
    event.stopPropagation()
    openAtEnd.current = event.key === 'ArrowUp'
    onOpen(true)
  }

  const onListKey = (event: KeyboardEvent) => {
    const all = options()
    const at = all.indexOf(document.activeElement as HTMLElement)
    const move = (to: number) => all[(to + all.length) % all.length]?.focus()
    if (event.key === 'ArrowDown') move(at + 1)
    else if (event.key === 'ArrowUp') move(at - 1)
    else if (event.key === 'Home') move(0)
    else if (event.key === 'End') move(-1)
    else if (event.key === 'Escape') close(true)
    else if (event.key === 'Tab') {
      // Leaves the menu in the direction of the key, from the button's place.
      button.current?.focus()
      onOpen(false)
      event.stopPropagation()
      return
    } else if (event.key === 'Enter' || event.key === ' ') all[at]?.click()
    else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const search = typed.current
      search.text = (event.timeStamp - search.at < TYPEAHEAD ? search.text : '') + event.key.toLowerCase()
      search.at = event.timeStamp
      const from = search.text.length > 1 ? at : at + 1
      const order = [...all.slice(Math.max(0, from)), ...all.slice(0, Math.max(0, from))]
      order.find((one) => one.textContent?.trim().toLowerCase().startsWith(search.text))?.focus()
    } else return
    event.preventDefault()
    // The player's shortcuts must not hear the same key.
    event.stopPropagation()
  }

  return (
    <div class="menu" ref={root}>
      <button
        ref={button}
        type="button"
        id={`${id}-button`}
        class="control control-menu"
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? `${id}-list` : undefined}
        aria-label={value ? `${label}: ${value}` : label}
        title={label}
        onClick={() => onOpen(!open)}
        onKeyDown={onButtonKey}
      >
        <Icon name={icon} />
        {value && <span class="control-text">{value}</span>}
      </button>
      {open && (
        <div class="menu-list" id={`${id}-list`} role="menu" aria-labelledby={`${id}-button`} ref={list} onKeyDown={onListKey}>
          <div class="menu-title" aria-hidden="true">
            {label}
          </div>
          {items.map((item) => (
            <div
              key={item.key}
              class="menu-item"
              role="menuitemradio"
              aria-checked={item.checked}
              tabIndex={-1}
              lang={item.lang || undefined}
              onClick={() => choose(item.key)}
            >
              <Icon name="check" />
              {item.label}
            </div>
          ))}
        </div>
      )}
    </div>
  )
}
