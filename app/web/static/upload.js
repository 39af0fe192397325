/**
 * Says that a file is too large before it is sent: a server that refuses it in the middle looks like a broken network.
 */

for (const input of document.querySelectorAll("input[type=file][data-megabytes]")) {
  if (!(input instanceof HTMLInputElement)) continue;
  input.addEventListener("change", () => {
    const most = Number(input.dataset.megabytes) * 1e6;
    const size = input.files?.[0]?.size ?? 0;
    const words = size > most ? `This file has ${(size / 1e6).toFixed(0)} MB. Use hone import on the server, which has no limit.` : "";
    input.setCustomValidity(words);
    input.reportValidity();
  });
}
