import { mergeConfig } from 'vitest/config'
import shared from '../vitest.shared.ts'

// Whole programs with real peers: they are slow to start on a small machine. Each file has its own ports and folders, so that
// two at once disturb each other no more than the other packages' tests do; more would only share the cores.
export default mergeConfig(shared, { test: { testTimeout: 90_000, hookTimeout: 90_000, maxWorkers: 2 } })
