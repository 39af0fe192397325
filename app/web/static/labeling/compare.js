/** The judging page: one item after the other, from the list that is held to an answer in the outbox. */

import { ApiError, asking } from "./api.js";
import { Drafts, Lessons } from "./storage.js";
import * as keys from "./keys.js";
import { Leases } from "./leases.js";
import * as marks from "./marks.js";
import { FLAGS, NOTES, Outbox } from "./outbox.js";
import * as sheet from "./sheet.js";
import { Timer } from "./timer.js";
import * as view from "./view.js";

/** @typedef {import("./leases.js").Item} Item */
/** @typedef {import("./outbox.js").Entry} Entry */
/**
 * `waiting`: for what only the server can say next, the document or the researchers' answer, which `feedback` shows.
 * @typedef {"loading" | "judging" | "waiting" | "feedback" | "empty"} State
 */

const LOOK_AGAIN = 20_000;

const page = view.element("judge", HTMLElement);
const viewer = page.dataset.viewer ?? "";
const { get, post } = asking(viewer);
const leases = new Leases(post, Number(page.dataset.ahead));
const outbox = new Outbox(post, viewer, {
  ask: () => leases.ask(),
  alone: () => leases.alone(),
  saving: tellState,
  saved,
  waiting,
  refused,
  passed,
  elsewhere,
  gone,
});
const drafts = new Drafts(viewer);
const lessons = new Lessons(viewer);
const timer = new Timer();

/** @type {State} */
let state = "loading";
/** @type {Item | null} what is on the screen */
let current = null;
/** @type {Item | null} the last one answered in this tab, with its answer */
let last = null;
/** @type {Item | null} what waits while the last answer is changed */
let present = null;
let changing = false;
/** @type {import("./leases.js").Before | null} */
let before = null;

const idle = () => state === "loading" || state === "empty";
const untouched = () => state === "judging" && current !== null && !changing && sheet.untouched(current);
const nextHeld = () => leases.open.find((item) => item !== current && !outbox.holds(item.showing));

/** @param {State} next */
function enter(next) {
  state = next;
  page.dataset.state = next;
  const judging = next === "judging";
  const step = current && sheet.stepOf(current);
  view.show("empty", next === "empty");
  view.show("pair", current !== null);
  view.show("changing", changing && judging);
  view.show("pending", false);
  view.show("feedback", next === "feedback");
  view.show("change-notes", judging && step === "compare" && Boolean(current?.notes_first));
  view.element("undo", HTMLButtonElement).disabled = changing || next === "waiting" || next === "feedback";
  view.element("skip", HTMLButtonElement).disabled = changing || !judging;
  view.setText("save-words", next === "feedback" ? "Continue" : step === "notes" ? "Save and show the text" : "Save");
  view.setText("save-key", step === "notes" ? "Ctrl Enter" : "Enter");
  sheet.lock(!judging);
  if (!judging) timer.turn(null);
}

/** @param {Item} item */
function open(item) {
  const draft = sheet.begin(item, drafts.read(item.showing));
  const step = sheet.stepOf(item);
  current = item;
  view.showItem(item);
  sheet.turn(step, item);
  sheet.fill(draft);
  marks.clear(item);
  enter("judging");
  timer.start(draft.spent);
  timer.turn(step === "notes" ? "notes" : "compare");
  sheet.enter(step);
}

/** Opens the next that is held and not on its way to the server. */
function openHeld() {
  const item = nextHeld();
  if (item) return open(item);
  current = null;
  view.showNothing(nothing());
  if (state === "empty") return;
  view.setText("question", "Judge");
  enter("empty");
  view.focus("empty-title");
}

function nothing() {
  if (before) return { title: "Before you go on", words: before.words, link: before };
  if (!navigator.onLine || outbox.size) {
    const kept = outbox.size ? `What you did is kept in this browser, ${outbox.size} to be sent. ` : "";
    return { title: "No more pairs for now", words: `${kept}The next ones come when the network is back.` };
  }
  const words = "New pairs come when a round has written them or an admin opens a batch.";
  return { title: "Nothing to judge right now", words: `${words} Leave this page open: it looks again by itself.` };
}

