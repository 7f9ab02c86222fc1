import { useEffect } from 'preact/hooks'
import { t, useLanguage } from '../i18n'
import { parseAddress, parseOptions } from '../player/address'
import { PlayerCore } from '../player/core'
import { exposeForTests } from '../player/debug'
import { Player } from '../player/view/player'
import '../player/view/player.css'
import { useStore } from '../store'
import { LanguageSelect } from '../ui/language-select'
import { page } from './page'

const address = parseAddress(location.href, 'watch')
const core = new PlayerCore(address, parseOptions(location.search))
exposeForTests(core)

function Watch() {
  useLanguage()
  const event = useStore(core.store, (snapshot) => snapshot.event)
  const phase = useStore(core.store, (snapshot) => snapshot.phase)
  // While the rest of a broadcast plays out, it is still the broadcast.
  const status = phase === 'draining' ? 'started' : event?.status
  const known = event !== null && phase !== 'gone' && phase !== 'denied'

  useEffect(() => {
    document.title = event?.name ? `${event.name} · Boothcast` : 'Boothcast'
  }, [event?.name])

  return (
    <div class="watch">
      <main class="watch-main">
        <Player core={core} />
        <div class="watch-head">
          <h1 dir="auto">{(known && event.name) || 'Boothcast'}</h1>
          {known && status && <span class={`pill${status === 'started' ? ' pill-live' : ''}`}>{t(`status.${status}`)}</span>}
        </div>
        {known && event.description && (
          <p class="watch-description" dir="auto">
            {event.description}
          </p>
        )}
      </main>
      <footer class="footer">
        <a href={address.root}>Boothcast</a>
        <LanguageSelect />
      </footer>
    </div>
  )
}

core.start()
void page(() => <Watch />)
