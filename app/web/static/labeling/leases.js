/** The pairs that are put aside for this labeler, in the order in which they are to be judged. */

import { ApiError } from "./api.js";

const AHEAD = 1;
const BEAT = 60_000;

/**
 * @typedef {object} Item
 * @property {string} showing
 * @property {{title: string | null, community: string | null, text: string}} document
 * @property {[{text: string}, {text: string}]} summaries in the order in which they are shown, A then B
 * @property {string | null} [batch_note]
 */

/** @typedef {{mine_today: number, mine_total: number}} Progress */

export class Leases {
  /** @type {Item[]} */ #held = [];
  /** @type {Promise<Progress> | null} */ #fetching = null;

  /** @param {import("./api.js").Post} post */
  constructor(post) {
    this.post = post;
  }

  /** @returns {Item | undefined} */
  get first() {
    return this.#held[0];
  }

  /** @param {string} showing */
  drop(showing) {
    this.#held = this.#held.filter((item) => item.showing !== showing);
  }

  fetch() {
    this.#fetching ??= this.post("/api/leases", { ahead: AHEAD })
      .then(({ items, progress }) => {
        this.#held = items;
        return progress;
      })
      .finally(() => (this.#fetching = null));
    return this.#fetching;
  }

  /**
   * Keeps the pairs while the page is visible. The server says when a lease is lost: this computer's clock may be wrong.
   * @param {() => void} lost
   */
  beat(lost) {
    const beat = async () => {
      if (document.hidden || this.#held.length === 0) return;
      try {
        const kept = await this.post("/api/heartbeats", { showings: this.#held.map((item) => item.showing) });
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
