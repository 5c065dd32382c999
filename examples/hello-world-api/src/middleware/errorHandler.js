import { ApiError } from '../errors.js';

/**
 * Turns whatever a handler threw into a JSON answer. A client sees what an ApiError says, or what Express's own parsers
 * say of a bad request; of anything else, only that it happened and under which request id it was logged.
 */
export function errorHandler(logger) {
  // Express knows an error handler by its four parameters.
  return (error, req, res, next) => {
    const { status, code, message, details } = describe(error);
    if (status >= 500) logger.error('request failed', { requestId: req.id, error });
    if (res.headersSent) {
      next(error); // too late for another answer: Express closes the connection
      return;
    }
    res.status(status).json({ error: { code, message, details, requestId: req.id } });
  };
}

function describe(error) {
  if (error instanceof ApiError) return error;
  if (error.expose && error.status < 500) {
    return { status: error.status, code: error.type?.replaceAll('.', '_') ?? 'bad_request', message: error.message };
  }
  return { status: 500, code: 'internal', message: 'something went wrong on our side' };
}
