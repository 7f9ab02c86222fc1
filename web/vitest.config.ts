import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        test: {
          name: 'pages',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: 'test/e2e/setup.ts',
          // Live media in a real browser: what takes longer than this hangs. Limits of the product are measured in the time
          // that page and server were given to run (`took`), so files may run side by side.
          testTimeout: 120_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
})
