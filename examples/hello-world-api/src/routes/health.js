import { Router } from 'express';

/**
 * Live: the process works; a restart would not help. Ready: it may be sent requests, since the database answers, the
 * schema is in place and nobody has told it to stop.
 */
export function healthRoutes({ store, lifecycle, logger }) {
  const router = Router();

  router.get('/health/live', (req, res) => {
    res.json({ status: 'ok' });
  });

  router.get('/health/ready', async (req, res) => {
    if (lifecycle.state !== 'ready') {
      res.status(503).json({ status: 'unavailable', reason: lifecycle.state });
      return;
    }
    try {
      await store.ping();
      res.json({ status: 'ok' });
    } catch (error) {
      logger.warn('database does not answer', { error });
      res.status(503).json({ status: 'unavailable', reason: 'database' });
    }
  });

  return router;
}
