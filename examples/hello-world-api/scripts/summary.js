// Prints a Markdown summary of test results: node scripts/summary.js FOLDER
//
// Each folder inside FOLDER is one job's results, with JUnit files (*.xml) and, if it measured coverage, an lcov.info.
// Exits with 1 if a test failed or if there is not one result: a report of nothing is no good news.

import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Counts the test cases of a JUnit file and names the failed ones. */
export function readJUnit(xml) {
  const result = { tests: 0, failed: [], skipped: 0, seconds: 0 };
  for (const [, attributes, body = ''] of xml.matchAll(/<testcase\b((?:[^>"]|"[^"]*")*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    result.tests += 1;
    result.seconds += Number(attribute(attributes, 'time') ?? 0);
    if (/<(failure|error)\b/.test(body)) result.failed.push(attribute(attributes, 'name') ?? '?');
    else if (/<skipped\b/.test(body)) result.skipped += 1;
  }
  return result;
}

/** Adds up the lines that an lcov file lists (LF) and those that were run (LH). */
export function readLcov(text) {
  const sum = (tag) => [...text.matchAll(new RegExp(`^${tag}:(\\d+)$`, 'gm'))].reduce((total, [, n]) => total + Number(n), 0);
  return { lines: sum('LF'), hit: sum('LH') };
}

/** Collects the results of every folder inside `root`, sorted by name. */
export function collect(root) {
  const jobs = readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return jobs.map(({ name }) => collectJob(name, join(root, name))).sort((a, b) => a.name.localeCompare(b.name));
}

function collectJob(name, folder) {
  const job = { name, tests: 0, failed: [], skipped: 0, seconds: 0, coverage: null };
  for (const file of readdirSync(folder, { recursive: true }).sort()) {
    if (file.endsWith('.xml')) {
      const { tests, failed, skipped, seconds } = readJUnit(readFileSync(join(folder, file), 'utf8'));
      job.tests += tests;
      job.failed.push(...failed);
      job.skipped += skipped;
      job.seconds += seconds;
    } else if (basename(file) === 'lcov.info') {
      const { lines, hit } = readLcov(readFileSync(join(folder, file), 'utf8'));
      job.coverage = lines > 0 ? hit / lines : null;
    }
  }
  return job;
}

/** Shows the results as a Markdown table, and the failed tests by name. */
export function toMarkdown(jobs) {
  const rows = jobs.map(({ name, tests, failed, skipped, seconds, coverage }) => {
    const cells = [name, tests, failed.length, skipped, `${seconds.toFixed(1)} s`, percent(coverage)];
    return `| ${cells.join(' | ')} |`;
  });
  const failures = jobs.flatMap(({ name, failed }) => failed.map((test) => `- ${name}: ${test}`));
  return [
    '| results | tests | failed | skipped | time | line coverage |',
    '| --- | --: | --: | --: | --: | --: |',
    ...rows,
    ...(failures.length > 0 ? ['', 'Failed:', ...failures] : []),
    '',
  ].join('\n');
}

const percent = (share) => (share === null ? '–' : `${(share * 100).toFixed(1)} %`);

function attribute(attributes, name) {
  const value = new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1];
  return value?.replace(/&(lt|gt|quot|apos|#39|amp);/g, (entity) => ENTITIES[entity]);
}

const ENTITIES = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&apos;': "'", '&#39;': "'", '&amp;': '&' };

function main([root]) {
  const jobs = root ? collect(root) : [];
  process.stdout.write(toMarkdown(jobs));
  const good = jobs.length > 0 && jobs.every((job) => job.tests > 0 && job.failed.length === 0);
  process.exitCode = good ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(process.argv.slice(2));
}
