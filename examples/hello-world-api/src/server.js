import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

import { createApp } from './app.js';
import { createPool } from './config/database.js';
import { ConfigError, loadConfig } from './config/index.js';
import { createLogger } from './config/logger.js';
import { createMetrics } from './middleware/metrics.js';
import { shutDown } from './shutdown.js';
import { createGreetingStore } from './storage/greetings.js';
import { migrate } from './storage/schema.js';

const RETRY_MS = 1000;
const EXIT_USAGE = 2;
const EXIT_INTERRUPTED = 130;

async function main() {
  const config = loadConfig();
  const logger = createLogger({ level: config.logLevel });
  const pool = createPool(config.db, logger);
  const lifecycle = { state: 'starting' };
  const app = createApp({ config, logger, lifecycle, metrics: createMetrics(), store: createGreetingStore(pool) });

  const server = app.listen(config.port);
  await once(server, 'listening');
  logger.info('listening', { port: server.address().port, env: config.env });

  let stopping = false;
  const stop = async (signal) => {
    if (stopping) process.exit(EXIT_INTERRUPTED); // told twice: at once
    stopping = true;
    logger.info('signal received', { signal });
    const clean = await shutDown({ server, lifecycle, release: () => pool.end(), config, logger });
    process.exit(clean ? 0 : 1);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);

  await prepareDatabase(pool, lifecycle, logger);
}

// The process lives while its database is still starting or away; it is only not ready.
async function prepareDatabase(pool, lifecycle, logger) {
  while (lifecycle.state === 'starting') {
    try {
      const applied = await migrate(pool);
      if (lifecycle.state === 'starting') lifecycle.state = 'ready';
      logger.info('database ready', { migrations: applied });
    } catch (error) {
      logger.warn('database not ready, trying again', { error, retryMs: RETRY_MS });
      await delay(RETRY_MS);
    }
  }
}

main().catch((error) => {
  const isUsage = error instanceof ConfigError;
  createLogger().error(isUsage ? error.message : 'could not start', isUsage ? {} : { error });
  process.exit(isUsage ? EXIT_USAGE : 1);
});
