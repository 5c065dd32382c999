import pg from 'pg';

const CONNECT_TIMEOUT_MS = 3000;

/**
 * Opens a pool of connections; none is made before the first query.
 * @param {ReturnType<import('./index.js').loadConfig>['db']} db
 * @param {{error: Function}} logger hears of idle connections that broke, which would end the process otherwise
 */
export function createPool(db, logger) {
  const pool = new pg.Pool({
    host: db.host,
    port: db.port,
    database: db.database,
    user: db.user,
    password: db.password,
    ssl: db.ssl,
    max: db.poolSize,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: 'hello-world-api',
  });
  pool.on('error', (error) => logger.error('idle database connection broke', { error }));
  return pool;
}
