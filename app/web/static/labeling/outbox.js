/**
 * Answers on their way to the server. An answer is in this browser's storage before it is sent and leaves it only
 * after a 2xx, so a reload, a crash, a lost network or a 500 costs nothing; its key makes sending it twice harmless.
 */

import { ApiError } from "./api.js";
import * as storage from "./storage.js";

const PREFIX = "hone.unsent.";
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;

/**
 * @typedef {object} Entry
 * @property {string} path
 * @property {{showing: string, key: string} & Record<string, any>} body
 * @property {string} viewer whose answer it is: another person may sign in in this browser
 * @property {boolean} aside the server refused it and the labeler went on; it stays in storage and is not sent
 */

/** Events, each with `detail` {entry, result?, error?}: saving, saved, waiting, refused. */
export class Outbox extends EventTarget {
  /** @type {Map<string, Entry>} */ #entries = new Map();
  /** @type {Set<Entry>} */ #refused = new Set();
  /** @type {Set<Entry>} */ #unstored = new Set();
  /** @type {Promise<void> | null} */ #sending = null;
  #failures = 0;
  #timer = 0;

  /**
   * @param {import("./api.js").Post} post
   * @param {string} viewer
   */
  constructor(post, viewer) {
    super();
    this.post = post;
    this.viewer = viewer;
    for (const name of storage.names(PREFIX)) {
      const entry = read(name);
      if (entry?.viewer === viewer) this.#entries.set(entry.body.showing, entry);
    }
  }

  /** True while closing the page would lose something. */
  get atRisk() {
    return this.#unstored.size > 0;
  }

  /** @param {string} showing */
  find(showing) {
    const entry = this.#entries.get(showing);
    return entry?.aside ? undefined : entry;
  }

  /**
   * @param {string} path
   * @param {Omit<Entry["body"], "key">} body
   */
  put(path, body) {
    const entry = { path, body: { ...body, showing: body.showing, key: newKey() }, viewer: this.viewer, aside: false };
    this.#entries.set(body.showing, entry);
    this.#store(entry);
    return this.send();
  }

  /** @param {Entry} entry */
  setAside(entry) {
    entry.aside = true;
    this.#store(entry);
  }

  /** Sends everything that waits, now; resolves after one attempt at each. */
  async send() {
    clearTimeout(this.#timer);
    this.#refused.clear();
    // Somebody may have put an answer here after the pass under way had looked for the last time.
    while (this.#next()) {
      this.#sending ??= this.#pass().finally(() => (this.#sending = null));
      await this.#sending;
      if (this.#failures > 0) return;
    }
  }

  #next() {
    return [...this.#entries.values()].find((entry) => !entry.aside && !this.#refused.has(entry));
  }

  async #pass() {
    for (let entry = this.#next(); entry; entry = this.#next()) {
      this.#tell("saving", { entry });
      try {
        const result = await this.post(entry.path, entry.body);
        this.#failures = 0;
        this.#forget(entry);
        this.#tell("saved", { entry, result });
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.trouble === "refused") {
          this.#refused.add(entry);
          this.#tell("refused", { entry, error });
        } else {
          const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures);
          this.#failures += 1;
          // Everybody loses the server at the same moment; they should not all come back at the same moment.
          this.#timer = window.setTimeout(() => this.send(), wait * (0.75 + Math.random() / 2));
          this.#tell("waiting", { entry, error });
          return;
        }
      }
    }
  }

  /** @param {Entry} entry */
  #store(entry) {
    if (storage.write(PREFIX + entry.body.showing, JSON.stringify(entry))) this.#unstored.delete(entry);
    else this.#unstored.add(entry);
  }

  /** @param {Entry} entry */
  #forget(entry) {
    this.#unstored.delete(entry);
    if (this.#entries.get(entry.body.showing) !== entry) return;
    this.#entries.delete(entry.body.showing);
    storage.forget(PREFIX + entry.body.showing);
  }

  /**
   * @param {string} type
   * @param {{entry: Entry, result?: any, error?: ApiError}} detail
   */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * @param {string} name
 * @returns {Entry | null} null for what is no entry: another program, or an older page, may have written there
 */
function read(name) {
  try {
    const entry = JSON.parse(storage.read(name) ?? "null");
    return typeof entry?.path === "string" && typeof entry.body?.showing === "string" ? entry : null;
  } catch {
    return null;
  }
}

/** randomUUID exists on https and localhost only; an install on a plain http address has getRandomValues. */
function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
