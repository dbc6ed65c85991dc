// `npm test`: builds, runs every package's tests through turbo (a package whose inputs did not change is not run again), then
// adds up the reports. Arguments go to turbo: `npm test -- --force` runs all of them again.
import { spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { PEERS, presentPeers } from './peers.mjs'

const root = dirname(import.meta.dirname)

interface Report {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly message?: string
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[]
  }[]
}

const run = spawnSync(
  'turbo',
  [
    'run',
    'test',
    '--continue',
    '--concurrency=3', // of two workers or more each, also on two cores: most of a test is waiting
    '--ui=stream',
    '--output-logs=new-only',
    '--log-order=grouped',
    ...process.argv.slice(2),
  ],
  { cwd: root, stdio: 'inherit' },
)
const totals = { passed: 0, failed: 0, skipped: [] as string[] }
for (const file of globSync('{packages,plugins,apps}/*/.reports/tests.json', { cwd: root }).concat(
  globSync('{e2e,bench}/.reports/tests.json', { cwd: root }),
)) {
  const report = JSON.parse(readFileSync(join(root, file), 'utf8')) as Report
  totals.passed += report.numPassedTests
  totals.failed +=
    report.numFailedTests +
    report.testResults.filter(one => one.status === 'failed' && one.assertionResults.length === 0).length
  for (const one of report.testResults)
    totals.skipped.push(
      ...one.assertionResults
        .filter(test => test.status === 'skipped' || test.status === 'pending')
        .map(test => `${file.split('/.reports')[0]}: ${test.fullName}`),
    )
}
if (run.status !== 0 && totals.failed === 0) totals.failed = 1 // a run that broke before it could report is no success
for (const name of totals.skipped) console.log(`skipped  ${name}`)
const missing = Object.keys(PEERS).filter(name => !presentPeers().includes(name))
if (missing.length > 0)
  console.log(
    `missing peers: ${missing.join(', ')}. All of them: apt-get install ${[...new Set(Object.values(PEERS).map(peer => peer.package))].join(' ')}`,
  )
if (process.env.CI && totals.skipped.length > 0) totals.failed += totals.skipped.length // in CI a test that did not run has failed
console.log(
  `${totals.passed} passed, ${totals.failed} failed${totals.skipped.length > 0 ? `, ${totals.skipped.length} skipped` : ''}`,
)
process.exit(totals.failed === 0 && run.status === 0 ? 0 : 1)
