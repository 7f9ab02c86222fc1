import { useEffect } from 'preact/hooks'
import { useLanguage } from '../i18n'
import { parseRoom } from '../room/address'
import { BoothRoom } from '../room/booth'
import { exposeBooth } from '../room/debug'
import { BoothJoin } from '../room/view/join'
import { Booth } from '../room/view/booth-view'
import '../room/view/room.css'
import '../room/view/booth.css'
import { FailedLink } from '../room/view/status'
import { useStore } from '../store'
import { page } from './page'

const room = new BoothRoom(parseRoom(location.href, 'booth'))
exposeBooth(room)

function BoothPage() {
  useLanguage()
  const { stage, info, failure } = useStore(room.store)
  useEffect(() => {
    if (info && stage !== 'room') document.title = `${info.booth.name}: ${info.event.name} · Boothcast`
  }, [info, stage])
  if (stage === 'loading') return <FailedLink failure={failure} />
  return stage === 'join' ? <BoothJoin room={room} /> : <Booth room={room} />
}

room.start()
void page(() => <BoothPage />)
