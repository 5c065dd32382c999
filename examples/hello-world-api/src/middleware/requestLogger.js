import { randomUUID } from 'node:crypto';

const VALID_ID = /^[\w.-]{1,64}$/;

/**
 * Gives each request an id (the caller's X-Request-Id if that is a sane one) and logs one line when it has ended.
 * Probes and scrapes are logged at debug, since they would drown the rest.
 */
export function requestLogger(logger, clock = () => performance.now()) {
  return (req, res, next) => {
    const began = clock();
    const given = req.get('x-request-id');
    req.id = VALID_ID.test(given ?? '') ? given : randomUUID();
    res.set('X-Request-Id', req.id);
    res.on('close', () => {
      const line = {
        requestId: req.id,
        method: req.method,
        path: req.originalUrl.split('?', 1)[0],
        status: res.statusCode,
        durationMs: Math.round((clock() - began) * 100) / 100,
        ...(res.writableFinished ? {} : { aborted: true }),
      };
      logger[levelOf(line)]('request', line);
    });
    next();
  };
}

function levelOf({ path, status }) {
  if (status >= 500 && !path.startsWith('/health/')) return 'error';
  return path === '/metrics' || path.startsWith('/health/') ? 'debug' : 'info';
}
