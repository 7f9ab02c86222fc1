/** Who is in the booth, and the other booths with their lamps. */
import { t } from '../../i18n'
import { useStore } from '../../store'
import { Icon } from '../../ui/icons'
import type { BoothRoom } from '../booth'
import type { Person } from '../protocol'
import { boothOf } from '../state'
import { GradeDot, gradeText, Lamp } from './bits'

function PersonRow({ person, you }: { person: Person; you: boolean }) {
  const what = person.heard ? t('air.on') : person.on_air ? t('people.switched_on') : person.connected ? t('people.ready') : t('people.no_microphone')
  return (
    <li class={`person${person.heard ? ' person-on' : ''}`}>
      <Icon name={person.on_air ? 'microphone' : 'person'} />
      <span class="person-name" dir="auto">
        {person.name}
        {you && <span class="person-you"> ({t('people.you')})</span>}
      </span>
      <span class="person-what">{what}</span>
      <span class="person-grade">
        <GradeDot grade={person.quality.grade} />
        <span class="visually-hidden">{t('people.connection', { grade: gradeText(person.quality.grade) })}</span>
      </span>
    </li>
  )
}

export function PeoplePanel({ room }: { room: BoothRoom }) {
  const { state, you } = useStore(room.core.store)
  const own = room.store.value.info?.booth.language ?? ''
  if (!state) return null
  const colleagues = state.people.filter((one) => one.booth === own && one.role === 'interpreter')
  const managers = state.people.filter((one) => one.role === 'manager')
  const others = state.booths.filter((one) => one.language !== own)
  const booth = boothOf(state.booths, own)
  return (
    <section class="people" aria-labelledby="people-title">
      <h2 class="panel-title" id="people-title">
        <span>{t('people.booth')}</span> <span lang={own}>{booth?.name ?? own}</span>
      </h2>
      <ul class="people-list">
        {colleagues.map((person) => (
          <PersonRow key={person.id} person={person} you={person.id === you} />
        ))}
      </ul>
      {others.length > 0 && (
        <>
          <h3 class="panel-title">{t('people.others')}</h3>
          <ul class="booth-lamps">
            {others.map((other) => (
              <li key={other.language} class={other.on_air ? 'booth-lamp booth-lamp-on' : 'booth-lamp'}>
                <span class="lamp-light" aria-hidden="true" />
                <span lang={other.language}>{other.name}</span>
                <span class="visually-hidden">: {other.on_air ? t('air.on') : t('air.off')}</span>
                {other.slow_down && <span class="booth-slow">{t('people.slow')}</span>}
              </li>
            ))}
          </ul>
        </>
      )}
      <p class="people-managers">
        <Lamp on={false} text={managers.length > 0 ? t('people.managers', { names: managers.map((one) => one.name).join(', ') }) : t('people.no_manager')} />
      </p>
    </section>
  )
}