/** Asks what is held now, and goes on with it. */
async function look() {
  let found;
  try {
    found = await leases.fetch();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // What is held is enough for now.
    if (current && error.trouble === "unreachable") return;
    if (idle() && !navigator.onLine) openHeld();
    else view.showTrouble(error, { aside: false });
    return;
  }
  // Which of the two the server said last is not known.
  if (!found) return look();
  view.showProgress(found.progress);
  await goOnWith(found);
}

/**
 * All that was answered here has arrived, or was refused. What is held now came with the last answer, or is asked for.
 * @param {import("./leases.js").Held | null} held
 */
async function passed(held) {
  if (!held || !leases.bring(held)) return look();
  await goOnWith(held);
}

/** Goes on with what is held now, where the page waits for it. @param {import("./leases.js").Held} held */
async function goOnWith(held) {
  before = held.before;
  if (!outbox.refused) view.show("trouble", false);
  drafts.sweep((showing) => leases.find(showing) !== undefined || outbox.holds(showing));
  if ((idle() || untouched()) && lessons.unread && (await recall(lessons.unread))) return;
  const news = current && leases.find(current.showing);
  if (idle()) openHeld();
  else if (news?.document && !current?.document && !changing) open(news);
  else if (!news && untouched() && !document.querySelector("dialog[open]")) {
    moveOn("waiting", "That pair was given back");
    keys.rest();
  }
}

/** From one that is done with to the next, or back to the one that was left to change an answer. */
function goOn() {
  const back = present && leases.find(present.showing);
  present = null;
  changing = false;
  current = null;
  if (back && !outbox.holds(back.showing)) return open(back);
  if (nextHeld()) return openHeld();
  enter("loading");
  look();
}

/** From one that is this labeler's to judge no longer. @param {"" | "waiting"} kind @param {string} why */
function moveOn(kind, why) {
  goOn();
  view.showStatus(kind, state === "judging" ? `${why}; this is the next` : why);
}

/** What was typed is in the storage before anything else happens to it. */
function keepDraft() {
  if (state !== "judging" || !current) return;
  drafts.write(current.showing, { ...sheet.read(), spent: timer.steps });
  view.show("unkept", !drafts.kept);
}

function save() {
  if (state === "feedback") return learnt();
  if (state === "waiting") return tryAgain();
  if (state !== "judging" || !current) return;
  const item = current;
  const step = sheet.stepOf(item);
  const again = step === "compare" && sheet.stepAt(document.activeElement) === "notes";
  const missing = sheet.missing(again ? "notes" : step);
  if (missing) return view.showStatus("waiting", missing);
  if (step === "notes" || again) return saveNotes();
  if (sheet.rewritten(item)) saveNotes();
  const said = sheet.answered(step);
  const spent = timer.steps;
  const seconds = spent.notes + spent.compare + spent.explain;
  leases.settle(item.showing);
  if (item.practice) enter("waiting");
  else last = { ...item, answer: said };
  outbox.put(step === "rate" ? "/api/ratings" : "/api/preferences", {
    showing: item.showing,
    ...said,
    seconds,
    ...(step === "compare" && { steps: spent }),
  });
  if (!item.practice) goOn();
}

function saveNotes() {
  if (!current) return;
  const item = current;
  keepDraft();
  item.notes = sheet.read().notes.map((text, side) => text || item.notes[side]);
  if (item.document) {
    sheet.turn("compare", item);
    view.focus("document-title");
  } else enter("waiting");
  outbox.put(NOTES, { showing: item.showing, notes: item.notes, seconds: timer.steps.notes });
}

/** In the second step: from reading the notes to writing them, and back. */
function changeNotes() {
  if (state !== "judging" || !current?.notes_first || !current.document) return;
  if (sheet.writingNotes() && sheet.rewritten(current)) return saveNotes();
  sheet.showNotes(!sheet.writingNotes(), current);
  if (sheet.writingNotes()) sheet.writeNotes();
}

/** @param {"skip" | "flag"} what */
async function pass(what) {
  const item = current;
  if (!item || (what === "skip" && (state !== "judging" || changing))) return;
  const why = await sheet.askWhy(what);
  if (!why) return;
  const body = { showing: item.showing, ...why };
  if (what === "flag") return outbox.put(FLAGS, body);
  if (current !== item || state !== "judging") return;
  leases.settle(item.showing);
  outbox.put("/api/skips", body);
  goOn();
}

