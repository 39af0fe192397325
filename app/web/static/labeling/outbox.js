/**
 * What is on its way to the server. It is in this browser's storage before it is sent and leaves it only after a 2xx,
 * so a reload, a crash, a lost network or a 500 costs nothing; its key makes sending it twice harmless.
 */

import { ApiError } from "./api.js";
import * as storage from "./storage.js";

const PREFIX = "hone.unsent.";
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
export const NOTES = "/api/notes";
export const FLAGS = "/api/flags";

/**
 * @typedef {object} Entry
 * @property {string} path
 * @property {{showing: string, key: string} & Record<string, any>} body
 * @property {string} viewer whose it is: another person may sign in in this browser
 * @property {number} at when it was put here
 * @property {boolean} aside the server refused it and the labeler went on: it is kept and not sent
 */

/**
 * @typedef {object} Listener
 * @property {() => number | null} ask how many to hold next, which the last answer asks for; null not to ask
 * @property {() => void} alone an answer that asked got into trouble, and is sent again without
 * @property {() => void} saving
 * @property {(entry: Entry, result: any) => void} saved
 * @property {(error: ApiError) => void} waiting it is tried again by itself
 * @property {() => void} refused
 * @property {(held: import("./leases.js").Held | null) => void} passed each was sent or refused; what came with the last
 * @property {(entry: Entry) => void} elsewhere another tab put it here
 * @property {(entry: Entry) => void} gone another tab sent it
 */

export class Outbox {
  /** @type {Map<string, Entry>} */ #entries = new Map();
  /** @type {Map<string, ApiError>} by key */ #refused = new Map();
  /** @type {Set<Entry>} */ #unstored = new Set();
  /** @type {Promise<void> | null} */ #sending = null;
  #failures = 0;
  #timer = 0;

  /**
   * @param {import("./api.js").Post} post
   * @param {string} viewer
   * @param {Listener} tell
   */
  constructor(post, viewer, tell) {
    this.post = post;
    this.viewer = viewer;
    this.tell = tell;
    const kept = storage.names(PREFIX).flatMap((name) => this.#mine(storage.read(name)) ?? []);
    kept.sort((one, other) => one.at - other.at);
    for (const entry of kept) this.#entries.set(place(entry), entry);
    addEventListener("storage", (event) => this.#hear(event));
  }

  /** Whether closing the page loses something. */
  get atRisk() {
    return this.#unstored.size > 0;
  }

  get size() {
    return this.#waiting().length;
  }

  /** Whether the last attempt did not get through. */
  get failing() {
    return this.#failures > 0;
  }

  /** How many are set aside. */
  get aside() {
    return this.#entries.size - this.size;
  }

  /** @returns {{entry: Entry, error: ApiError} | undefined} what the server refused */
  get refused() {
    for (const entry of this.#waiting()) {
      const error = this.#refused.get(entry.body.key);
      if (error) return { entry, error };
    }
  }

  /** @param {string} showing whether its answer or notes wait to be sent */
  holds(showing) {
    return this.#waiting().some((entry) => entry.body.showing === showing && entry.path !== FLAGS);
  }

  /** @param {string} path @param {Omit<Entry["body"], "key">} body */
  put(path, body) {
    const whole = { ...body, showing: body.showing, key: newKey() };
    const entry = { path, body: whole, viewer: this.viewer, at: Date.now(), aside: false };
    this.#entries.delete(place(entry));
    this.#entries.set(place(entry), entry);
    this.#store(entry);
    return this.send();
  }

  /** @param {Entry} entry */
  setAside(entry) {
    entry.aside = true;
    this.#store(entry);
  }

  /** Sends what was set aside too. */
  sendAside() {
    for (const entry of this.#entries.values()) {
      if (!entry.aside) continue;
      entry.aside = false;
      this.#store(entry);
    }
    return this.send();
  }

  /** Sends everything that waits, now; resolves after one attempt at each. */
  async send() {
    clearTimeout(this.#timer);
    this.#refused.clear();
    // The pass under way may have looked for the last time before something was put here.
    while (this.#next()) {
      this.#sending ??= this.#pass().finally(() => (this.#sending = null));
      await this.#sending;
      if (this.#failures > 0) return;
    }
  }

  #waiting() {
    return [...this.#entries.values()].filter((entry) => !entry.aside);
  }

  #next() {
    return this.#waiting().find((entry) => !this.#refused.has(entry.body.key));
  }

  async #pass() {
    let held = null;
    for (let entry = this.#next(); entry; entry = this.#next()) {
      this.tell.saving();
      const ahead = this.#ends(entry) ? this.tell.ask() : null;
      try {
        const result = await this.post(entry.path, ahead ? { ...entry.body, ahead } : entry.body);
        held = result.held ?? null;
        this.#failures = 0;
        this.#forget(entry);
        this.tell.saved(entry, result);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        // An answer must never wait for what went wrong with what is to be held next.
        if (ahead) this.tell.alone();
        if (error.trouble === "refused") {
          if (ahead) continue;
          this.#refused.set(entry.body.key, error);
          this.tell.refused();
        } else {
          const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures);
          this.#failures += 1;
          // Everybody loses the server at the same moment; they should not all come back at the same moment.
          this.#timer = window.setTimeout(() => this.send(), wait * (0.75 + Math.random() / 2));
          this.tell.waiting(error);
          return;
        }
      }
    }
    this.tell.passed(held);
  }

  /** Whether it ends a showing, and nothing else waits. @param {Entry} entry */
  #ends({ path }) {
    return this.size === 1 && path !== NOTES && path !== FLAGS;
  }

  /**
   * Another tab put something here, or sent it. An older answer that this one still held must not be sent after it.
   * @param {StorageEvent} event
   */
  #hear(event) {
    if (!event.key?.startsWith(PREFIX)) return;
    const entry = this.#mine(event.newValue);
    if (entry) {
      this.#entries.set(place(entry), entry);
      this.tell.elsewhere(entry);
    } else if (event.newValue === null) {
      const sent = this.#mine(event.oldValue);
      if (sent && this.#drop(sent)) this.tell.gone(sent);
    }
  }

  /** @param {string | null} text @returns {Entry | null} */
  #mine(text) {
    const entry = storage.parsed(text);
    const whole = typeof entry?.path === "string" && typeof entry.body?.showing === "string";
    return whole && entry.viewer === this.viewer ? entry : null;
  }

  /** @param {Entry} entry */
  #store(entry) {
    if (storage.write(PREFIX + place(entry), JSON.stringify(entry))) this.#unstored.delete(entry);
    else this.#unstored.add(entry);
  }

  /** @param {Entry} entry */
  #forget(entry) {
    this.#unstored.delete(entry);
    this.#drop(entry);
    const name = PREFIX + place(entry);
    if (this.#mine(storage.read(name))?.body.key === entry.body.key) storage.forget(name);
  }

  /** Unless a newer one took its place, perhaps in another tab. @param {Entry} entry @returns {boolean} whether it was held */
  #drop(entry) {
    if (this.#entries.get(place(entry))?.body.key !== entry.body.key) return false;
    this.#entries.delete(place(entry));
    if (this.size === 0) this.#failures = 0;
    return true;
  }
}

/** A newer answer takes the place of one that was not sent yet. @param {Entry} entry */
function place({ path, body }) {
  if (path === FLAGS) return body.key;
  return path === NOTES ? `${body.showing}.notes` : body.showing;
}

/** A random UUID. crypto.randomUUID exists on https and localhost only; an install may be on a plain http address. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})/, "$1-$2-4$3-8$4-");
}
