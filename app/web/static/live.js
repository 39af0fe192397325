/**
 * Parts of a page marked `data-live="on"` are fetched again every two seconds, until they say `data-live="off"`.
 * The server's own page is the only source of what they show.
 */

const EVERY = 2000;

/** @param {ParentNode} root */
const parts = (root) => [...root.querySelectorAll("[data-live]")];

/**
 * What has the focus inside a part, as a selector that finds its twin in the new one.
 * @param {Element} part
 */
function focused(part) {
  const active = document.activeElement;
  if (!active || active === part || !part.contains(active)) return null;
  if (active.id) return `#${CSS.escape(active.id)}`;
  const form = active.closest("form[action]");
  if (form) return `form[action="${CSS.escape(form.getAttribute("action") ?? "")}"] button`;
  return active instanceof HTMLAnchorElement ? `a[href="${CSS.escape(active.getAttribute("href") ?? "")}"]` : null;
}

const said = document.createElement("p");
said.className = "visually-hidden";
said.setAttribute("role", "status");
document.querySelector("main")?.append(said);

/** @param {ParentNode} root */
const states = (root) => parts(root).flatMap((part) => [...part.querySelectorAll(".badge")].map((badge) => badge.textContent)).join(", ");

async function look() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const news = parts(fresh);
  const before = states(document);
  parts(document).forEach((part, index) => {
    const next = news[index];
    // Nothing is exchanged that somebody reads from the clipboard or has open.
    if (!next || part.isEqualNode(next)) return;
    const again = focused(part);
    part.replaceWith(next);
    if (again) /** @type {HTMLElement | null} */ (next.querySelector(again))?.focus();
  });
  if (states(document) !== before) said.textContent = states(document);
}

async function keepLooking() {
  while (document.querySelector('[data-live="on"]')) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (document.hidden || document.querySelector("dialog[open]")) continue;
    try {
      await look();
    } catch {
      // The network or the session is gone for now; the next look may find them again.
    }
  }
}

keepLooking();
