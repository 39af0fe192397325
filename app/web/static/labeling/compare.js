/** The judging page: one pair at a time, from its lease to a saved answer. */

import * as answer from "./answer.js";
import { ApiError, post } from "./api.js";
import * as keys from "./keys.js";
import { Leases } from "./leases.js";
import { Outbox } from "./outbox.js";
import { askWhy } from "./skip.js";
import { Timer } from "./timer.js";
import * as view from "./view.js";

/** @typedef {import("./leases.js").Item} Item */
/** @typedef {import("./answer.js").Draft} Draft */
/** @typedef {import("./outbox.js").Entry} Entry */
/** @typedef {"loading" | "judging" | "sending" | "empty"} State */

const LOOK_AGAIN = 20_000;
/** @type {Draft} */
const BLANK = { value: null, explanation: "", seconds: 0 };

const page = view.element("judge", HTMLElement);
const outbox = new Outbox(post, page.dataset.viewer ?? "");
const leases = new Leases(post);
const timer = new Timer();

/** @type {State} */
let state = "loading";
/** @type {Item | null} the pair on the screen */
let current = null;
/** @type {{item: Item, draft: Draft} | null} the last saved answer of this tab */
let last = null;
let changing = false;
/** @type {{showing: string | undefined, draft: Draft}} what was begun on the pair that waits while the last answer is changed */
let begun = { showing: undefined, draft: BLANK };
/** @type {Entry | null} an answer that the server refused */
let refused = null;
let retrying = false;

const waiting = () => state === "loading" || state === "empty";
const untouched = () => state === "judging" && !changing && answer.chosen() === null && answer.explained() === null;

/** @param {State} next */
function enter(next) {
  state = next;
  page.dataset.state = next;
  view.show("empty", next === "empty");
  view.show("pair", current !== null);
  view.show("changing", changing && next === "judging");
  view.element("undo", HTMLButtonElement).disabled = !last || changing || next === "sending";
  view.element("skip", HTMLButtonElement).disabled = changing || next === "sending";
  answer.lock(next === "sending");
}

/** @returns {Draft} */
function draft() {
  return { value: answer.chosen(), explanation: answer.explained() ?? "", seconds: timer.seconds };
}

/**
 * @param {Item} item
 * @param {Draft} draft
 */
function open(item, draft) {
  current = item;
  view.showPair(item);
  answer.fill(draft);
  timer.start(draft.seconds);
  enter("judging");
  // From here Space and the arrows scroll the document, and a screen reader starts to read it.
  view.element("document-title", HTMLElement).focus({ preventScroll: true });
}

/** Opens the next pair that is held; an answer to it that never arrived comes back with it. */
function openHeld() {
  const item = leases.first;
  if (!item) {
    current = null;
    if (state !== "empty") {
      enter("empty");
      view.element("empty-title", HTMLElement).focus();
    }
    return;
  }
  const unsent = outbox.find(item.showing);
  if (unsent) {
    open(item, { value: unsent.body.value ?? null, explanation: unsent.body.explanation ?? "", seconds: 0 });
    enter("sending");
  } else {
    open(item, begun.showing === item.showing ? begun.draft : BLANK);
  }
}

async function look() {
  try {
    view.showProgress(await leases.fetch());
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    view.showTrouble(error, { again: true, aside: false });
    return;
  }
  if (!refused) view.hideTrouble();
  if (waiting() || (untouched() && leases.first?.showing !== current?.showing)) openHeld();
}

/** @param {string} showing */
async function goOn(showing) {
  leases.drop(showing);
  changing = false;
  current = null;
  if (leases.first) {
    openHeld();
  } else {
    enter("loading");
    await look();
  }
}

function save() {
  if (state === "sending") {
    outbox.send();
    return;
  }
  if (state !== "judging" || !current) return;
  const value = answer.chosen();
  if (value === null) {
    view.showStatus("waiting", "Choose 1 to 9 first");
    return;
  }
  enter("sending");
  outbox.put("/api/preferences", {
    showing: current.showing,
    value,
    explanation: answer.explained(),
    seconds: timer.seconds,
  });
}

