/** How long a labeler looked at a pair: only while the page is visible, and a pause counts for its first minute. */

const LONGEST_PAUSE = 60_000;
const SIGNS_OF_LIFE = ["keydown", "pointerdown", "pointermove", "wheel", "scroll"];

export class Timer {
  #total = 0;
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

  /** @param {number} seconds what was counted for this pair before */
  start(seconds) {
    this.#total = seconds * 1000;
    if (this.#last !== null) this.#last = this.now();
  }

  get seconds() {
    this.alive();
    return Math.round(this.#total / 100) / 10;
  }

  alive() {
    if (this.#last === null) return;
    const now = this.now();
    this.#total += Math.min(now - this.#last, LONGEST_PAUSE);
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
