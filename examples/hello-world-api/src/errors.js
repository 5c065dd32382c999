/** An error that a client caused or may know about: its code, message and details are sent to the client. */
export class ApiError extends Error {
  /**
   * @param {number} status the HTTP status
   * @param {string} code a stable word for programs
   * @param {string} message a sentence for people
   * @param {object} [details] what is wrong, field by field
   */
  constructor(status, code, message, details) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

export const notFound = (what) => new ApiError(404, 'not_found', `${what} does not exist`);

export const invalid = (details) => new ApiError(400, 'invalid_request', 'the request is not valid', details);
