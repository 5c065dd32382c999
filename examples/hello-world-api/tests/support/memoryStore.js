/** A greeting store that behaves as the one in PostgreSQL, in memory. Set `failure` to make every call fail. */
export class MemoryStore {
  failure = null;
  #greetings = [];

  async ping() {
    await this.#mayFail();
  }

  async add(greeting) {
    await this.#mayFail();
    const kept = { id: String(this.#greetings.length + 1), ...greeting, createdAt: '2025-01-01T00:00:00.000Z' };
    this.#greetings.push(kept);
    return kept;
  }

  async find(id) {
    await this.#mayFail();
    return this.#greetings.find((greeting) => greeting.id === id);
  }

  async list({ limit, before, name }) {
    await this.#mayFail();
    return this.#greetings
      .filter((greeting) => before === undefined || BigInt(greeting.id) < BigInt(before))
      .filter((greeting) => name === undefined || greeting.name.toLowerCase() === name.toLowerCase())
      .reverse()
      .slice(0, limit);
  }

  async #mayFail() {
    await null;
    if (this.failure) throw this.failure;
  }
}
