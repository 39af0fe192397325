/**
 * The keyboard of the judging page. Letters press the buttons that name them as their shortcut. Single keys can be
 * switched off (WCAG 2.1.4), and rest while text is typed.
 */

import * as storage from "./storage.js";

const STORED = "hone.single-keys";
const REST = 500;
let restsUntil = 0;

/** For a moment: a key that was meant for what was on the screen does nothing to what took its place. */
export function rest() {
  restsUntil = performance.now() + REST;
}

/**
 * @typedef {object} Actions
 * @property {(value: number) => void} choose
 * @property {() => void} save
 * @property {() => void} leave back to reading, or to the pair that waits
 * @property {() => void} explain
 */

/**
 * @param {Actions} actions
 * @param {HTMLInputElement} box switches single keys on and off
 */
export function listen(actions, box) {
  box.checked = storage.read(STORED) !== "off";
  box.addEventListener("change", () => storage.write(STORED, box.checked ? "on" : "off"));

  const buttons = [...document.querySelectorAll("button")];

  document.addEventListener("keydown", (event) => {
    const target = event.target instanceof Element ? event.target : document.body;
    if (event.repeat || event.isComposing || document.querySelector("dialog[open], [popover]:popover-open")) return;
    if (performance.now() < restsUntil) return event.preventDefault();
    const command = event.ctrlKey || event.metaKey;
    const typing = target.matches("textarea, input:not([type=radio], [type=checkbox])");
    if (event.key === "Escape") {
      actions.leave();
    } else if (event.key === "Enter") {
      // In a text, Enter begins a line; buttons and links have an Enter of their own, and a radio button sends its form.
      if (typing ? !command : target.closest(command ? "a" : "a, button, summary, input")) return;
      // The next step may begin in a text, where this Enter would begin a line.
      event.preventDefault();
      actions.save();
    } else if (box.checked && !typing && !command && !event.altKey) {
      const key = event.key.toUpperCase();
      const button = buttons.find((button) => button.ariaKeyShortcuts === key && button.checkVisibility());
      if (/^[1-9]$/.test(key)) actions.choose(Number(key));
      else if (key === "E") actions.explain();
      else if (button) button.click();
      else return;
      event.preventDefault();
    }
  });
}
