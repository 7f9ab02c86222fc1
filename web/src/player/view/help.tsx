import { t } from '../../i18n'
import { Dialog } from '../../ui/dialog'

/** What a key does is decided in `shortcuts.ts`; this lists it. */
function rows(): [keys: string[], what: string][] {
  return [
    [[t('key.space'), 'K'], t('help.play')],
    [['M'], t('help.mute')],
    [['↑', '↓'], t('help.volume')],
    [['←', '→'], t('help.seek')],
    [[t('key.home')], t('help.start')],
    [[t('key.end'), 'L'], t('help.live')],
    [['C'], t('help.captions')],
    [['F'], t('help.fullscreen')],
    [['P'], t('help.pip')],
    [['?'], t('help.help')],
  ]
}

export interface HelpProps {
  open: boolean
  enabled: boolean
  onEnabled(enabled: boolean): void
  onClose(): void
}

export function HelpDialog({ open, enabled, onEnabled, onClose }: HelpProps) {
  return (
    <Dialog title={t('help.title')} closeLabel={t('help.close')} open={open} onClose={onClose}>
      <dl class="keys">
        {rows().map(([keys, what]) => (
          <div class="keys-row" key={what}>
            <dt>
              {keys.map((key, i) => (
                <>
                  {i > 0 && <span class="visually-hidden"> {t('key.or')} </span>}
                  <kbd>{key}</kbd>
                </>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input type="checkbox" checked={enabled} onChange={(event) => onEnabled(event.currentTarget.checked)} />
        {t('help.enabled')}
      </label>
      <p class="field-hint">{t('help.enabled_hint')}</p>
    </Dialog>
  )
}
