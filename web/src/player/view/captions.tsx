import { useEffect, useRef } from 'preact/hooks'

/** The captions on screen. The cue's own markup is used (its DOM, not its text as HTML, so nothing can be injected). */
export function Captions({ cues, lang, raised }: { cues: readonly VTTCue[]; lang: string; raised: boolean }) {
  const box = useRef<HTMLDivElement>(null)
  useEffect(() => {
    box.current?.replaceChildren(
      ...cues.map((cue) => {
        const line = document.createElement('p')
        line.append(cue.getCueAsHTML())
        return line
      }),
    )
  }, [cues])
  return (
    <div class={`captions${raised ? ' captions-raised' : ''}`} ref={box} lang={lang || undefined} dir="auto" hidden={cues.length === 0} />
  )
}
