/**
 * The page of a round while it goes on. Words, bars and times are set in place; when a stage begins or ends, the parts
 * marked `data-part` are taken from a fresh copy of this page, so that there is one way of showing a round: the server's.
 */

import { Live } from "./live.js";
import { Plots } from "./plots.js";

const script = document.getElementById("live");
const plots = new Plots();
/** @type {Document | null} a copy that waits for a question to be answered */
let waiting = null;
let fetching = false;
let again = false;

/**
 * @param {string} id
 * @param {string} text
 */
function setText(id, text) {
  const element = document.getElementById(id);
  if (element && element.textContent !== text) element.textContent = text;
}

/** @param {ParentNode} part */
const series = (part) => [...part.querySelectorAll("figure.curve")].map((figure) => [figure.id, ...[...figure.querySelectorAll("th[data-metric]")].map((head) => head.getAttribute("data-metric"))].join(" ")).join("\n");

/** @param {Document} copy */
function swap(copy) {
  const focused = document.activeElement?.id;
  for (const fresh of copy.querySelectorAll("[data-part]")) {
    const old = document.getElementById(fresh.id);
    if (!old || old.isEqualNode(fresh)) continue;
    // Figures that are there keep what they show: they know more points than a thinned table.
    if (fresh.id === "curves" && series(fresh) === series(old)) continue;
    const open = [...old.querySelectorAll("details")].map((each) => each.open);
    const now = document.importNode(fresh, true);
    now.querySelectorAll("details").forEach((each, index) => (each.open = open[index] ?? false));
    old.replaceWith(now);
    if (fresh.id === "curves") plots.draw();
  }
  if (focused) document.getElementById(focused)?.focus();
  tick();
}

/** Take a fresh copy of this page, and no two at a time. */
async function look() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const response = await fetch(location.pathname, { headers: { Accept: "text/html" }, redirect: "manual" });
    if (response.type === "opaqueredirect" || response.status === 401 || response.status === 403) location.reload();
    if (!response.ok) return;
    const copy = new DOMParser().parseFromString(await response.text(), "text/html");
    if (document.querySelector("dialog[open]")) waiting = copy;
    else swap(copy);
  } catch (error) {
    // Without a server the stream fails too, and says so.
    if (!(error instanceof TypeError)) throw error;
  } finally {
    fetching = false;
    if (again) {
      again = false;
      look();
    }
  }
}

let looked = 0;

/** The server draws the monitor: with new rollouts it is looked at again, every half a minute at most. */
function lookAtTimes() {
  if (performance.now() - looked < 30_000) return;
  looked = performance.now();
  look();
}

/** @param {import("./live.js").Round} round */
function showRound({ state, missing, stages }) {
  let stale = document.getElementById("head")?.dataset.state !== state;
  stale ||= document.getElementById("failures")?.dataset.missing !== String(missing.length);
  for (const stage of stages) {
    const item = document.getElementById(`stage-${stage.run}`);
    if (!item || item.dataset.state !== stage.state) {
      stale = true;
      if (item) setText("announce", `${stage.title}: ${stage.state_words}`);
      continue;
    }
    if (stage.words) setText(`words-${stage.run}`, stage.words);
    const bar = document.getElementById(`bar-${stage.run}`);
    const progress = bar?.querySelector("progress");
    const words = bar?.querySelector(".words");
    if (bar && progress && words && stage.total > 0) {
      bar.hidden = false;
      progress.max = stage.total;
      progress.value = Math.min(stage.done, stage.total);
      words.textContent = `${stage.done} of ${stage.total}`;
      progress.setAttribute("aria-valuetext", words.textContent);
    }
    // With the first opinion there is something to go on with.
    if (stage.state === "waiting" && stage.done > 0 && item.querySelector(".judging .small")) stale = true;
  }
  if (stale) look();
}

/** @type {WeakMap<Element, number>} when a running time was first seen, on this computer's own clock */
const seen = new WeakMap();

/** @param {number} seconds */
function span(seconds) {
  const whole = Math.floor(seconds);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

function tick() {
  const now = performance.now();
  for (const element of document.querySelectorAll("[data-seconds]")) {
    const since = seen.get(element) ?? now;
    seen.set(element, since);
    element.textContent = span(Number(element.getAttribute("data-seconds")) + (now - since) / 1000);
  }
  if (waiting && !document.querySelector("dialog[open]")) {
    swap(waiting);
    waiting = null;
  }
}

plots.draw();
if (script?.dataset.live === "yes") {
  const live = new Live(`/rounds/${script.dataset.round}/events`, script.dataset.cursor ?? "0", {
    round: showRound,
    points: (points) => {
      if (!plots.add(points)) look();
      else if (points.some(([, metric]) => metric === "ppo/kl")) lookAtTimes();
    },
    look,
    over: look,
    connection: (words) => setText("connection", words),
  });
  setInterval(tick, 1000);
  tick();
  // The next page shows what came of a form: a copy fetched in the meantime must not use its notice up.
  document.addEventListener("submit", (event) => {
    if (!event.defaultPrevented) live.end();
  });
}
