import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';

import { startApp } from '../support/testApp.js';

const PATH = '/api/v1/greeting';

test('a failure inside is logged in full and told in short', async (t) => {
  const app = await startApp(t);
  app.store.failure = new Error('password=hunter2');
  const { status, headers, body } = await app.get(PATH);
  assert.equal(status, 500);
  assert.doesNotMatch(JSON.stringify(body), /hunter2/);
  assert.equal(body.error.requestId, headers.get('x-request-id'));
  const entry = app.log.find((line) => line.message === 'request failed');
  assert.equal(entry.requestId, body.error.requestId);
  assert.equal(entry.error.message, 'password=hunter2');
});

test('a body that can not be read is the client\'s mistake', async (t) => {
  const app = await startApp(t);
  const broken = await app.post(PATH, '{"name": ');
  assert.equal(broken.status, 400);
  assert.equal(broken.body.error.code, 'entity_parse_failed');
  const large = await app.post(PATH, { name: 'x'.repeat(20_000) });
  assert.equal(large.status, 413);
});

test('unknown paths are 404 in JSON', async (t) => {
  const app = await startApp(t);
  const { status, body } = await app.get('/nowhere');
  assert.equal(status, 404);
  assert.equal(body.error.message, 'GET /nowhere does not exist');
});

test('each request is logged once, without its query, under its id', async (t) => {
  const app = await startApp(t);
  const { headers } = await app.get(`${PATH}?name=secret`, { 'x-request-id': 'abc-1' });
  assert.equal(headers.get('x-request-id'), 'abc-1');
  const lines = app.log.filter((line) => line.message === 'request');
  assert.equal(lines.length, 1);
  const { level, requestId, method, path, status, durationMs } = lines[0];
  assert.deepEqual({ level, requestId, method, path, status }, { level: 'info', requestId: 'abc-1', method: 'GET', path: PATH, status: 200 });
  assert.ok(durationMs >= 0);
  assert.doesNotMatch(JSON.stringify(app.log), /secret/);
});

test('a request id that could forge log lines is replaced', async (t) => {
  const app = await startApp(t);
  const { headers } = await app.get('/health/live', { 'x-request-id': '{"level":"error"}' });
  assert.match(headers.get('x-request-id'), /^[0-9a-f-]{36}$/);
});

test('a client that goes away is logged as aborted', async (t) => {
  const app = await startApp(t);
  let release;
  app.store.list = () => new Promise((resolve) => (release = () => resolve([])));
  const socket = connect(app.server.address().port, '127.0.0.1');
  const arrived = once(app.server, 'request');
  socket.write(`GET ${PATH} HTTP/1.1\r\nHost: x\r\n\r\n`);
  const [, response] = await arrived;
  socket.destroy();
  await once(response, 'close');
  release();
  assert.equal(app.log.find((line) => line.message === 'request').aborted, true);
});

test('metrics count by route pattern and status', async (t) => {
  const app = await startApp(t);
  await app.post(PATH, { name: 'Ada', language: 'es' });
  await app.get(`${PATH}/1`);
  await app.get(`${PATH}/2`);
  await app.get('/random-1');
  const { status, headers, body } = await app.get('/metrics');
  assert.equal(status, 200);
  assert.match(headers.get('content-type'), /^text\/plain/);
  for (const line of [
    'greetings_stored_total{language="es"} 1',
    'http_request_duration_seconds_count{method="POST",route="/api/v1/greeting",status="201"} 1',
    'http_request_duration_seconds_count{method="GET",route="/api/v1/greeting/:id",status="200"} 1',
    'http_request_duration_seconds_count{method="GET",route="/api/v1/greeting/:id",status="404"} 1',
    'http_request_duration_seconds_count{method="GET",route="unmatched",status="404"} 1',
  ]) {
    assert.ok(body.includes(line), line);
  }
  assert.doesNotMatch(body, /random-1/);
});

test('only allowed origins may read answers, and the usual headers protect browsers', async (t) => {
  const app = await startApp(t, { env: { ALLOWED_ORIGINS: 'https://a.example' } });
  const allowed = await app.get('/health/live', { origin: 'https://a.example' });
  assert.equal(allowed.headers.get('access-control-allow-origin'), 'https://a.example');
  const other = await app.get('/health/live', { origin: 'https://b.example' });
  assert.equal(other.headers.get('access-control-allow-origin'), null);
  assert.equal(other.headers.get('x-content-type-options'), 'nosniff');
  assert.equal(other.headers.get('x-powered-by'), null);
});

test('large answers are compressed', async (t) => {
  const app = await startApp(t);
  const { headers } = await app.get('/metrics', { 'accept-encoding': 'gzip' });
  assert.equal(headers.get('content-encoding'), 'gzip');
});

test('connections are not kept while draining', async (t) => {
  const app = await startApp(t);
  app.lifecycle.state = 'draining';
  const { headers } = await app.get('/health/live');
  assert.equal(headers.get('connection'), 'close');
});
