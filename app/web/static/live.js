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

/**
 * What is in which state, a line for each.
 * @param {ParentNode} root
 */
const states = (root) =>
  parts(root).flatMap((part) =>
    [...part.querySelectorAll(".badge")].map((badge) => {
      const heading = badge.closest("tr")?.querySelector("th");
      const words = heading ? `${heading.textContent}: ${badge.textContent}` : badge.parentElement?.textContent ?? "";
      return words.replace(/\s+/g, " ").trim();
    }),
  );

async function look() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const news = parts(fresh);
  const before = states(document);
  parts(document).forEach((part, index) => {
    const next = news[index];
    if (!next || part.isEqualNode(next)) return;
    const again = focused(part);
    part.replaceWith(next);
    if (!again) return;
    const twin = /** @type {HTMLElement | null} */ (next.querySelector(again));
    // A button that is gone leaves the focus where it was, not at the top of the page.
    if (!twin && next instanceof HTMLElement) next.tabIndex = -1;
    (twin ?? /** @type {HTMLElement} */ (next)).focus();
  });
  const changed = states(document).filter((words) => !before.includes(words));
  if (changed.length) said.textContent = changed.join(". ");
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
