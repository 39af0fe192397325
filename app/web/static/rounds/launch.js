/** What a round would do with the recipe that is chosen: from a fresh copy of this page whenever the choice changes. */

const form = /** @type {HTMLFormElement | null} */ (document.querySelector('form[action="/rounds"]'));
let asked = 0;

/** @param {HTMLFormElement} chosen shown unless something else is chosen meanwhile */
async function look(chosen) {
  const mine = ++asked;
  const query = [...new FormData(chosen)].map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`);
  try {
    const response = await fetch(`/rounds?${query.join("&")}`, { headers: { Accept: "text/html" } });
    const copy = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = copy.getElementById("forecast");
    const old = document.getElementById("forecast");
    if (response.ok && fresh && old && mine === asked) old.replaceChildren(...document.importNode(fresh, true).childNodes);
  } catch (error) {
    // Without a server there is nothing to show; the button that launches says what is wrong.
    if (!(error instanceof TypeError)) throw error;
  }
}

form?.addEventListener("change", () => look(form));
// Does the same where there is no script.
document.getElementById("look")?.remove();
