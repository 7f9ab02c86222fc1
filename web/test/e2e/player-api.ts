/** What `player.js` puts on a page, as far as the tests use it. */
export interface ApiPlayer {
  ready: Promise<unknown>
  on(name: string, callback: (detail: Record<string, unknown>) => void): ApiPlayer
  getState(): Promise<unknown>
  play(): Promise<unknown>
  destroy(): void
}
