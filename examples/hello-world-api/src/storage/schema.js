// Each entry brings the schema from its index to the next. Entries are appended, never edited.
const MIGRATIONS = [
  `CREATE TABLE greetings (
     id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
     name       text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
     language   text NOT NULL,
     message    text NOT NULL,
     created_at timestamptz NOT NULL DEFAULT now()
   )`,
  'CREATE INDEX greetings_name ON greetings (lower(name), id DESC)',
];

// Any number will do, as long as all instances of this service use the same.
const LOCK = 7_230_421;

/**
 * Brings the schema up to date, in one transaction. Instances that start together wait for each other.
 * @param {import('pg').Pool} pool
 * @returns {Promise<number>} how many migrations were applied
 */
export async function migrate(pool) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
    await client.query('CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL)');
    const { rows } = await client.query('SELECT max(version) AS version FROM schema_version');
    const pending = MIGRATIONS.slice(rows[0].version ?? 0);
    for (const statement of pending) {
      await client.query(statement);
    }
    if (pending.length > 0) {
      await client.query('INSERT INTO schema_version (version) VALUES ($1)', [MIGRATIONS.length]);
    }
    await client.query('COMMIT');
    client.release();
    return pending.length;
  } catch (error) {
    // Closing the connection rolls back, also when the connection is what failed.
    client.release(true);
    throw error;
  }
}
