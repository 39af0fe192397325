/** What is put aside for this labeler, in the order in which it is to be judged. */

import { ApiError } from "./api.js";

const BEAT = 60_000;
const MOST = 20;

/**
 * @typedef {object} Item
 * @property {string} showing
 * @property {"compare" | "rate"} task
 * @property {boolean} notes_first
 * @property {{title: string, community: string, text: string} | null} document null until the notes are saved
 * @property {{text: string}[]} summaries in the order in which they are shown, A then B; one to rate
 * @property {(string | null)[]} notes what this labeler wrote about each
 * @property {boolean} practice
 * @property {Record<string, any> | null} [answer] given before
 */

/** @typedef {{mine_today: number, mine_total: number}} Progress */
/** @typedef {{words: string, href: string, label: string}} Before what the labeler has to do first */
/** @typedef {{items: Item[], before: Before | null}} Held */

export class Leases {
  /** @type {Item[]} */ #held = [];
  /** @type {Set<string>} */ #settled = new Set();
  /** @type {Promise<(Held & {progress: Progress}) | null> | null} */ #fetching = null;
  /** How often it was told what is held, and how often when an answer asked. */ #told = 0;
  #asked = 0;
  #alone = false;

  /** @param {import("./api.js").Post} post @param {number} ahead how many to hold */
  constructor(post, ahead) {
    this.post = post;
    this.ahead = ahead;
  }

  /** What is still to be judged: the server may not know yet of what was answered here. */
  get open() {
    return this.#held.filter((item) => !this.#settled.has(item.showing));
  }

  /** @param {string} showing */
  find(showing) {
    return this.open.find((item) => item.showing === showing);
  }

  /** @param {string} showing it was answered, passed on or set aside */
  settle(showing) {
    this.#settled.add(showing);
  }

  /** How many an answer that leaves now is to ask for; null after trouble, until asking by itself went well. */
  ask() {
    this.#asked = this.#told;
    return this.#alone ? null : this.ahead;
  }

  alone() {
    this.#alone = true;
  }

  /** @param {Held} held came with an answer @returns {boolean} whether it is the newest: nothing was told meanwhile */
  bring(held) {
    if (this.#asked !== this.#told) return false;
    this.#take(held);
    return true;
  }

  /** @param {Held} held what the server says is held now */
  #take({ items }) {
    this.#told += 1;
    this.#held = items.map((item) => {
      // An answer that left the server before the notes got there knows less than this page.
      const known = this.find(item.showing);
      return known && (known.document || !item.document) ? known : item;
    });
  }

  /** @returns {Promise<(Held & {progress: Progress}) | null>} null where an answer has brought other news meanwhile */
  fetch() {
    const told = this.#told;
    this.#fetching ??= this.post("/api/leases", { ahead: this.ahead })
      .then((found) => {
        this.#alone = false;
        if (told !== this.#told) return null;
        this.#take(found);
        return found;
      })
      .finally(() => (this.#fetching = null));
    return this.#fetching;
  }

  /**
   * Keeps them while the page is visible. The server says when they are lost: this computer's clock may be wrong.
   * @param {() => void} lost
   */
  beat(lost) {
    const beat = async () => {
      if (document.hidden || this.#held.length === 0) return;
      try {
        const showings = this.#held.slice(0, MOST).map((item) => item.showing);
        const kept = await this.post("/api/heartbeats", { showings });
        if (kept.expires_at === null) lost();
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.trouble === "refused") lost();
      }
    };
    setInterval(beat, BEAT);
    document.addEventListener("visibilitychange", beat);
  }
}
