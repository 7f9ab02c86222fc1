/** Times as people read them; everything here is pure. */

/** `1:02:03`, `2:03`; never negative. */
export function clockText(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds))
  const hours = Math.floor(whole / 3600)
  const minutes = Math.floor((whole % 3600) / 60)
  const rest = String(whole % 60).padStart(2, '0')
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`
}

export interface CountdownPart {
  unit: 'day' | 'hour' | 'minute' | 'second'
  value: number
}

/** Time left in days, hours, minutes and seconds; leading zero units are left out, but for minutes and seconds. */
export function countdownParts(milliseconds: number): CountdownPart[] {
  let rest = Math.max(0, Math.ceil(milliseconds / 1000))
  const parts: CountdownPart[] = []
  for (const [unit, size] of [['day', 86_400], ['hour', 3600], ['minute', 60], ['second', 1]] as const) {
    const value = Math.floor(rest / size)
    rest -= value * size
    if (value > 0 || parts.length > 0 || unit === 'minute' || unit === 'second') parts.push({ unit, value })
  }
  return parts
}

/** "2 minutes 5 seconds" in the given language, for screen readers. */
export function durationText(seconds: number, language: string): string {
  const parts = countdownParts(seconds * 1000).filter((part) => part.value > 0)
  const shown = parts.length > 0 ? parts : [{ unit: 'second' as const, value: 0 }]
  return shown
    .map(({ unit, value }) => new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'long' }).format(value))
    .join(' ')
}
