import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPool } from '../../src/config/database.js';
import { createLogger } from '../../src/config/logger.js';
import { createGreetingStore } from '../../src/storage/greetings.js';
import { migrate } from '../../src/storage/schema.js';
import { createDatabase } from '../support/database.js';

const quiet = createLogger({ write: () => {} });

async function withPool(config, use) {
  const pool = createPool(config, quiet);
  try {
    return await use(pool);
  } finally {
    await pool.end();
  }
}

test('the schema is made once, however many instances start together', async (t) => {
  const database = await createDatabase(t);
  const applied = await Promise.all([1, 2, 3, 4].map(() => withPool(database.config, migrate)));
  assert.deepEqual(applied.toSorted(), [0, 0, 0, 2]);
  assert.equal(await withPool(database.config, migrate), 0);
});

test('a failed migration leaves nothing behind', async (t) => {
  const database = await createDatabase(t);
  const client = await database.connect();
  await client.query('CREATE TABLE greetings (other text)'); // in the way of the first migration
  await assert.rejects(withPool(database.config, migrate), { code: '42P07' });
  const { rows } = await client.query("SELECT to_regclass('schema_version') AS found");
  assert.equal(rows[0].found, null);
});

test('greetings are kept as they were given', async (t) => {
  const database = await createDatabase(t);
  await withPool(database.config, async (pool) => {
    await migrate(pool);
    const store = createGreetingStore(pool);
    const names = ["'); DROP TABLE greetings; --", '👋 Zoë', 'ẞtraße', '\\', '%_'];
    for (const name of names) await store.add({ name, language: 'en', message: `Hello, ${name}!` });
    const kept = await store.list({ limit: 10 });
    assert.deepEqual(kept.map((greeting) => greeting.name), names.toReversed());
    for (const greeting of kept) assert.deepEqual(await store.find(greeting.id), greeting);
    assert.deepEqual(await store.list({ limit: 10, name: '%' }), []);
    assert.equal(await store.find('9223372036854775807'), undefined);
  });
});
