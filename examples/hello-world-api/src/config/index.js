// Configuration comes from the environment alone (https://12factor.net/config) and is checked as a whole, so that a
// deployment with three mistakes hears of all three at once.

const LOG_LEVELS = ['debug', 'info', 'warn', 'error'];

/** Thrown when the environment can't be a configuration; `problems` lists everything that is wrong with it. */
export class ConfigError extends Error {
  constructor(problems) {
    super(`invalid configuration:\n  ${problems.join('\n  ')}`);
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/**
 * Reads the configuration from environment variables.
 * @param {Record<string, string | undefined>} env
 * @throws {ConfigError}
 */
export function loadConfig(env = process.env) {
  const read = reader(env);
  const production = env.NODE_ENV === 'production';
  const config = {
    env: read.text('NODE_ENV', 'development'),
    port: read.integer('PORT', 3000, 0, 65535),
    logLevel: read.oneOf('LOG_LEVEL', 'info', LOG_LEVELS),
    allowedOrigins: read.list('ALLOWED_ORIGINS', ['http://localhost:3000']),
    // How long a load balancer may need to notice that /health/ready says no.
    drainDelayMs: read.integer('DRAIN_DELAY_MS', production ? 5000 : 0, 0, 60_000),
    shutdownTimeoutMs: read.integer('SHUTDOWN_TIMEOUT_MS', 10_000, 100, 300_000),
    db: {
      host: production ? read.required('DB_HOST') : read.text('DB_HOST', 'localhost'),
      port: read.integer('DB_PORT', 5432, 1, 65535),
      database: read.text('DB_NAME', 'hello'),
      user: read.text('DB_USER', 'postgres'),
      password: read.text('DB_PASSWORD', ''),
      ssl: read.boolean('DB_SSL', false),
      poolSize: read.integer('DB_POOL_SIZE', 10, 1, 200),
    },
  };
  if (read.problems.length > 0) {
    throw new ConfigError(read.problems);
  }
  return Object.freeze(config);
}

function reader(env) {
  const problems = [];
  // An empty variable is one that was not set: that is how a compose file or a manifest leaves it out.
  const value = (name) => (env[name] === '' ? undefined : env[name]);
  const wrong = (name, expected, fallback) => {
    problems.push(`${name}=${JSON.stringify(env[name])}: expected ${expected}`);
    return fallback;
  };
  return {
    problems,
    text: (name, fallback) => value(name) ?? fallback,
    required(name) {
      return value(name) ?? void problems.push(`${name} is required when NODE_ENV is production`);
    },
    integer(name, fallback, least, most) {
      const text = value(name);
      if (text === undefined) return fallback;
      const number = Number(text);
      const valid = /^\d+$/.test(text) && number >= least && number <= most;
      return valid ? number : wrong(name, `a whole number from ${least} to ${most}`, fallback);
    },
    boolean(name, fallback) {
      const text = value(name);
      if (text === undefined) return fallback;
      return ['true', 'false'].includes(text) ? text === 'true' : wrong(name, 'true or false', fallback);
    },
    oneOf(name, fallback, allowed) {
      const text = value(name) ?? fallback;
      return allowed.includes(text) ? text : wrong(name, `one of ${allowed.join(', ')}`, fallback);
    },
    list(name, fallback) {
      const items = value(name)?.split(',').map((item) => item.trim()).filter(Boolean);
      return items?.length ? items : fallback;
    },
  };
}
