import { useEffect } from 'preact/hooks'
import { parseAddress, parseOptions } from '../player/address'
import { Bridge } from '../player/bridge'
import { PlayerCore } from '../player/core'
import { exposeForTests } from '../player/debug'
import { Player } from '../player/view/player'
import '../player/view/player.css'
import { useStore } from '../store'
import { page } from './page'

const core = new PlayerCore(parseAddress(location.href, 'embed'), parseOptions(location.search))
exposeForTests(core)
if (window.parent !== window) new Bridge(core, window.parent).start()

function Embed() {
  const name = useStore(core.store, (snapshot) => snapshot.event?.name ?? '')
  useEffect(() => {
    document.title = name || 'Boothcast'
  }, [name])
  return (
    <main>
      <h1 class="visually-hidden">{name || 'Boothcast'}</h1>
      <Player core={core} fill />
    </main>
  )
}

core.start()
void page(() => <Embed />)
