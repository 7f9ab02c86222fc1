/** Choice of microphone and headphones, with the browser's own processing: before joining, and in the settings. */
import { useEffect, useId, useState } from 'preact/hooks'
import { t } from '../../i18n'
import { useStore } from '../../store'
import type { BoothRoom } from '../booth'
import { canChooseOutput, listDevices, type Device, type Devices } from '../devices'
import type { RoomPreferences } from '../prefs'
import { LevelMeter } from './bits'

function useDevices(open: boolean): Devices {
  const [devices, setDevices] = useState<Devices>({ microphones: [], headphones: [] })
  useEffect(() => {
    const look = () => void listDevices().then(setDevices)
    look()
    navigator.mediaDevices?.addEventListener('devicechange', look)
    return () => navigator.mediaDevices?.removeEventListener('devicechange', look)
    // Names are told only once a microphone was allowed.
  }, [open])
  return devices
}

interface PickProps {
  label: string
  value: string
  devices: readonly Device[]
  onPick(id: string): void
}

function Pick({ label, value, devices, onPick }: PickProps) {
  const id = useId()
  const known = value === '' || devices.some((device) => device.id === value)
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} class="select select-wide" value={known ? value : ''} onChange={(event) => onPick(event.currentTarget.value)}>
        <option value="">{t('device.default')}</option>
        {devices.map((device) => (
          <option key={device.id} value={device.id}>
            {device.label}
          </option>
        ))}
      </select>
    </div>
  )
}

/** A short tone in the chosen headphones: quiet, with soft ends. */
function testTone(context: AudioContext): void {
  const at = context.currentTime
  const gain = new GainNode(context, { gain: 0 })
  const tone = new OscillatorNode(context, { frequency: 660 })
  tone.connect(gain).connect(context.destination)
  gain.gain.setTargetAtTime(0.12, at, 0.02)
  gain.gain.setTargetAtTime(0, at + 0.5, 0.05)
  tone.start(at)
  tone.stop(at + 1)
}

const SWITCHES = ['echoCancellation', 'noiseSuppression', 'autoGain'] as const

export function DeviceFields({ room }: { room: BoothRoom }) {
  const { state } = useStore(room.microphone.store)
  const [chosen, setChosen] = useState<RoomPreferences>({ ...room.preferences.value })
  const devices = useDevices(state === 'open')
  const set = (fields: Partial<RoomPreferences>) => {
    room.setDevices(fields)
    setChosen({ ...room.preferences.value })
  }
  const labels = { echoCancellation: t('device.echo'), noiseSuppression: t('device.noise'), autoGain: t('device.gain') }
  return (
    <div class="devices">
      <Pick label={t('device.microphone')} value={chosen.microphone} devices={devices.microphones} onPick={(microphone) => set({ microphone })} />
      <div class="devices-meter">
        <LevelMeter label={t('device.microphone_level')} read={() => room.microphoneMeter?.read() ?? -60} />
      </div>
      {canChooseOutput() && (
        <Pick label={t('device.headphones')} value={chosen.headphones} devices={devices.headphones} onPick={(headphones) => set({ headphones })} />
      )}
      <div>
        <button type="button" class="button" onClick={() => testTone(room.openGraph().context)}>
          {t('device.test_tone')}
        </button>
      </div>
      <details class="devices-more">
        <summary>{t('device.processing')}</summary>
        <p class="field-hint">{t('device.processing_hint')}</p>
        {SWITCHES.map((name) => (
          <label class="check" key={name}>
            <input type="checkbox" checked={chosen[name]} onChange={(event) => set({ [name]: event.currentTarget.checked })} />
            {labels[name]}
          </label>
        ))}
      </details>
    </div>
  )
}
