/**
 * A form with `data-confirm="question"` asks it in a dialog before it is sent.
 * The dialog's button carries the words of the button that was pressed.
 */

/**
 * @param {string} question
 * @param {string} action
 * @returns {Promise<boolean>}
 */
function ask(question, action) {
  const dialog = document.createElement("dialog");
  const text = document.createElement("p");
  text.id = "confirm-question";
  text.textContent = question;
  const no = document.createElement("button");
  no.value = "no";
  no.textContent = "Go back";
  const yes = document.createElement("button");
  yes.value = "yes";
  yes.className = "danger";
  yes.textContent = action;
  const actions = document.createElement("div");
  actions.className = "actions";
  actions.append(no, yes);
  const form = document.createElement("form");
  form.method = "dialog";
  form.append(text, actions);
  dialog.setAttribute("aria-labelledby", text.id);
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

/** @type {WeakSet<HTMLFormElement>} */
const confirmed = new WeakSet();

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !form.dataset.confirm || confirmed.delete(form)) return;
  event.preventDefault();
  const submitter = event.submitter instanceof HTMLButtonElement ? event.submitter : null;
  if (await ask(form.dataset.confirm, submitter?.textContent.trim() || "Continue")) {
    confirmed.add(form);
    form.requestSubmit(submitter);
  }
});
