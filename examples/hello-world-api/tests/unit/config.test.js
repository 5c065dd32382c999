import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ConfigError, loadConfig } from '../../src/config/index.js';

test('an empty environment is a development configuration', () => {
  const config = loadConfig({});
  assert.equal(config.env, 'development');
  assert.equal(config.port, 3000);
  assert.equal(config.drainDelayMs, 0);
  assert.equal(config.db.host, 'localhost');
});

test('variables override the defaults, empty ones do not', () => {
  const config = loadConfig({ PORT: '0', DB_SSL: 'true', DB_NAME: '', ALLOWED_ORIGINS: 'https://a.example, https://b.example' });
  assert.equal(config.port, 0);
  assert.equal(config.db.ssl, true);
  assert.equal(config.db.database, 'hello');
  assert.deepEqual(config.allowedOrigins, ['https://a.example', 'https://b.example']);
});

test('all mistakes are reported at once, each by name', () => {
  const env = { NODE_ENV: 'production', PORT: '70000', DB_SSL: 'maybe', LOG_LEVEL: 'loud', DB_POOL_SIZE: '-1' };
  assert.throws(
    () => loadConfig(env),
    (error) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.problems.length, 5);
      for (const name of ['PORT', 'DB_SSL', 'LOG_LEVEL', 'DB_POOL_SIZE', 'DB_HOST']) assert.match(error.message, new RegExp(name));
      return true;
    },
  );
});

test('numbers are whole decimal numbers', () => {
  for (const text of ['1e3', '0x10', ' 80', '3000.5', 'port']) {
    assert.throws(() => loadConfig({ PORT: text }), ConfigError, text);
  }
});
