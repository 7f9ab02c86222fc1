import { Icon } from './icons'

/** A message that asks for no answer. The caller puts it in a live region, so that it is read out when it appears. */
export function Banner({ label, text, closeLabel, onClose }: { label: string; text: string; closeLabel: string; onClose(): void }) {
  return (
    <div class="banner">
      <p class="banner-text" dir="auto">
        <span class="visually-hidden">{label}: </span>
        {text}
      </p>
      <button type="button" class="banner-close" aria-label={closeLabel} title={closeLabel} onClick={onClose}>
        <Icon name="close" />
      </button>
    </div>
  )
}
