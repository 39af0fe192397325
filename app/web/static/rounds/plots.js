/**
 * Plots drawn from the tables of numbers beside them: a figure whose table has a column `data-metric` per series.
 * The table stays, for those who read numbers and for browsers without JavaScript; new points go into both.
 */

/** @typedef {[run: number, metric: string, step: number, value: number | null]} Point */

const HEIGHT = 150;
const TONES = ["--accent", "--warn", "--good", "--bad"];
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3]];

/**
 * A colour of the style sheet in the scheme in force, as a canvas understands it.
 * @param {string} name
 */
function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** @param {number | null} value */
function written(value) {
  if (value === null) return "not a number";
  const four = Number(value.toPrecision(4));
  return four !== 0 && Math.abs(four) < 0.0001 ? four.toExponential() : String(four);
}

/** @param {number} value */
function short(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 100_000) ? Number(value.toPrecision(3)).toExponential() : String(Number(value.toPrecision(4)));
}

/** @param {string} text */
function read(text) {
  const value = Number.parseFloat(text);
  return Number.isFinite(value) ? value : null;
}

class Plot {
  /** @type {any} */ #drawn = null;
  /** @type {number[]} */ #steps = [];
  /** @type {(number | null | undefined)[][]} one list per column, undefined where there is no point */ #columns;
  /** @type {HTMLTableRowElement[]} */ #rows = [];
  #due = false;

  /** @param {HTMLElement} figure */
  constructor(figure) {
    this.figure = figure;
    this.run = Number(figure.dataset.run);
    const heads = [...figure.querySelectorAll("th[data-metric]")];
    this.metrics = heads.map((head) => (head instanceof HTMLElement ? (head.dataset.metric ?? "") : ""));
    this.labels = heads.map((head) => head.textContent ?? "");
    this.body = figure.querySelector("tbody");
    this.place = figure.querySelector(".plot");
    this.newest = figure.querySelector(".newest");
    this.#columns = heads.map(() => []);
    for (const row of this.body?.rows ?? []) {
      const [step, ...figures] = [...row.cells].map((cell) => cell.textContent?.trim() ?? "");
      this.#steps.push(Number(step));
      this.#rows.push(row);
      figures.forEach((text, index) => this.#columns[index].push(text === "" ? undefined : read(text)));
    }
    this.resized = new ResizeObserver(() => this.#fit());
    this.draw();
    this.resized.observe(figure);
  }

  /**
   * @param {string} metric
   * @param {number} step
   * @param {number | null} value
   */
  put(metric, step, value) {
    let at = this.#steps.length;
    while (at > 0 && this.#steps[at - 1] >= step) at -= 1;
    if (this.#steps[at] !== step) {
      this.#steps.splice(at, 0, step);
      for (const column of this.#columns) column.splice(at, 0, undefined);
      this.#addRow(at, step);
    }
    const column = this.metrics.indexOf(metric);
    this.#columns[column][at] = value;
    const cell = this.#rows[at]?.cells[column + 1];
    if (cell) cell.textContent = written(value);
    this.#drawSoon();
  }

  /**
   * @param {number} at
   * @param {number} step
   */
  #addRow(at, step) {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.className = "number";
    head.textContent = String(step);
    row.append(head, ...this.metrics.map(() => Object.assign(document.createElement("td"), { className: "number" })));
    this.body?.insertBefore(row, this.#rows[at] ?? null);
    this.#rows.splice(at, 0, row);
  }

  #drawSoon() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.draw();
    });
  }

  #fit() {
    const width = this.place instanceof HTMLElement ? this.place.clientWidth : 0;
    if (this.#drawn && width && width !== this.#drawn.width) this.#drawn.setSize({ width, height: HEIGHT });
  }

  /** What the caption says: the figures at a step, or the newest of each column. */
  #tell(/** @type {number | null} */ index) {
    const parts = this.#columns.flatMap((column, number) => {
      const at = index ?? column.findLastIndex((value) => value !== undefined);
      const value = column[at];
      if (value === undefined) return [];
      return [`${this.labels.length > 1 ? `${this.labels[number]} ` : ""}${written(value)}`];
    });
    const step = index === null ? this.#steps.at(-1) : this.#steps[index];
    if (this.newest) this.newest.textContent = parts.length ? `${parts.join(", ")} at step ${step}` : "";
  }

  draw() {
    this.#tell(null);
    if (!(this.place instanceof HTMLElement)) return;
    const enough = this.#steps.length > 1;
    this.place.hidden = !enough;
    if (!enough) return;
    const data = [this.#steps, ...this.#columns];
    if (this.#drawn) {
      this.#drawn.setData(data);
      return;
    }
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: '12px "Source Sans 3", sans-serif' };
    this.#drawn = new /** @type {any} */ (globalThis).uPlot(
      {
        width: this.place.clientWidth,
        height: HEIGHT,
        scales: { x: { time: false } },
        legend: { show: this.labels.length > 1, live: false },
        cursor: { y: false, drag: { x: false, y: false } },
        axes: [
          { ...axis, size: 26, space: 60, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000] },
          { ...axis, size: 58, space: 28, values: (/** @type {any} */ _plot, /** @type {number[]} */ ticks) => ticks.map(short) },
        ],
        series: [
          {},
          ...this.labels.map((label, index) => ({
            label,
            stroke: colour(TONES[index % TONES.length]),
            dash: DASHES[index % DASHES.length],
            width: 2,
            spanGaps: true,
            // A line through few points, or through points far apart, is not seen without them.
            points: { show: () => this.#columns[index].filter((value) => value !== undefined).length < 12, size: 5 },
          })),
        ],
        hooks: { setCursor: [(/** @type {any} */ plot) => this.#tell(plot.cursor.idx ?? null)] },
      },
      data,
      this.place,
    );
  }

  /** In the colours of the scheme in force. */
  drawAnew() {
    this.#drawn?.destroy();
    this.#drawn = null;
    this.draw();
  }

  close() {
    this.resized.disconnect();
    this.#drawn?.destroy();
  }
}

export class Plots {
  /** @type {Plot[]} */ #plots = [];

  constructor() {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#plots.forEach((plot) => plot.drawAnew()));
  }

  /** Draw every figure that is on the page now. */
  draw() {
    for (const plot of this.#plots) plot.close();
    this.#plots = [...document.querySelectorAll("figure.curve")].map((figure) => new Plot(/** @type {HTMLElement} */ (figure)));
  }

  /**
   * @param {Point[]} points
   * @returns {boolean} whether each of them has a place; otherwise the page needs a fresh copy of its figures
   */
  add(points) {
    let known = true;
    for (const [run, metric, step, value] of points) {
      const plot = this.#plots.find((each) => each.run === run && each.metrics.includes(metric));
      if (plot) plot.put(metric, step, value);
      else known = false;
    }
    return known;
  }
}
