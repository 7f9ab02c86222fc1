import { useEffect } from 'preact/hooks'
import { useLanguage } from '../i18n'
import { parseRoom } from '../room/address'
import { exposeManage } from '../room/debug'
import { ManageRoom } from '../room/manage'
import { Manage, ManageJoin } from '../room/view/manage-view'
import '../room/view/room.css'
import '../room/view/manage.css'
import { FailedLink } from '../room/view/status'
import { storedToken, TokenForm } from '../room/view/token'
import { useStore } from '../store'
import { page } from './page'

const token = storedToken()
const room = new ManageRoom(parseRoom(location.href, 'manage', token))
const hasLink = new URLSearchParams(location.search).has('link')
exposeManage(room)

function ManagePage() {
  useLanguage()
  const { stage, info, failure } = useStore(room.store)
  useEffect(() => {
    if (info && stage === 'join') document.title = `${info.event.name} · Boothcast`
  }, [info, stage])
  const refused = failure === 'unauthorised' || failure === 'revoked'
  if (stage === 'loading' && refused && !hasLink) return <TokenForm refused={token !== null} />
  if (stage === 'loading') return <FailedLink failure={failure} />
  return stage === 'join' ? <ManageJoin room={room} /> : <Manage room={room} />
}

room.start()
void page(() => <ManagePage />)
