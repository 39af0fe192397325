/** What this browser keeps for the page. A browser may block that, or its disk may be full: then nothing is kept. */

/** @returns {Storage | null} null where this browser keeps nothing for sites */
function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

/** @param {string} prefix @returns {string[]} */
export function names(prefix) {
  return Object.keys(storage() ?? {}).filter((name) => name.startsWith(prefix));
}

/** @param {string} name @returns {string | null} */
export function read(name) {
  return storage()?.getItem(name) ?? null;
}

/** @param {string} name @param {string} text @returns {boolean} whether it is kept */
export function write(name, text) {
  try {
    localStorage.setItem(name, text);
    return true;
  } catch {
    return false;
  }
}

/** @param {string} name */
export function forget(name) {
  storage()?.removeItem(name);
}
