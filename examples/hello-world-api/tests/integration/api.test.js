import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createDatabase } from '../support/database.js';
import { startProcess } from '../support/serverProcess.js';

const PATH = '/api/v1/greeting';

test('a greeting outlives the process that kept it', async (t) => {
  const database = await createDatabase(t);
  const first = startProcess(t, database.env);
  await first.logged('database ready');
  const created = await (await first.client()).post(PATH, { name: 'Ada', language: 'de' });
  assert.equal(created.status, 201);
  first.kill('SIGTERM');
  assert.deepEqual(await first.ended, { code: 0, signal: null });

  const second = startProcess(t, database.env);
  assert.equal((await second.logged('database ready')).migrations, 0);
  const { status, body } = await (await second.client()).get(`${PATH}/${created.body.id}`);
  assert.equal(status, 200);
  assert.deepEqual(body, created.body);
});

test('parallel writes are all kept, each once', async (t) => {
  const database = await createDatabase(t);
  const server = startProcess(t, database.env);
  await server.logged('database ready');
  const api = await server.client();
  const names = Array.from({ length: 50 }, (_, n) => `person-${n}`);
  const answers = await Promise.all(names.map((name) => api.post(PATH, { name })));
  assert.ok(answers.every((answer) => answer.status === 201));

  const listed = (await api.get(`${PATH}?limit=100`)).body.greetings;
  assert.deepEqual(listed.map((greeting) => greeting.name).toSorted(), names.toSorted());
  const ids = listed.map((greeting) => BigInt(greeting.id));
  assert.ok(ids.every((id, n) => n === 0 || id < ids[n - 1]), 'newest first');
  assert.match((await api.get('/metrics')).body, /greetings_stored_total\{language="en"\} 50/);
});
