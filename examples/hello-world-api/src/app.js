import compression from 'compression';
import cors from 'cors';
import express from 'express';
import helmet from 'helmet';

import { notFound } from './errors.js';
import { errorHandler } from './middleware/errorHandler.js';
import { requestLogger } from './middleware/requestLogger.js';
import { greetingRoutes } from './routes/greeting.js';
import { healthRoutes } from './routes/health.js';

/**
 * Puts the application together. Everything that reaches outside is passed in.
 * @param {object} parts
 * @param {{allowedOrigins: string[]}} parts.config
 * @param {ReturnType<import('./config/logger.js').createLogger>} parts.logger
 * @param {ReturnType<import('./middleware/metrics.js').createMetrics>} parts.metrics
 * @param {ReturnType<import('./storage/greetings.js').createGreetingStore>} parts.store
 * @param {{state: 'starting' | 'ready' | 'draining'}} parts.lifecycle
 */
export function createApp({ config, logger, metrics, store, lifecycle }) {
  const app = express();
  app.use(requestLogger(logger));
  app.use(metrics.middleware);
  app.use(drain(lifecycle));
  app.use(helmet());
  app.use(cors({ origin: config.allowedOrigins }));
  app.use(compression());
  app.use(express.json({ limit: '10kb' }));

  app.use(healthRoutes({ store, lifecycle, logger }));
  app.use(greetingRoutes({ store, metrics }));
  app.get('/metrics', metrics.endpoint);
  app.use((req) => {
    throw notFound(`${req.method} ${req.path}`);
  });
  app.use(errorHandler(logger));
  return app;
}

// A client that keeps its connection open would keep a stopping server open as well: new answers say that it ends here,
// and a connection whose request was already running is ended after its answer.
function drain(lifecycle) {
  return (req, res, next) => {
    if (lifecycle.state === 'draining') res.set('Connection', 'close');
    res.on('close', () => {
      if (lifecycle.state === 'draining') req.socket.end();
    });
    next();
  };
}
