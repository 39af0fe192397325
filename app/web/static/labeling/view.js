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

/**
 * @param {string} id
 * @param {string} text blank lines part paragraphs
 */
function setParagraphs(id, text) {
  const paragraphs = text.split(/\n\s*\n/).filter((part) => part.trim());
  element(id, HTMLElement).replaceChildren(
    ...paragraphs.map((part) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = part.trim();
      return paragraph;
    }),
  );
}

/** @param {import("./leases.js").Item} item */
export function showPair(item) {
  setText("community", item.document.community ?? "");
  setText("document-title", item.document.title || "Document");
  setText("batch-note", item.batch_note ?? "");
  setParagraphs("document-text", item.document.text);
  setParagraphs("summary-a", item.summaries[0].text);
  setParagraphs("summary-b", item.summaries[1].text);
  for (const part of document.querySelectorAll(".document, .summaries")) part.scrollTop = 0;
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
  status.textContent = text;
}

/**
 * @param {import("./api.js").ApiError} error
 * @param {{again: boolean, aside: boolean}} offer which ways out there are
 */
export function showTrouble(error, offer) {
  setText("trouble-text", `${error.message} ${error.whatToDo}`);
  show("sign-in", error.trouble === "signed-out");
  show("try-again", offer.again);
  show("set-aside", offer.aside);
  show("trouble", true);
}

export function hideTrouble() {
  show("trouble", false);
}
