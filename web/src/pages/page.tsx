import { render, type ComponentChild } from 'preact'
import { startTranslation } from '../i18n'
import '../ui/base.css'
import '../ui/components.css'
import './pages.css'

/** Draws a page once its texts are there. */
export async function page(draw: () => ComponentChild): Promise<void> {
  await startTranslation()
  const root = document.getElementById('app')
  if (root) render(draw(), root)
}
