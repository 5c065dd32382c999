import { once } from 'node:events';

import { createApp } from '../../src/app.js';
import { loadConfig } from '../../src/config/index.js';
import { createLogger } from '../../src/config/logger.js';
import { createMetrics } from '../../src/middleware/metrics.js';
import { MemoryStore } from './memoryStore.js';

/** Serves the application on a free port over a store in memory, until the test `t` has ended. */
export async function startApp(t, { env = {} } = {}) {
  const log = [];
  const store = new MemoryStore();
  const lifecycle = { state: 'ready' };
  const config = loadConfig(env);
  const logger = createLogger({ level: 'debug', write: (line) => log.push(JSON.parse(line)) });
  const server = createApp({ config, logger, store, lifecycle, metrics: createMetrics() }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, log, store, lifecycle, server, ...client(url) };
}

/** A small HTTP client for JSON. */
export function client(url) {
  const call = async (path, options) => {
    const response = await fetch(url + path, options);
    const text = await response.text();
    const json = response.headers.get('content-type')?.includes('json');
    return { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text };
  };
  return {
    get: (path, headers = {}) => call(path, { headers }),
    post: (path, body) =>
      call(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
  };
}
