/** The form under the two summaries: the 9-point scale and the explanation. */

import { element, setText } from "./view.js";

/** @typedef {{value: number | null, explanation: string, seconds: number}} Draft */

const form = element("answer", HTMLFormElement);
const scale = element("scale", HTMLFieldSetElement);
const explanation = element("explanation", HTMLTextAreaElement);
const explain = element("explain", HTMLDetailsElement);
const steps = [...scale.querySelectorAll("input")];

/** @returns {number | null} */
export function chosen() {
  const step = steps.find((step) => step.checked);
  return step ? Number(step.value) : null;
}

/** @returns {string | null} */
export function explained() {
  return explanation.value.trim() || null;
}

/** @param {Draft} draft */
export function fill(draft) {
  for (const step of steps) step.checked = Number(step.value) === draft.value;
  explanation.value = draft.explanation;
  explain.open = draft.explanation !== "";
  describe();
}

/** @param {number} value */
export function choose(value) {
  if (scale.disabled) return;
  const step = steps[value - 1];
  step.checked = true;
  step.dispatchEvent(new Event("change", { bubbles: true }));
}

/** @param {boolean} locked while an answer is on its way it must not differ from what is on the screen */
export function lock(locked) {
  scale.disabled = locked;
  explanation.readOnly = locked;
}

/**
 * @param {() => void} changed
 * @param {() => void} save
 */
export function listen(changed, save) {
  scale.addEventListener("change", () => {
    describe();
    changed();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
}

/** Says the choice in words and marks the side it leans to: a slip of the finger shows before it is saved. */
function describe() {
  const step = steps.find((step) => step.checked);
  const value = Number(step?.value ?? 5);
  setText("choice-words", step?.dataset.words ?? "");
  element("pair", HTMLElement).dataset.leaning = value < 5 ? "a" : value > 5 ? "b" : "";
}
