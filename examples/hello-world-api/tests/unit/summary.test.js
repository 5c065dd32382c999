import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

import { collect, readJUnit, readLcov, toMarkdown } from '../../scripts/summary.js';

const JUNIT = `<?xml version="1.0" encoding="utf-8"?>
<testsuites>
  <testcase name="a &lt; b" time="0.5" classname="test"/>
  <testsuite name="suite" tests="3">
    <testcase name="x > y" time="1.25" classname="test"/>
    <testcase name="broken" time="0.25" classname="test">
      <failure type="testCodeFailure" message="expected &quot;1&quot;">trace</failure>
    </testcase>
    <testcase name="later" time="0" classname="test"><skipped type="skipped" message="true"/></testcase>
  </testsuite>
</testsuites>`;

const LCOV = 'TN:\nSF:src/a.js\nDA:1,1\nLF:10\nLH:9\nend_of_record\nSF:src/b.js\nLF:30\nLH:21\nend_of_record\n';

function folder(t, files) {
  const root = mkdtempSync(join(tmpdir(), 'summary-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

test('JUnit cases are counted in and outside of suites', () => {
  assert.deepEqual(readJUnit(JUNIT), { tests: 4, failed: ['broken'], skipped: 1, seconds: 2 });
});

test('lcov lines are added up', () => {
  assert.deepEqual(readLcov(LCOV), { lines: 40, hit: 30 });
});

test('each folder is one row', (t) => {
  const root = folder(t, { 'unit/test-results/unit.xml': JUNIT, 'unit/coverage/lcov.info': LCOV, 'b/one.xml': '<testcase name="1" time="2"/>' });
  assert.equal(
    toMarkdown(collect(root)),
    [
      '| results | tests | failed | skipped | time | line coverage |',
      '| --- | --: | --: | --: | --: | --: |',
      '| b | 1 | 0 | 0 | 2.0 s | – |',
      '| unit | 4 | 1 | 1 | 2.0 s | 75.0 % |',
      '',
      'Failed:',
      '- unit: broken',
      '',
    ].join('\n'),
  );
});

test('the exit code tells whether all is well', (t) => {
  const run = (root) => spawnSync(process.execPath, ['scripts/summary.js', root]).status;
  assert.equal(run(folder(t, { 'a/one.xml': '<testcase name="1"/>' })), 0);
  assert.equal(run(folder(t, { 'a/one.xml': JUNIT })), 1);
  assert.equal(run(folder(t, { 'a/one.xml': '<testsuites/>' })), 1);
  assert.equal(run(folder(t, {})), 1);
});
