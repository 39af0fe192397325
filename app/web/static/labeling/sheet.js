/**
 * All that a labeler can fill in: notes on the summaries, the 9-point scale, four axes, an explanation, of which each
 * step of a task shows a part; and why something is skipped or flagged.
 */

import { element, focus, setText, show } from "./view.js";

/** @typedef {import("./storage.js").Draft} Draft */
/** @typedef {import("./leases.js").Item} Item */
/** @typedef {"notes" | "compare" | "rate"} Step */

const QUESTIONS = {
  notes: "What does each summary say?",
  compare: "Which summary is better?",
  rate: "How good is this summary?",
};
const WIDE = matchMedia("(min-width: 60rem)");
const TOUCH = matchMedia("(hover: none) and (pointer: coarse)");

const form = element("answer", HTMLFormElement);
const scale = element("scale", HTMLFieldSetElement);
const axes = [...element("axes", HTMLElement).querySelectorAll("fieldset")];
const notes = [element("notes-a", HTMLTextAreaElement), element("notes-b", HTMLTextAreaElement)];
const kept = [element("kept-a", HTMLDetailsElement), element("kept-b", HTMLDetailsElement)];
const explanation = element("explanation", HTMLTextAreaElement);
const explain = element("explain", HTMLDetailsElement);

/** @param {HTMLFieldSetElement} group @returns {HTMLInputElement | null} */
const checked = (group) => group.querySelector("input:checked");

/** @param {HTMLFieldSetElement} group @returns {number | null} */
const chosen = (group) => Number(checked(group)?.value) || null;

/** @param {HTMLFieldSetElement} group @param {number | null} value */
function check(group, value) {
  for (const step of group.querySelectorAll("input")) step.checked = Number(step.value) === value;
}

/** @param {Item} item @returns {Step} */
export function stepOf(item) {
  if (item.task === "rate") return "rate";
  return item.document ? "compare" : "notes";
}

/** @param {Item} item @param {Draft | null} [draft] @returns {Draft} what was begun or answered before, or a blank */
export function begin({ answer, notes: saved }, draft) {
  if (draft) return { ...draft, notes: saved.map((text, side) => draft.notes[side] || text || "") };
  const { value = null, explanation = null, comment = null, ...scores } = answer ?? {};
  const spent = { notes: 0, compare: 0, explain: 0 };
  return { value, explanation: explanation ?? comment ?? "", notes: saved.map((text) => text ?? ""), scores, spent };
}

/** @param {Draft} draft */
export function fill(draft) {
  check(scale, draft.value);
  for (const axis of axes) check(axis, draft.scores[axis.name]);
  notes.forEach((field, side) => (field.value = draft.notes[side] ?? ""));
  explanation.value = draft.explanation;
  explain.open = draft.explanation !== "";
  describe();
}

/** @returns {Omit<Draft, "spent">} */
export function read() {
  return {
    value: chosen(scale),
    explanation: explanation.value.trim(),
    notes: notes.map((field) => field.value.trim()),
    scores: Object.fromEntries(axes.map((axis) => [axis.name, chosen(axis)])),
  };
}

/** @param {Item} item @returns {boolean} whether the notes say something else than those that were saved */
export function rewritten(item) {
  return read().notes.some((text, side) => text && text !== item.notes[side]);
}

/** @param {Item} item */
export function untouched(item) {
  const { value, explanation, scores } = read();
  return !value && !explanation && !rewritten(item) && !Object.values(scores).some(Boolean);
}

/** @param {Step} step @param {Item} item */
export function turn(step, item) {
  element("pair", HTMLElement).dataset.step = step;
  setText("question", QUESTIONS[step]);
  show("scale", step === "compare");
  show("axes", step === "rate");
  show("explain", step !== "notes");
  show("about-notes", step === "notes");
  showNotes(step === "notes", item);
}

/**
 * From the heading, Space scrolls the text and a screen reader starts to read it. A note's field is described by its
 * summary; on a touch screen it would call up a keyboard over it.
 * @param {Step} step
 */
export function enter(step) {
  if (step !== "notes") focus("document-title");
  else if (TOUCH.matches) focus("question");
  else writeNotes();
}

