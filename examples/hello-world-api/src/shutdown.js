import { setTimeout as delay } from 'node:timers/promises';

// A query that hangs must not keep the process: the caller exits after this.
const RELEASE_MS = 2000;

/**
 * Stops a server without dropping a request: says "not ready" while a load balancer takes notice, accepts no new
 * connections, lets what runs finish, then releases the rest.
 * @param {object} parts
 * @param {import('node:http').Server} parts.server
 * @param {{state: string}} parts.lifecycle
 * @param {() => Promise<void>} parts.release closes what the requests used
 * @param {{drainDelayMs: number, shutdownTimeoutMs: number}} parts.config
 * @param {object} parts.logger
 * @returns {Promise<boolean>} whether all requests finished in time
 */
export async function shutDown({ server, lifecycle, release, config, logger }) {
  lifecycle.state = 'draining';
  logger.info('draining', { delayMs: config.drainDelayMs });
  await delay(config.drainDelayMs);
  const closed = new Promise((resolve) => server.close(() => resolve(true)));
  const timer = new AbortController();
  const late = delay(config.shutdownTimeoutMs, false, { signal: timer.signal }).catch(() => false);
  const clean = await Promise.race([closed, late]);
  timer.abort();
  if (!clean) {
    logger.warn('requests still run; closing their connections', { timeoutMs: config.shutdownTimeoutMs });
    server.closeAllConnections();
  }
  await Promise.race([release(), delay(RELEASE_MS)]);
  logger.info('stopped', { clean });
  return clean;
}
