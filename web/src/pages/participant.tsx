import { useLanguage } from '../i18n'
import { parseRoom } from '../room/address'
import { exposeParticipant } from '../room/debug'
import { Participant } from '../room/participant'
import { ParticipantPage } from '../room/view/participant-view'
import '../room/view/room.css'
import '../room/view/participant.css'
import { page } from './page'

const room = new Participant(parseRoom(location.href, 'participant'))
exposeParticipant(room)

function Page() {
  useLanguage()
  return <ParticipantPage room={room} />
}

room.start()
void page(() => <Page />)
