import { randomBytes } from 'node:crypto';

import pg from 'pg';

import { loadConfig } from '../../src/config/index.js';

/**
 * Makes an empty database on the server that the DB_* variables name, for one test; it is dropped afterwards.
 * @returns {Promise<{env: Record<string, string>, config: object, connect: () => Promise<pg.Client>}>}
 */
export async function createDatabase(t) {
  const name = `hello_test_${randomBytes(6).toString('hex')}`;
  const admin = await connect(loadConfig().db);
  await admin.query(`CREATE DATABASE ${name}`);
  t.after(async () => {
    await admin.query(`DROP DATABASE ${name} WITH (FORCE)`);
    await admin.end();
  });
  const env = { ...process.env, DB_NAME: name };
  const config = loadConfig(env).db;
  return {
    env,
    config,
    async connect() {
      const client = await connect(config);
      t.after(() => client.end());
      return client;
    },
  };
}

async function connect({ host, port, database, user, password }) {
  const client = new pg.Client({ host, port, database, user, password });
  client.on('error', () => {}); // a dropped database ends its connections
  try {
    await client.connect();
  } catch (error) {
    throw new Error(`the integration tests need a PostgreSQL server; none at ${host}:${port}, see README.md`, { cause: error });
  }
  return client;
}
