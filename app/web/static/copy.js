/**
 * A button with `data-copy="ID"` puts the text of that element on the clipboard.
 */

/** @param {HTMLElement} element */
function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection?.removeAllRanges();
  selection?.addRange(range);
}

document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element ? event.target.closest("button[data-copy]") : null;
  const source = button instanceof HTMLElement ? document.getElementById(button.dataset.copy ?? "") : null;
  if (!button || !source) return;
  try {
    await navigator.clipboard.writeText(source.textContent.trim());
    button.textContent = "Copied";
  } catch {
    // Browsers offer the clipboard on https and localhost only; an install on a plain http address has none.
    select(source);
    button.textContent = "Selected: press Ctrl+C";
  }
});
