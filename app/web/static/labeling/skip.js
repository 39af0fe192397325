/** The dialog that asks why a pair is skipped. */

import { element } from "./view.js";

const dialog = element("skip-dialog", HTMLDialogElement);
const form = /** @type {HTMLFormElement} */ (dialog.querySelector("form"));
element("skip-back", HTMLButtonElement).addEventListener("click", () => dialog.close());

/** @returns {Promise<{reason: string, comment: string | null} | null>} null: the labeler went back */
export function askWhy() {
  form.reset();
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const reason = form.querySelector("input:checked");
        if (dialog.returnValue !== "yes" || !(reason instanceof HTMLInputElement)) return resolve(null);
        resolve({ reason: reason.value, comment: element("skip-comment", HTMLTextAreaElement).value.trim() || null });
      },
      { once: true },
    );
  });
}
