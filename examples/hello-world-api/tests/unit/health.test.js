import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startApp } from '../support/testApp.js';

test('live answers whatever the database does', async (t) => {
  const app = await startApp(t);
  app.store.failure = new Error('down');
  const { status, body } = await app.get('/health/live');
  assert.equal(status, 200);
  assert.deepEqual(body, { status: 'ok' });
});

test('ready answers while the database does', async (t) => {
  const app = await startApp(t);
  assert.equal((await app.get('/health/ready')).status, 200);
  app.store.failure = new Error('connection refused');
  const { status, body } = await app.get('/health/ready');
  assert.equal(status, 503);
  assert.deepEqual(body, { status: 'unavailable', reason: 'database' });
  assert.ok(app.log.some((line) => line.level === 'warn' && line.error?.message === 'connection refused'));
});

for (const state of ['starting', 'draining']) {
  test(`ready says no while ${state}`, async (t) => {
    const app = await startApp(t);
    app.lifecycle.state = state;
    const { status, body } = await app.get('/health/ready');
    assert.equal(status, 503);
    assert.equal(body.reason, state);
  });
}
