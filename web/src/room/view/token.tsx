/** Managers without a link come in with an API token. It is kept for this tab, and never stands in the address. */
import { useId, useRef, useState } from 'preact/hooks'
import { t } from '../../i18n'
import { LanguageSelect } from '../../ui/language-select'

const KEY = 'boothcast.token'

export function storedToken(): string | null {
  try {
    return sessionStorage.getItem(KEY)
  } catch {
    return null
  }
}

function keep(token: string): void {
  try {
    sessionStorage.setItem(KEY, token)
  } catch {
    // Refused: then the address has to carry it.
    location.assign(`?token=${encodeURIComponent(token)}`)
    return
  }
  location.reload()
}

/** @param refused a token was given, and is not one that may */
export function TokenForm({ refused }: { refused: boolean }) {
  const id = useId()
  const input = useRef<HTMLInputElement>(null)
  const [missing, setMissing] = useState(false)
  const problem = missing ? t('token.missing') : refused ? t('token.refused') : null
  return (
    <div class="join">
      <main class="join-main join-narrow">
        <h1>{t('manage.title')}</h1>
        <section class="card">
          <form
            class="join-form"
            noValidate
            onSubmit={(event) => {
              event.preventDefault()
              const token = input.current?.value.trim() ?? ''
              setMissing(token === '')
              if (token === '') input.current?.focus()
              else keep(token)
            }}
          >
            <div class="field">
              <label for={id}>{t('token.label')}</label>
              <input ref={input} id={id} class="input" type="password" autocomplete="off" aria-invalid={problem !== null} aria-describedby={`${id}-hint`} />
              <span class={problem ? 'field-error' : 'field-hint'} id={`${id}-hint`} role="status">
                {problem ?? t('token.hint')}
              </span>
            </div>
            <button class="button button-primary join-action" type="submit">
              {t('manage.action')}
            </button>
          </form>
        </section>
      </main>
      <footer class="footer">
        <span>Boothcast</span>
        <LanguageSelect />
      </footer>
    </div>
  )
}
