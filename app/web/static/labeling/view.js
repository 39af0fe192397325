/** What is on the screen. Documents and summaries are text, never markup: they are only ever set as textContent. */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new TypeError(`The page has no ${type.name} #${id}.`);
  return found;
}

/**
 * @param {string} id
 * @param {string} text
 */
export function setText(id, text) {
  element(id, HTMLElement).textContent = text;
}

/**
 * @param {string} id
 * @param {boolean} shown
 */
export function show(id, shown) {
  element(id, HTMLElement).hidden = !shown;
}

/** @param {string} id */
export function focus(id) {
  element(id, HTMLElement).focus({ preventScroll: true });
}

/** @typedef {import("./marks.js").Range} Range */

/**
 * @param {string} id
 * @param {string} text
 * @param {Range[]} ranges what is marked
 * @param {string} kind how
 */
export function setMarked(id, text, ranges, kind) {
  element(id, HTMLElement).replaceChildren(...pieces(text, 0, text.length, ranges, kind));
}

/**
 * @param {string} id
 * @param {string} text blank lines part paragraphs
 * @param {Range[]} [ranges]
 * @param {string} [kind]
 */
export function setParagraphs(id, text, ranges = [], kind = "") {
  const blocks = [...text.matchAll(/(?:[^\n]|\n(?!\s*\n))+/g)].filter(([block]) => block.trim());
  element(id, HTMLElement).replaceChildren(
    ...blocks.map(({ 0: block, index }) => {
      const start = index + block.length - block.trimStart().length;
      const paragraph = document.createElement("p");
      paragraph.append(...pieces(text, start, index + block.trimEnd().length, ranges, kind));
      return paragraph;
    }),
  );
}

/** @param {string} text @param {number} start @param {number} end @param {Range[]} ranges @param {string} kind */
function* pieces(text, start, end, ranges, kind) {
  let at = start;
  for (const [from, to] of ranges) {
    if (from < at || to > end) continue;
    yield text.slice(at, from);
    const mark = document.createElement("mark");
    mark.className = kind;
    mark.textContent = text.slice(from, to);
    yield mark;
    at = to;
  }
  yield text.slice(at, end);
}

/** @param {import("./leases.js").Item} item */
export function showItem({ document: about, summaries, practice }) {
  show("document", about !== null);
  show("practice", practice);
  show("side-b", summaries.length > 1);
  setText("summary-a-title", summaries.length > 1 ? "Summary A" : "The summary");
  setText("community", about?.community ?? "");
  setText("document-title", about?.title || "Document");
  setParagraphs("document-text", about?.text ?? "");
  setParagraphs("summary-a", summaries[0].text);
  setParagraphs("summary-b", summaries[1]?.text ?? "");
  for (const part of document.querySelectorAll(".document, .summaries, .answer")) part.scrollTop = 0;
  scrollTo(0, 0);
}

/** @param {import("./leases.js").Progress} progress */
export function showProgress(progress) {
  const [today, total] = [progress.mine_today, progress.mine_total].map((n) => n.toLocaleString("en"));
  setText("progress", `${today} today, ${total} in all`);
}

/**
 * @param {"" | "saving" | "saved" | "waiting"} kind
 * @param {string} text
 */
export function showStatus(kind, text) {
  const status = element("status", HTMLElement);
  status.dataset.kind = kind;
  // A screen reader would read the same words again each time.
  if (status.textContent !== text) status.textContent = text;
}

/** Whether the status says that something is amiss, or waits. */
export const warns = () => element("status", HTMLElement).dataset.kind === "waiting";

/** @param {number} count how many answers the server refused and the labeler set aside */
export function showAside(count) {
  setText("aside-words", `${count} ${count === 1 ? "answer was" : "answers were"} refused and set aside.`);
  setText("send-aside", count === 1 ? "Send it again" : "Send them again");
  show("aside", count > 0);
}

/** @param {{title: string, words: string, link?: {href: string, label: string} | null}} why nothing is there to judge */
export function showNothing({ title, words, link }) {
  setText("empty-title", title);
  setText("empty-words", words);
  const way = element("empty-link", HTMLAnchorElement);
  way.hidden = !link?.href.startsWith("/");
  way.href = link?.href ?? "";
  way.textContent = link?.label ?? "";
}

/**
 * @param {import("./api.js").ApiError} error
 * @param {{aside: boolean}} offer whether it can be set aside
 */
export function showTrouble(error, { aside }) {
  setText("trouble-text", `${error.message} ${error.whatToDo}`);
  show("sign-in", error.trouble === "signed-out");
  show("set-aside", aside);
  show("trouble", true);
}