async function undo() {
  const ready = () => !changing && state !== "waiting" && state !== "feedback";
  if (!ready()) return;
  let item = last;
  if (!item && outbox.size) return view.showStatus("waiting", "Your last answer is still on its way");
  try {
    item ??= (await get("/api/answers/last")).item;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return view.showTrouble(error, { aside: false });
  }
  if (!ready()) return;
  if (!item) return view.showStatus("waiting", "There is no answer to change yet");
  if (item.practice) return view.showStatus("waiting", "An answer in practice stays as it is");
  keepDraft();
  present = current;
  changing = true;
  tellState();
  open(item);
}

function keep() {
  if (!changing || state !== "judging" || !current) return;
  drafts.forget(current.showing);
  goOn();
}

/** From a text to reading, where single keys work; else from a change. */
function leave() {
  if (document.activeElement instanceof HTMLTextAreaElement) view.focus("question");
  else keep();
}

/** What became of what was answered: from the outbox alone, so that nothing else on the page hides what still waits. */
function tellState(said = "") {
  view.showAside(outbox.aside);
  if (outbox.refused) view.showStatus("waiting", "Not saved");
  else if (outbox.failing) {
    view.showStatus("waiting", `${navigator.onLine ? "Not saved yet, retrying" : "Offline"}: ${outbox.size} kept here`);
  } else if (outbox.size) view.showStatus("saving", "Saving…");
  else if (said) view.showStatus("saved", said);
  else if (navigator.onLine) view.showStatus("", "");
  else view.showStatus("waiting", offline());
}

function offline() {
  const whole = leases.open.filter((item) => item.document).length;
  if (whole) return `Offline: you can go on with the ${whole} held here`;
  return leases.open.length ? "Offline: write your notes; the text comes when the network is back" : "Offline";
}

/** @param {Entry} entry @param {any} result */
function saved(entry, result) {
  const { showing } = entry.body;
  if (result.progress) view.showProgress(result.progress);
  if (!outbox.refused) view.show("trouble", false);
  tellState(inWords(result));
  if (entry.path === NOTES) {
    const item = current?.showing === showing ? current : leases.find(showing);
    const news = item && !item.document;
    if (item) Object.assign(item, { document: result.document, notes: entry.body.notes });
    // This tab may still write what another one has sent.
    if (item && item === current && (state === "waiting" || (news && state === "judging"))) open(item);
  } else if (entry.path !== FLAGS) {
    if (current?.showing !== showing || !changing) drafts.forget(showing);
    if (!result.feedback) return;
    lessons.begin(showing);
    if (current?.showing === showing) teach(entry.body.value, result.feedback);
  }
}

/** @param {{status?: string, version?: number}} result */
function inWords({ status, version }) {
  if (status === "surplus") return "Saved; others had answered this pair by then";
  if (status === "skipped") return "Skipped";
  if (status === "flagged") return "Flagged: the researchers will see it";
  return version && version > 1 ? `Saved, version ${version}` : "Saved";
}

/**
 * Asks again for a lesson that was not read to its end: the page was loaded in between, or another tab sent the answer.
 * @param {string} showing
 * @returns {Promise<boolean>} whether it is on the screen
 */
async function recall(showing) {
  const { item, feedback } = await get(`/api/answers/${showing}`).catch((error) => {
    if (!(error instanceof ApiError)) throw error;
    // Unless the server has an answer to this, it is asked again with the next look.
    return error.trouble === "refused" ? { feedback: null } : {};
  });
  if (feedback === null) lessons.end(showing);
  if (!feedback || !(idle() || untouched() || current?.showing === showing)) return false;
  open(item);
  teach(item.answer.value, feedback);
  return true;
}

/**
 * The researchers' answer and reason, beside the answer to the pair on the screen.
 * @param {number} yours
 * @param {{value: number, reason: string, agrees: boolean | null}} feedback
 */
