/** The stream of a round: connects, comes back with the cursor it has, and says in words how it is. */

const PAUSES = [1, 2, 4, 8, 15];
const TRIES = 3;
const POLL = 15_000;

/**
 * @typedef {object} Stage
 * @property {number} run
 * @property {string} title
 * @property {string} state
 * @property {string} state_words
 * @property {string} words
 * @property {number} done
 * @property {number} total
 */

/**
 * @typedef {object} Round
 * @property {string} state
 * @property {string[]} missing queues that no worker takes from, while something waits in them
 * @property {Stage[]} stages
 */

/**
 * @typedef {object} Hearing
 * @property {(round: Round) => void} round
 * @property {(points: import("./plots.js").Point[]) => void} points
 * @property {() => void} look the page should look at the server itself
 * @property {() => void} over nothing more will come
 * @property {(words: string) => void} connection
 */

export class Live {
  /** @type {EventSource | null} */ #source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #failed = 0;
  #ended = false;

  /**
   * @param {string} address
   * @param {string} cursor
   * @param {Hearing} hearing
   */
  constructor(address, cursor, hearing) {
    this.address = address;
    this.cursor = cursor;
    this.hearing = hearing;
    // A page that nobody looks at holds no connection: a browser has six of them for all its tabs.
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.connect()));
    addEventListener("pagehide", () => this.pause());
    addEventListener("pageshow", () => this.connect());
    if (!document.hidden) this.connect();
  }

  connect() {
    if (this.#source || this.#ended || document.hidden) return;
    clearTimeout(this.#timer);
    if (typeof EventSource === "undefined") {
      this.#poll();
      return;
    }
    const source = new EventSource(`${this.address}?after=${encodeURIComponent(this.cursor)}`);
    this.#source = source;
    source.addEventListener("open", () => {
      this.#failed = 0;
      this.hearing.connection("Live");
    });
    source.addEventListener("error", () => {
      this.hearing.connection("The connection is lost. Trying again…");
      if (source.readyState === EventSource.CLOSED) this.#again();
    });
    this.#hear(source, "round", (data) => this.hearing.round(data));
    this.#hear(source, "points", (data) => this.hearing.points(data));
    this.#hear(source, "over", () => {
      this.end();
      this.hearing.connection("");
      this.hearing.over();
    });
    this.#hear(source, "signed-out", () => {
      this.end();
      this.hearing.connection("You are signed out. Reload the page to sign in again.");
    });
  }

  /**
   * @param {EventSource} source
   * @param {string} name
   * @param {(data: any) => void} take
   */
  #hear(source, name, take) {
    source.addEventListener(name, (event) => {
      if (event.lastEventId) this.cursor = event.lastEventId;
      take(JSON.parse(event.data));
    });
  }

  /** The browser has given up on this connection: a new one after a pause, or looks at the page where streams fail. */
  #again() {
    this.pause();
    this.#failed += 1;
    if (this.#failed > TRIES) this.#poll();
    else this.#timer = setTimeout(() => this.connect(), PAUSES[Math.min(this.#failed, PAUSES.length) - 1] * 1000);
  }

  #poll() {
    this.hearing.connection("No live connection. This page looks again every 15 seconds.");
    this.hearing.look();
    this.#timer = setTimeout(() => (typeof EventSource === "undefined" ? this.#poll() : this.connect()), POLL);
  }

  /** Let the connection go for now. */
  pause() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  /** For ever. */
  end() {
    this.#ended = true;
    this.pause();
  }
}
