/** Conversations as tabs (the ARIA Authoring Practices' pattern, chosen with arrows), a log, and a field to write in. */
import type { RefObject } from 'preact'
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { locale, t } from '../../i18n'
import { useStore } from '../../store'
import { Icon } from '../../ui/icons'
import { MAX_CHAT_TEXT, type RoomCore } from '../core'
import { boothOfThread, timeOfDay, type Thread } from '../state'

export interface ChatProps {
  core: RoomCore
  /** `name` is said after the label, where that is short. */
  threads: readonly { key: Thread; label: string; name: string }[]
  /** The field, so that a shortcut can go there. */
  field: RefObject<HTMLTextAreaElement | null>
}

export function Chat({ core, threads, field }: ChatProps) {
  const id = useId()
  const { chat, unread, thread, socket, clockOffset, state } = useStore(core.store)
  const tabs = useRef<HTMLDivElement>(null)
  const log = useRef<HTMLDivElement>(null)
  const [text, setText] = useState('')
  const open = threads.find((one) => one.key === thread)
  const to = open ? [open.label, open.name].filter(Boolean).join(' ') : ''
  const lines = chat.filter((line) => line.thread === thread)

  useEffect(() => {
    // The newest line shows unless one reads further up.
    const element = log.current
    if (element) element.scrollTop = element.scrollHeight
  }, [lines.length, thread])

  const send = () => {
    if (core.chat(text)) setText('')
  }

  const onTabKey = (event: KeyboardEvent) => {
    const at = threads.findIndex((one) => one.key === thread)
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: threads.length - 1 }[event.key]
    if (to === undefined) return
    event.preventDefault()
    event.stopPropagation()
    const next = threads[(to + threads.length) % threads.length]
    if (!next) return
    core.openThread(next.key)
    tabs.current?.querySelector<HTMLElement>(`[data-thread="${CSS.escape(next.key)}"]`)?.focus()
  }

  /** Where a line of this conversation came from, where that is not plain. */
  const origin = (sender: string | null, role: string): string => {
    if (role === 'manager') return t('chat.manager')
    const plain = sender === null || thread === 'booth' || boothOfThread(thread) !== null
    return plain ? '' : (state?.booths.find((one) => one.language === sender)?.name ?? '')
  }

  return (
    <section class="chat" aria-labelledby={`${id}-title`}>
      <h2 class="panel-title" id={`${id}-title`}>
        {t('chat.title')}
      </h2>
      <div class="tabs" role="tablist" aria-label={t('chat.threads')} ref={tabs} onKeyDown={onTabKey}>
        {threads.map(({ key, label, name }) => {
          const count = unread[key] ?? 0
          return (
            <button
              key={key}
              type="button"
              role="tab"
              class="tab"
              id={`${id}-tab-${key}`}
              data-thread={key}
              aria-selected={key === thread}
              aria-controls={`${id}-panel`}
              tabIndex={key === thread ? 0 : -1}
              onClick={() => core.openThread(key)}
            >
              {label}
              {name !== '' && <span class="visually-hidden"> {name}</span>}
              {count > 0 && (
                <span class="tab-count">
                  <span class="visually-hidden">{t('chat.unread', { count })}</span>
                  <span aria-hidden="true">{count}</span>
                </span>
              )}
            </button>
          )
        })}
      </div>
      <div class="chat-panel" role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-tab-${thread}`}>
        <div class="chat-log" role="log" aria-label={t('chat.log')} tabIndex={0} ref={log}>
          {lines.length === 0 && <p class="chat-empty">{t('chat.empty')}</p>}
          {lines.map((line) => (
            <div class={`chat-line${line.mine ? ' chat-mine' : ''}`} key={line.key}>
              <p class="chat-from">
                <strong dir="auto">{line.mine ? t('chat.you') : line.name}</strong>
                {!line.mine && origin(line.sender, line.role) && <span> · {origin(line.sender, line.role)}</span>}
                <time dateTime={line.at}>{timeOfDay(Date.parse(line.at) || Date.now() + clockOffset, locale())}</time>
              </p>
              <p class="chat-text" dir="auto">
                {line.text}
              </p>
            </div>
          ))}
        </div>
        <form
          class="chat-form"
          onSubmit={(event) => {
            event.preventDefault()
            send()
          }}
        >
          <label class="visually-hidden" for={`${id}-field`}>
            {t('chat.field', { to })}
          </label>
          <textarea
            id={`${id}-field`}
            ref={field}
            class="input chat-field"
            rows={1}
            maxLength={MAX_CHAT_TEXT}
            placeholder={t('chat.placeholder')}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
                event.preventDefault()
                send()
              } else if (event.key === 'Escape') event.currentTarget.blur()
            }}
          />
          <button class="button chat-send" type="submit" disabled={socket !== 'open'} aria-label={t('chat.send')} title={t('chat.send')}>
            <Icon name="send" />
          </button>
        </form>
      </div>
    </section>
  )
}
