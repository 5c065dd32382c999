import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { createLogger } from '../../src/config/logger.js';
import { shutDown } from '../../src/shutdown.js';
import { startApp } from '../support/testApp.js';

const quiet = createLogger({ write: () => {} });
const PATH = '/api/v1/greeting';

/** A request that waits inside the store until it is let go. */
async function requestInFlight(app) {
  let letGo;
  app.store.list = () => new Promise((resolve) => (letGo = () => resolve([])));
  const arrived = once(app.server, 'request');
  const answer = app.get(PATH);
  await arrived;
  while (!letGo) await new Promise(setImmediate);
  return { answer, letGo };
}

test('what runs may finish, what is new is refused', async (t) => {
  const app = await startApp(t);
  const { answer, letGo } = await requestInFlight(app);
  let released = false;
  const stopped = shutDown({
    server: app.server,
    lifecycle: app.lifecycle,
    release: () => Promise.resolve(void (released = true)),
    config: { drainDelayMs: 0, shutdownTimeoutMs: 60_000 },
    logger: quiet,
  });
  while (app.server.listening) await new Promise(setImmediate);
  assert.equal(app.lifecycle.state, 'draining');
  await assert.rejects(app.get('/health/live'));
  assert.equal(released, false);
  letGo();
  assert.equal((await answer).status, 200);
  assert.equal(await stopped, true);
  assert.equal(released, true);
});

test('what does not finish in time is cut off', async (t) => {
  const app = await startApp(t);
  const { answer, letGo } = await requestInFlight(app);
  const refused = assert.rejects(answer);
  const clean = await shutDown({
    server: app.server,
    lifecycle: app.lifecycle,
    release: () => Promise.resolve(),
    config: { drainDelayMs: 0, shutdownTimeoutMs: 20 },
    logger: quiet,
  });
  assert.equal(clean, false);
  await refused;
  letGo();
});
