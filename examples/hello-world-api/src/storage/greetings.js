const COLUMNS = 'id, name, language, message, created_at';

/**
 * The greetings that are kept in PostgreSQL.
 * @param {Pick<import('pg').Pool, 'query'>} pool
 */
export function createGreetingStore(pool) {
  return {
    /** Resolves if the database answers. */
    async ping() {
      await pool.query('SELECT 1');
    },

    async add({ name, language, message }) {
      const { rows } = await pool.query(
        `INSERT INTO greetings (name, language, message) VALUES ($1, $2, $3) RETURNING ${COLUMNS}`,
        [name, language, message],
      );
      return fromRow(rows[0]);
    },

    /** Resolves to the greeting, or undefined if there is none with this id. */
    async find(id) {
      const { rows } = await pool.query(`SELECT ${COLUMNS} FROM greetings WHERE id = $1`, [id]);
      return rows[0] && fromRow(rows[0]);
    },

    /** Lists greetings, newest first: at most `limit`, older than `before`, of one `name` if given. */
    async list({ limit, before, name }) {
      const { rows } = await pool.query(
        `SELECT ${COLUMNS} FROM greetings
          WHERE ($1::bigint IS NULL OR id < $1) AND ($2::text IS NULL OR lower(name) = lower($2))
          ORDER BY id DESC LIMIT $3`,
        [before ?? null, name ?? null, limit],
      );
      return rows.map(fromRow);
    },
  };
}

// A bigint arrives as text, and leaves as text: JSON's numbers would round it.
function fromRow(row) {
  return {
    id: row.id,
    name: row.name,
    language: row.language,
    message: row.message,
    createdAt: row.created_at.toISOString(),
  };
}
