/** How long a labeler worked on each step: only while the page is visible, and a pause counts for its first minute. */

const LONGEST_PAUSE = 60_000;
const SIGNS_OF_LIFE = ["keydown", "pointerdown", "pointermove", "wheel", "scroll"];

/** @typedef {"notes" | "compare" | "explain"} Step */
/** @typedef {Record<Step, number>} Steps seconds */

export class Timer {
  /** @type {Steps} milliseconds */ #spent = { notes: 0, compare: 0, explain: 0 };
  /** @type {Step | null} */ #step = null;
  /** @type {number | null} the last sign of life; null while the page is hidden */
  #last = null;

  /** @param {() => number} now milliseconds on a clock that never goes back */
  constructor(now = () => performance.now()) {
    this.now = now;
  }

  /** @param {Document} page */
  watch(page) {
    for (const sign of SIGNS_OF_LIFE) {
      page.addEventListener(sign, () => this.alive(), { capture: true, passive: true });
    }
    page.addEventListener("visibilitychange", () => (page.hidden ? this.hide() : this.show()));
    if (!page.hidden) this.show();
  }

  /** @param {Steps} spent what was counted for this item before */
  start(spent) {
    this.#spent = { notes: spent.notes * 1000, compare: spent.compare * 1000, explain: spent.explain * 1000 };
    if (this.#last !== null) this.#last = this.now();
  }

  /** @param {Step | null} step what the time from now on is spent on; null: nothing, the labeler waits */
  turn(step) {
    this.alive();
    this.#step = step;
  }

  /** @returns {Steps} */
  get steps() {
    this.alive();
    const { notes, compare, explain } = this.#spent;
    return { notes: rounded(notes), compare: rounded(compare), explain: rounded(explain) };
  }

  alive() {
    if (this.#last === null) return;
    const now = this.now();
    if (this.#step) this.#spent[this.#step] += Math.min(now - this.#last, LONGEST_PAUSE);
    this.#last = now;
  }

  hide() {
    this.alive();
    this.#last = null;
  }

  show() {
    this.#last = this.now();
  }
}

/** @param {number} milliseconds @returns {number} seconds, to a tenth */
const rounded = (milliseconds) => Math.round(milliseconds / 100) / 10;