function teach(yours, { value, reason, agrees }) {
  const verdict = agrees === null ? "" : agrees ? "agrees" : "differs";
  const title = verdict ? `Your answer ${verdict}` : "One of the two answers takes no side";
  view.element("feedback", HTMLElement).dataset.verdict = verdict;
  view.setText("feedback-title", title);
  view.setText("feedback-theirs", `${value}: ${sheet.words(value)}`);
  view.setText("feedback-yours", `${yours}: ${sheet.words(yours)}`);
  view.setParagraphs("feedback-reason", reason);
  enter("feedback");
  view.element("feedback-title", HTMLElement).focus();
}

function learnt() {
  if (current) lessons.end(current.showing);
  goOn();
}

/** @param {ApiError} error */
function waiting(error) {
  tellState();
  if (error.trouble === "signed-out") view.showTrouble(error, { aside: false });
  if (state === "waiting") {
    const notes = current?.document === null;
    view.setText(
      "pending-words",
      notes
        ? "Your notes are kept here. The document comes when the network is back."
        : "Your answer is kept here. The researchers' answer comes when the network is back.",
    );
    view.setText("save-words", "Try again now");
    view.show("go-on", notes && nextHeld() !== undefined);
    view.show("pending", true);
  } else if (state === "empty") view.showNothing(nothing());
}

function refused() {
  tellState();
  if (outbox.refused) view.showTrouble(outbox.refused.error, { aside: true });
}

/** @param {Entry} entry */
function elsewhere(entry) {
  if (entry.path === NOTES || entry.path === FLAGS) return;
  last = null;
  leases.settle(entry.body.showing);
  if (current?.showing !== entry.body.showing || state !== "judging" || changing) return;
  moveOn("", "You answered that one in another tab");
}

/** What this tab said of it, and waited for, is over. @param {Entry} entry */
function gone({ path, body }) {
  if (view.warns()) tellState();
  if (idle()) look();
  if (state !== "waiting" || current?.showing !== body.showing || path === FLAGS) return;
  if (path === NOTES) look();
  else recall(body.showing);
}

async function tryAgain() {
  view.show("trouble", false);
  tellState();
  await outbox.send();
  await look();
}

function setAside() {
  const { entry } = outbox.refused ?? {};
  if (!entry) return;
  outbox.setAside(entry);
  view.show("trouble", false);
  refused();
  if (entry.path === FLAGS) return;
  leases.settle(entry.body.showing);
  if (state === "waiting" && current?.showing === entry.body.showing) goOn();
}

drafts.follow((showing, draft) => state === "judging" && current?.showing === showing && sheet.fill(draft));

const form = view.element("answer", HTMLFormElement);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
form.addEventListener("input", () => {
  tellState();
  keepDraft();
});
document.addEventListener("focusin", ({ target }) => {
  if (state === "judging" && current) timer.turn(current.document ? sheet.stepAt(target) : "notes");
});

keys.listen(
  {
    save,
    leave,
    choose: (value) => state === "judging" && current?.document && sheet.choose(value, sheet.stepOf(current)),
    explain: () => state === "judging" && current?.document && sheet.writeWhy(),
  },
  view.element("use-keys", HTMLInputElement),
);
timer.watch(document);
leases.beat(look);
view.show("unkept", !drafts.kept);

for (const [id, act] of Object.entries({
  skip: () => pass("skip"),
  flag: () => pass("flag"),
  shared: () => current && marks.toggle("shared", current),
  differences: () => current && marks.toggle("differs", current),
  "show-keys": () => view.element("keys-dialog", HTMLDialogElement).showModal(),
  "change-notes": changeNotes,
  undo,
  keep,
  "look-now": look,
  "try-again": tryAgain,
  "set-aside": setAside,
  "send-aside": () => outbox.sendAside(),
  "go-on": goOn,
})) {
  view.element(id, HTMLButtonElement).addEventListener("click", act);
}

addEventListener("online", tryAgain);
addEventListener("offline", () => tellState());
addEventListener("beforeunload", (event) => (outbox.atRisk || drafts.atRisk) && event.preventDefault());
setInterval(() => idle() && !document.hidden && look(), LOOK_AGAIN);
document.addEventListener("visibilitychange", () => document.hidden || tryAgain());

tellState();
await outbox.send();
await look();
