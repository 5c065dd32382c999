import { Router } from 'express';

import { invalid, notFound } from '../errors.js';
import { greet, LANGUAGES } from '../greet.js';

const PATH = '/api/v1/greeting';
const MAX_NAME = 100;
const MAX_LIMIT = 100;
const MAX_ID = 2n ** 63n - 1n;

/** POST keeps a greeting, GET lists what was kept or shows one by its id. */
export function greetingRoutes({ store, metrics }) {
  const router = Router();

  router.post(PATH, async (req, res) => {
    const { name, language } = readGreeting(req.body);
    const greeting = await store.add({ name, language, message: greet(name, language) });
    metrics.greetingsStored.inc({ language });
    res.status(201).location(`${PATH}/${greeting.id}`).json(greeting);
  });

  router.get(PATH, async (req, res) => {
    const { limit, before, name } = readPage(req.query);
    // One more than asked for tells whether there is a next page.
    const found = await store.list({ limit: limit + 1, before, name });
    const greetings = found.slice(0, limit);
    res.json({ greetings, next: found.length > limit ? greetings.at(-1).id : null });
  });

  router.get(`${PATH}/:id`, async (req, res) => {
    const greeting = isId(req.params.id) ? await store.find(req.params.id) : undefined;
    if (!greeting) throw notFound(`greeting ${req.params.id}`);
    res.json(greeting);
  });

  return router;
}

function readGreeting(body) {
  const { name, language = 'en' } = body ?? {};
  const details = {};
  if (!isName(name)) details.name = `expected text of 1 to ${MAX_NAME} characters`;
  if (!LANGUAGES.includes(language)) details.language = `expected one of ${LANGUAGES.join(', ')}`;
  if (Object.keys(details).length > 0) throw invalid(details);
  return { name: name.trim(), language };
}

function readPage({ limit = '20', before, name }) {
  const details = {};
  const size = Number(limit);
  if (!Number.isInteger(size) || size < 1 || size > MAX_LIMIT) details.limit = `expected a number from 1 to ${MAX_LIMIT}`;
  if (before !== undefined && !isId(before)) details.before = 'expected the id of a greeting';
  if (name !== undefined && !isName(name)) details.name = `expected text of 1 to ${MAX_NAME} characters`;
  if (Object.keys(details).length > 0) throw invalid(details);
  return { limit: size, before, name: name?.trim() };
}

// PostgreSQL's text holds no NUL; its char_length counts code points, as the spread does.
function isName(value) {
  if (typeof value !== 'string' || value.includes('\0')) return false;
  const { length } = [...value.trim()];
  return length >= 1 && length <= MAX_NAME;
}

function isId(value) {
  return typeof value === 'string' && /^[1-9]\d{0,18}$/.test(value) && BigInt(value) <= MAX_ID;
}
