/** The keyboard of the judging page. Single keys can be switched off (WCAG 2.1.4), and rest while text is typed. */

import * as storage from "./storage.js";

const STORED = "hone.single-keys";

/**
 * @typedef {object} Actions
 * @property {(value: number) => void} choose
 * @property {() => void} save
 * @property {() => void} skip
 * @property {() => void} undo
 * @property {() => void} keep
 * @property {() => void} help
 */

/**
 * @param {Actions} actions
 * @param {HTMLInputElement} box switches single keys on and off
 */
export function listen(actions, box) {
  box.checked = storage.read(STORED) !== "off";
  box.addEventListener("change", () => storage.write(STORED, box.checked ? "on" : "off"));

  document.addEventListener("keydown", (event) => {
    const target = event.target instanceof Element ? event.target : document.body;
    if (event.repeat || event.isComposing || document.querySelector("dialog[open], [popover]:popover-open")) return;
    const command = event.ctrlKey || event.metaKey;
    if (target.matches("textarea, input:not([type=radio], [type=checkbox])")) {
      if (command && event.key === "Enter") actions.save();
      return;
    }
    if (command || event.altKey) return;
    if (event.key === "Enter") {
      // Buttons and links have an Enter of their own, and a radio button sends its form.
      if (!target.closest("a, button, summary, input")) actions.save();
    } else if (event.key === "Escape") {
      actions.keep();
    } else if (box.checked) {
      const key = event.key.toLowerCase();
      if (/^[1-9]$/.test(key)) actions.choose(Number(key));
      else if (key === "s") actions.skip();
      else if (key === "u") actions.undo();
      else if (key === "?") actions.help();
      else return;
      event.preventDefault();
    }
  });
}
