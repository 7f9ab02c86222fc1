import { useLanguage } from '../i18n'
import { parseRoom } from '../room/address'
import { exposeProbe } from '../room/debug'
import { Probe } from '../room/probe'
import { ProbePage } from '../room/view/probe-view'
import '../room/view/room.css'
import '../room/view/probe.css'
import { page } from './page'

const probe = new Probe(parseRoom(location.href, 'test'))
exposeProbe(probe)

function Page() {
  useLanguage()
  return <ProbePage probe={probe} />
}

probe.start()
void page(() => <Page />)
