import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createLogger } from '../../src/config/logger.js';

function recording(level) {
  const lines = [];
  const logger = createLogger({ level, write: (line) => lines.push(line), now: () => new Date(0) });
  return { lines, logger };
}

test('each entry is one line of JSON', () => {
  const { lines, logger } = recording('info');
  logger.info('two\nlines', { port: 80 });
  assert.equal(lines.join(''), '{"time":"1970-01-01T00:00:00.000Z","level":"info","message":"two\\nlines","port":80}\n');
});

test('entries below the level are dropped', () => {
  const { lines, logger } = recording('warn');
  logger.debug('no');
  logger.info('no');
  logger.warn('yes');
  logger.error('yes');
  assert.equal(lines.length, 2);
});

test('errors keep their name, message and code', () => {
  const { lines, logger } = recording('info');
  logger.error('failed', { error: Object.assign(new TypeError('bad'), { code: 'E1' }) });
  const { error } = JSON.parse(lines[0]);
  assert.equal(error.name, 'TypeError');
  assert.equal(error.message, 'bad');
  assert.equal(error.code, 'E1');
});
