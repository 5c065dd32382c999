import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import { client } from './testApp.js';

const DEADLINE_MS = 15_000;

/** Runs src/server.js as a process of its own, on a free port, until the test `t` has ended. */
export function startProcess(t, env) {
  const child = spawn(process.execPath, ['src/server.js'], {
    env: { ...env, PORT: env.PORT ?? '0', LOG_LEVEL: 'debug' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const log = [];
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    log.push(JSON.parse(line)); // throws, and so fails the test, if a line is not JSON
    lines.emit('entry');
  });
  // 'close' comes after the last line; 'exit' may come before it.
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    log,
    ended,
    kill: (signal) => child.kill(signal),

    /** Resolves to the first log entry with this message, past or future. */
    async logged(message) {
      const signal = AbortSignal.timeout(DEADLINE_MS);
      for (;;) {
        const entry = log.find((candidate) => candidate.message === message);
        if (entry) return entry;
        await once(lines, 'entry', { signal });
      }
    },

    /** Resolves, once the server listens, to a client of it. */
    async client() {
      const { port } = await this.logged('listening');
      return client(`http://127.0.0.1:${port}`);
    },
  };
}
