import assert from 'node:assert/strict';
import { test } from 'node:test';

import { greet, LANGUAGES } from '../../src/greet.js';
import { startApp } from '../support/testApp.js';

const PATH = '/api/v1/greeting';

test('every language greets by name', () => {
  for (const language of LANGUAGES) assert.match(greet('Ada', language), /Ada/);
});

test('a greeting is kept and can be fetched where Location says', async (t) => {
  const app = await startApp(t);
  const created = await app.post(PATH, { name: '  Ada ', language: 'fr' });
  assert.equal(created.status, 201);
  assert.equal(created.body.message, 'Bonjour, Ada !');
  const fetched = await app.get(created.headers.get('location'));
  assert.equal(fetched.status, 200);
  assert.deepEqual(fetched.body, created.body);
});

test('the language is English unless given', async (t) => {
  const app = await startApp(t);
  const { body } = await app.post(PATH, { name: 'Grace' });
  assert.equal(body.message, 'Hello, Grace!');
});

test('invalid greetings are refused, field by field', async (t) => {
  const app = await startApp(t);
  const cases = [
    [{}, ['name']],
    [{ name: '   ' }, ['name']],
    [{ name: 7 }, ['name']],
    [{ name: 'a\0b' }, ['name']],
    [{ name: 'x'.repeat(101) }, ['name']],
    [{ name: '', language: 'tlh' }, ['name', 'language']],
    [{ name: 'Ada', language: 'toString' }, ['language']],
    [[], ['name']],
  ];
  for (const [body, fields] of cases) {
    const answer = await app.post(PATH, body);
    assert.equal(answer.status, 400, JSON.stringify(body));
    assert.equal(answer.body.error.code, 'invalid_request');
    assert.deepEqual(Object.keys(answer.body.error.details), fields);
  }
});

test('a name of 100 emoji is 100 characters long', async (t) => {
  const app = await startApp(t);
  assert.equal((await app.post(PATH, { name: '👋'.repeat(100) })).status, 201);
});

test('lists are paged, newest first', async (t) => {
  const app = await startApp(t);
  for (const name of ['a', 'b', 'c', 'd', 'e']) await app.post(PATH, { name });
  const names = [];
  let query = '?limit=2';
  let pages = 0;
  while (query) {
    const { body } = await app.get(PATH + query);
    names.push(...body.greetings.map((greeting) => greeting.name));
    query = body.next && `?limit=2&before=${body.next}`;
    pages += 1;
  }
  assert.deepEqual(names, ['e', 'd', 'c', 'b', 'a']);
  assert.equal(pages, 3);
});

test('a list can be of one name', async (t) => {
  const app = await startApp(t);
  for (const name of ['Ada', 'Bob', 'ada']) await app.post(PATH, { name });
  const { body } = await app.get(`${PATH}?name=ADA`);
  assert.deepEqual(body.greetings.map((greeting) => greeting.name), ['ada', 'Ada']);
  assert.equal(body.next, null);
});

test('invalid pages are refused', async (t) => {
  const app = await startApp(t);
  for (const query of ['?limit=0', '?limit=101', '?limit=ten', '?before=-1', '?before=9223372036854775808', '?name=']) {
    assert.equal((await app.get(PATH + query)).status, 400, query);
  }
});

test('what does not exist is 404, also if the id is no id', async (t) => {
  const app = await startApp(t);
  for (const id of ['1', '0', 'abc', '99999999999999999999', '1%27%20OR%201=1']) {
    const { status, body } = await app.get(`${PATH}/${id}`);
    assert.equal(status, 404, id);
    assert.equal(body.error.code, 'not_found');
  }
});