/** @param {Step} step @returns {string} what is missing, in words; empty when it can be saved */
export function missing(step) {
  if (step === "notes") {
    if (notes.every((field) => field.value.trim())) return "";
    writeNotes();
    return "Write a note on each summary first";
  }
  if (step === "compare") return chosen(scale) ? "" : "Choose 1 to 9 first";
  const axis = axes.find((axis) => !chosen(axis));
  if (axis) tabInto(axis).focus();
  return axis ? `${axis.dataset.title} has no score yet` : "";
}

/** @param {Step} step @returns {Record<string, any>} what was answered, as the server takes it */
export function answered(step) {
  const { value, explanation, scores } = read();
  return step === "rate" ? { ...scores, comment: explanation || null } : { value, explanation: explanation || null };
}

/** @param {boolean} locked while the labeler waits for what the server says to it */
export function lock(locked) {
  for (const field of form.elements) {
    if (field instanceof HTMLFieldSetElement) field.disabled = locked;
    if (field instanceof HTMLTextAreaElement) field.readOnly = locked;
  }
}

// Notes

/** @param {boolean} writing otherwise what was saved stands beside each summary @param {Item} item */
export function showNotes(writing, item) {
  notes.forEach((field, side) => {
    const saved = item.notes[side] ?? "";
    /** @type {HTMLElement} */ (field.parentElement).hidden = !writing;
    kept[side].hidden = writing || !saved;
    kept[side].open = WIDE.matches;
    /** @type {HTMLElement} */ (kept[side].lastElementChild).textContent = saved;
  });
  setText("change-notes-words", writing ? "Save my notes" : "Change my notes");
}

export const writingNotes = () => !(/** @type {HTMLElement} */ (notes[0].parentElement).hidden);

export const writeNotes = () => (notes.find((field) => !field.value.trim()) ?? notes[0]).focus();

/** @param {EventTarget | null} target @returns {import("./timer.js").Step} what is worked on there */
export function stepAt(target) {
  if (target === explanation) return "explain";
  return notes.some((field) => field === target) ? "notes" : "compare";
}

// Scales

/** @param {number} value @returns {string} */
export const words = (value) => scale.querySelectorAll("input")[value - 1].dataset.words ?? "";

/**
 * On the 9-point scale; or on the axis that has the focus, or else the first without a score, going on to the next.
 * @param {number} value @param {Step} step
 */
export function choose(value, step) {
  const axis = axes.find((axis) => axis.contains(document.activeElement)) ?? axes.find((axis) => !chosen(axis));
  const group = step === "rate" ? axis ?? axes[axes.length - 1] : scale;
  if (value > group.querySelectorAll("input").length) return;
  check(group, value);
  group.dispatchEvent(new Event("input", { bubbles: true }));
  if (step !== "rate") return;
  const next = axes[axes.indexOf(group) + 1];
  (next ? tabInto(next) : element("save", HTMLButtonElement)).focus();
}

/** @param {HTMLFieldSetElement} axis */
const tabInto = (axis) => checked(axis) ?? axis.querySelectorAll("input")[0];

export function writeWhy() {
  explain.open = true;
  explanation.focus();
}

/** The choice in words, and the side it leans to: a slip of the finger shows before it is saved. */
function describe() {
  const value = chosen(scale);
  setText("choice-words", value ? words(value) : "");
  element("pair", HTMLElement).dataset.leaning = !value || value === 5 ? "" : value < 5 ? "a" : "b";
}

scale.addEventListener("input", describe);

// Dialogs

let asked = 0;

/**
 * @param {"skip" | "flag"} what
 * @returns {Promise<{reason: string, comment: string | null} | null>} null: the labeler went back
 */
export function askWhy(what) {
  const dialog = element(`${what}-dialog`, HTMLDialogElement);
  const form = /** @type {HTMLFormElement} */ (dialog.querySelector("form"));
  form.reset();
  /** @type {HTMLButtonElement} */ (form.querySelector("[type=button]")).onclick = () => dialog.close();
  dialog.returnValue = "";
  dialog.showModal();
  const turn = ++asked;
  return new Promise((resolve) => {
    function heard() {
      // A close is told after the fact: the dialog may have been opened again by then.
      if (turn === asked && dialog.open) return;
      dialog.removeEventListener("close", heard);
      const said = new FormData(form);
      const reason = said.get("reason");
      if (turn !== asked || dialog.returnValue !== "yes" || !reason) return resolve(null);
      resolve({ reason: String(reason), comment: String(said.get("comment")).trim() || null });
    }
    dialog.addEventListener("close", heard);
  });
}
