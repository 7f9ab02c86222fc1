import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        test: {
          name: 'pages',
          include: ['test/e2e/**/*.test.ts'],
          // Live media in a real browser: what takes longer than this hangs.
          testTimeout: 120_000,
          hookTimeout: 180_000,
          // One browser at a time: the figures measured are those of a machine that is not overloaded.
          fileParallelism: false,
        },
      },
    ],
  },
})