async function skip() {
  const item = current;
  if (state !== "judging" || changing || !item) return;
  const why = await askWhy();
  if (!why || state !== "judging" || current !== item) return;
  enter("sending");
  outbox.put("/api/skips", { showing: item.showing, ...why });
}

function undo() {
  if (!last || changing || state === "sending") return;
  begun = { showing: current?.showing, draft: draft() };
  changing = true;
  view.showStatus("", "");
  open(last.item, last.draft);
}

function keep() {
  if (!changing || state !== "judging") return;
  changing = false;
  openHeld();
}

/** A retry says nothing new; a screen reader would read it out each time. */
function saving() {
  if (!retrying) view.showStatus("saving", "Saving…");
}

/** @param {Event} event */
function arrived(event) {
  const { entry, result } = /** @type {CustomEvent} */ (event).detail;
  view.showProgress(result.progress);
  view.hideTrouble();
  refused = null;
  retrying = false;
  const words = {
    saved: result.version > 1 ? `Saved, version ${result.version}` : "Saved",
    surplus: "Saved; others had answered this pair by then",
    skipped: "Skipped",
  };
  view.showStatus("saved", words[/** @type {keyof typeof words} */ (result.status)] ?? "Saved");
  const item = current;
  if (state !== "sending" || !item || item.showing !== entry.body.showing) return;
  if (result.status !== "skipped") {
    last = { item, draft: { value: entry.body.value, explanation: entry.body.explanation ?? "", seconds: 0 } };
  }
  goOn(entry.body.showing);
}

/** @param {Event} event */
function waits(event) {
  /** @type {{error: ApiError}} */
  const { error } = /** @type {CustomEvent} */ (event).detail;
  retrying = true;
  if (error.trouble === "signed-out") {
    view.showStatus("waiting", "Not saved yet, kept here");
    view.showTrouble(error, { again: true, aside: false });
  } else {
    view.showStatus("waiting", navigator.onLine ? "Not saved yet, retrying" : "Offline: not saved yet, kept here");
  }
}

/** @param {Event} event */
function wasRefused(event) {
  /** @type {{entry: Entry, error: ApiError}} */
  const { entry, error } = /** @type {CustomEvent} */ (event).detail;
  refused = entry;
  retrying = false;
  view.showStatus("waiting", "Not saved");
  view.showTrouble(error, { again: true, aside: true });
}

async function tryAgain() {
  await outbox.send();
  if (waiting()) await look();
}

async function setAside() {
  if (!refused) return;
  const entry = refused;
  refused = null;
  outbox.setAside(entry);
  view.hideTrouble();
  view.showStatus("", "");
  if (state === "sending" && current?.showing === entry.body.showing) await goOn(entry.body.showing);
}

outbox.addEventListener("saving", saving);
outbox.addEventListener("saved", arrived);
outbox.addEventListener("waiting", waits);
outbox.addEventListener("refused", wasRefused);

const help = () => view.element("keys-dialog", HTMLDialogElement).showModal();

answer.listen(() => view.showStatus("", ""), save);
keys.listen({ choose: answer.choose, save, skip, undo, keep, help }, view.element("use-keys", HTMLInputElement));
timer.watch(document);
leases.beat(() => untouched() && look());

/** @type {[string, () => void][]} */
const buttons = [["skip", skip], ["undo", undo], ["keep", keep], ["show-keys", help], ["look-now", look], ["try-again", tryAgain], ["set-aside", setAside]];
for (const [id, act] of buttons) view.element(id, HTMLButtonElement).addEventListener("click", act);

addEventListener("online", tryAgain);
addEventListener("beforeunload", (event) => outbox.atRisk && event.preventDefault());
setInterval(() => waiting() && !document.hidden && look(), LOOK_AGAIN);
document.addEventListener("visibilitychange", () => document.hidden || tryAgain());

await outbox.send();
await look();
