/** Marks words on demand: those that the text and a summary share, or those by which the two summaries differ. */

import { element, setMarked, setParagraphs, show } from "./view.js";

/** @typedef {[number, number]} Range from one letter up to another */
/** @typedef {{start: number, end: number, word: string}} Word */
/** @typedef {"shared" | "differs"} Kind */
/** @typedef {import("./leases.js").Item} Item */

const BUTTONS = { shared: element("shared", HTMLButtonElement), differs: element("differences", HTMLButtonElement) };
/** @type {Kind | null} */
let shown = null;

/** A new item begins without marks. @param {Item} item */
export function clear(item) {
  shown = null;
  BUTTONS.shared.disabled = !item.document;
  BUTTONS.differs.disabled = item.summaries.length < 2;
  describe();
}

/** @param {Kind} kind @param {Item} item */
export function toggle(kind, item) {
  shown = shown === kind ? null : kind;
  const [a, b = ""] = item.summaries.map((summary) => summary.text);
  const { title = "", text = "" } = item.document ?? {};
  const of = (/** @type {string} */ one, /** @type {string[]} */ others) =>
    shown === "shared" ? shared(one, others) : [];
  const sides = shown === "differs" ? differing(a, b) : [of(a, [title, text]), of(b, [title, text])];
  setMarked("document-title", title || "Document", of(title, [a, b]), "shared");
  setParagraphs("document-text", text, of(text, [a, b]), "shared");
  setParagraphs("summary-a", a, sides[0], kind);
  setParagraphs("summary-b", b, sides[1], kind);
  describe();
}

function describe() {
  for (const [kind, button] of Object.entries(BUTTONS)) {
    button.setAttribute("aria-pressed", String(kind === shown));
    show(`legend-${kind}`, kind === shown);
  }
}

const WORD = /[\p{L}\p{N}]+(?:['’][\p{L}\p{N}]+)*/gu;
// Every text shares these; marking them would hide the others.
const SMALL = new Set(
  ("a about all also am an and any are as at be been but by can did do does for from had has have he her him his how i " +
    "i'm if in into is it it's its just me my no not of on or our out she so some than that the their them then there " +
    "they this to up us was we were what when which who will with would you your").split(" "),
);

/** @param {string} text @returns {Word[]} */
function words(text) {
  return [...text.matchAll(WORD)].map(({ 0: found, index }) => {
    return { start: index, end: index + found.length, word: found.toLowerCase().replaceAll("’", "'") };
  });
}

/** @param {string} text @param {string[]} others @returns {Range[]} the words of `text` that any of the others has */
function shared(text, others) {
  const known = new Set(others.flatMap((other) => words(other).map(({ word }) => word)));
  return joined(text, words(text).filter(({ word }) => known.has(word) && !SMALL.has(word)));
}

/**
 * The words outside of the longest common subsequence; its table has 500 x 500 cells for two texts of 500 words.
 * @param {string} one @param {string} other @returns {[Range[], Range[]]}
 */
function differing(one, other) {
  const [left, right] = [words(one), words(other)];
  const width = right.length + 1;
  const common = new Uint16Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      const [below, beside] = [common[(i + 1) * width + j], common[i * width + j + 1]];
      common[i * width + j] =
        left[i].word === right[j].word ? common[(i + 1) * width + j + 1] + 1 : Math.max(below, beside);
    }
  }
  const [gone, come] = [new Set(left), new Set(right)];
  for (let i = 0, j = 0; i < left.length && j < right.length; ) {
    if (left[i].word === right[j].word) {
      gone.delete(left[i++]);
      come.delete(right[j++]);
    } else if (common[(i + 1) * width + j] >= common[i * width + j + 1]) i++;
    else j++;
  }
  return [joined(one, [...gone]), joined(other, [...come])];
}

/** @param {string} text @param {Word[]} marked @returns {Range[]} neighbours as one */
function joined(text, marked) {
  /** @type {Range[]} */
  const ranges = [];
  for (const { start, end } of marked) {
    const before = ranges.at(-1);
    if (before && /^[^\p{L}\p{N}\n]*$/u.test(text.slice(before[1], start))) before[1] = end;
    else ranges.push([start, end]);
  }
  return ranges;
}
