import { loadMedia } from './media'

/** The test stream is made once, before the files that use it run side by side. */
export default function setup(): void {
  loadMedia()
}
