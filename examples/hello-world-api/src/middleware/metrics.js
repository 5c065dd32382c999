import client from 'prom-client';

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** Metrics in a registry of their own, so that two apps in one process (as in tests) don't share counts. */
export function createMetrics() {
  const registry = new client.Registry();
  client.collectDefaultMetrics({ register: registry });
  const labelNames = ['method', 'route', 'status'];
  const duration = new client.Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time from the request to the end of its response',
    labelNames,
    buckets: SECONDS,
    registers: [registry],
  });
  const greetingsStored = new client.Counter({
    name: 'greetings_stored_total',
    help: 'Greetings written to the database',
    labelNames: ['language'],
    registers: [registry],
  });

  function middleware(req, res, next) {
    const stop = duration.startTimer();
    res.on('close', () => stop({ method: req.method, route: routeOf(req), status: res.statusCode }));
    next();
  }

  async function endpoint(req, res) {
    res.type(registry.contentType).send(await registry.metrics());
  }

  return { registry, middleware, endpoint, greetingsStored };
}

// The route's pattern, not the path: a label value for each id would grow without limit. The routers are mounted at the
// root and so hold whole patterns; where they are mounted is forgotten (req.baseUrl) by the time an error is answered.
function routeOf(req) {
  return req.route?.path ?? 'unmatched';
}
