import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createDatabase } from '../support/database.js';
import { startProcess } from '../support/serverProcess.js';

const PATH = '/api/v1/greeting';

/** Resolves when `probe` resolves to true; gives up after a while. */
async function eventually(what, probe) {
  const deadline = AbortSignal.timeout(15_000);
  while (!(await probe())) {
    if (deadline.aborted) assert.fail(`not within 15 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('on SIGTERM a request that waits for the database is answered, then the process ends', async (t) => {
  const database = await createDatabase(t);
  const server = startProcess(t, { ...database.env, DRAIN_DELAY_MS: '300' });
  await server.logged('database ready');
  const api = await server.client();
  const other = await database.connect();
  await other.query('BEGIN');
  await other.query('LOCK TABLE greetings IN ACCESS EXCLUSIVE MODE');
  const answer = api.post(PATH, { name: 'Ada' });
  await eventually('the insert waits for the lock', async () => {
    const { rows } = await other.query("SELECT count(*)::int AS n FROM pg_locks WHERE NOT granted AND relation = 'greetings'::regclass");
    return rows[0].n === 1;
  });

  server.kill('SIGTERM');
  await server.logged('draining');
  const ready = await api.get('/health/ready');
  assert.equal(ready.status, 503);
  assert.equal(ready.body.reason, 'draining');
  await eventually('new connections are refused', () => api.get('/health/live').then(() => false, () => true));

  await other.query('COMMIT');
  assert.equal((await answer).status, 201);
  assert.deepEqual(await server.ended, { code: 0, signal: null });
  assert.equal(server.log.at(-1).clean, true);
});

test('a request that never ends does not keep the process', async (t) => {
  const database = await createDatabase(t);
  const server = startProcess(t, { ...database.env, SHUTDOWN_TIMEOUT_MS: '200' });
  await server.logged('database ready');
  const other = await database.connect();
  await other.query('BEGIN');
  await other.query('LOCK TABLE greetings IN ACCESS EXCLUSIVE MODE');
  const refused = assert.rejects((await server.client()).post(PATH, { name: 'Ada' }));
  await eventually('the insert waits for the lock', async () => {
    const { rows } = await other.query('SELECT count(*)::int AS n FROM pg_locks WHERE NOT granted');
    return rows[0].n === 1;
  });
  server.kill('SIGTERM');
  assert.deepEqual(await server.ended, { code: 1, signal: null });
  await refused;
});

test('a second signal ends the process at once', async (t) => {
  const database = await createDatabase(t);
  const server = startProcess(t, { ...database.env, DRAIN_DELAY_MS: '60000' });
  await server.logged('database ready');
  server.kill('SIGTERM');
  await server.logged('draining');
  server.kill('SIGINT');
  assert.deepEqual(await server.ended, { code: 130, signal: null });
});

test('lost connections are replaced', async (t) => {
  const database = await createDatabase(t);
  const server = startProcess(t, database.env);
  await server.logged('database ready');
  const api = await server.client();
  assert.equal((await api.get('/health/ready')).status, 200);
  const other = await database.connect();
  await other.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()');
  await eventually('ready again', async () => (await api.get('/health/ready')).status === 200);
  assert.equal((await api.post(PATH, { name: 'Ada' })).status, 201);
});

test('without its database the process lives and is not ready', async (t) => {
  const server = startProcess(t, { ...process.env, DB_HOST: '127.0.0.1', DB_PORT: '1' });
  const api = await server.client();
  const { error } = await server.logged('database not ready, trying again');
  assert.equal(error.code, 'ECONNREFUSED');
  assert.equal((await api.get('/health/live')).status, 200);
  const ready = await api.get('/health/ready');
  assert.equal(ready.status, 503);
  assert.equal(ready.body.reason, 'starting');
  server.kill('SIGTERM');
  assert.deepEqual(await server.ended, { code: 0, signal: null });
});

test('a configuration that is wrong ends the process with code 2 and says what is wrong', async (t) => {
  const server = startProcess(t, { ...process.env, DB_PORT: 'five' });
  assert.deepEqual(await server.ended, { code: 2, signal: null });
  assert.match(server.log.at(-1).message, /DB_PORT="five"/);
});
