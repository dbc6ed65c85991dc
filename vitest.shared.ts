// One configuration for every package's tests. Reports are kept so that a cached run still counts.
import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Mocks of a file that are looked at when all of it has run: that nothing was thrown, that nothing was printed.
    clearMocks: false,
    testTimeout: 20_000,
    hookTimeout: 30_000,
    // Also on two cores, where it would be one: most of a test is waiting for processes, sockets and clocks.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    reporters: ['default', ['json', { outputFile: '.reports/tests.json' }]],
  },
})
