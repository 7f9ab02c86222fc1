import { t } from '../../i18n'
import { Dialog } from '../../ui/dialog'

/** What a key does is decided in `shortcuts.ts`; this lists it. */
function rows(): [keys: string[], what: string][] {
  return [
    [['M'], t('keys.on_air')],
    [['C'], t('keys.cough')],
    [['N'], t('keys.microphone')],
    [['X'], t('keys.outgoing')],
    [['H'], t('keys.handover')],
    [['T'], t('keys.take')],
    [['D'], t('keys.decline')],
    [['S'], t('keys.slow_down')],
    [['G'], t('keys.call')],
    [['F'], t('keys.floor')],
    [['R'], t('keys.next_source')],
    [['1–9'], t('keys.source')],
    [['↑', '↓'], t('keys.volume')],
    [['B', `${t('key.shift')} B`], t('keys.bass')],
    [['V', `${t('key.shift')} V`], t('keys.treble')],
    [['L'], t('keys.limiter')],
    [['W'], t('keys.write')],
    [[`${t('key.shift')} W`], t('keys.next_chat')],
    [['P'], t('keys.settings')],
    [['?'], t('help.help')],
  ]
}

export interface BoothHelpProps {
  open: boolean
  enabled: boolean
  onEnabled(enabled: boolean): void
  onClose(): void
}

export function BoothHelp({ open, enabled, onEnabled, onClose }: BoothHelpProps) {
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
