const LEVELS = { debug: 10, info: 20, warn: 30, error: 40 };

/**
 * A logger that writes one JSON object a line.
 * @param {{level?: string, write?: (line: string) => void, now?: () => Date}} [options] what is below `level` is dropped
 */
export function createLogger({ level = 'info', write = toStdout, now = () => new Date() } = {}) {
  const threshold = LEVELS[level];
  const at = (name) => (message, fields = {}) => {
    if (LEVELS[name] < threshold) return;
    write(`${JSON.stringify({ time: now().toISOString(), level: name, message, ...plain(fields) })}\n`);
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

function toStdout(line) {
  process.stdout.write(line);
}

// JSON.stringify shows an Error as {}.
function plain(fields) {
  const entries = Object.entries(fields).map(([key, value]) => [
    key,
    value instanceof Error ? { name: value.name, message: value.message, code: value.code, stack: value.stack } : value,
  ]);
  return Object.fromEntries(entries);
}
