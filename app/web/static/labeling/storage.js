/**
 * What this browser keeps for the page: what was begun and is not saved yet, at every stroke, the same in every tab. A
 * browser may block that, or its disk may be full: then nothing is kept.
 */

const PREFIX = "hone.draft.";
const LESSON = "hone.feedback.";
const LOADS = 2;

/**
 * @typedef {object} Draft
 * @property {number | null} value on the 9-point scale
 * @property {string} explanation
 * @property {string[]} notes one for each summary
 * @property {Record<string, number | null>} scores by axis
 * @property {import("./timer.js").Steps} spent seconds
 */

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

/** @param {string | null} text @returns {any} null for what is no JSON: another program may have written there */
export function parsed(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}

export class Drafts {
  /** @type {Map<string, Draft>} what the storage did not take */ #unstored = new Map();
  #swept = false;

  /** @param {string} viewer whose they are: another person may sign in in this browser */
  constructor(viewer) {
    this.viewer = viewer;
    for (const name of names(PREFIX)) if (!whole(read(name))) forget(name);
    // To be told before anything is typed.
    this.kept = write(`${PREFIX}try`, "");
    forget(`${PREFIX}try`);
  }

  /** Whether closing the page loses something. */
  get atRisk() {
    return this.#unstored.size > 0;
  }

  /** @param {string} showing @returns {Draft | null} */
  read(showing) {
    return this.#unstored.get(showing) ?? this.#mine(read(PREFIX + showing));
  }

  /** @param {string} showing @param {Draft} draft */
  write(showing, draft) {
    const text = JSON.stringify({ ...draft, viewer: this.viewer, missed: 0 });
    this.kept = write(PREFIX + showing, text);
    if (this.kept) this.#unstored.delete(showing);
    else this.#unstored.set(showing, draft);
  }

  /** @param {string} showing */
  forget(showing) {
    this.#unstored.delete(showing);
    forget(PREFIX + showing);
  }

  /**
   * Once for each load of the page: what two of them had no use for is gone. No clock tells, it may be put right.
   * @param {(showing: string) => boolean} used
   */
  sweep(used) {
    if (this.#swept) return;
    this.#swept = true;
    for (const name of names(PREFIX)) {
      const draft = this.#mine(read(name));
      if (!draft) continue;
      const missed = used(name.slice(PREFIX.length)) ? 0 : draft.missed + 1;
      if (missed < LOADS) write(name, JSON.stringify({ ...draft, missed }));
      else forget(name);
    }
  }

  /**
   * Calls `fill` when another tab wrote a draft, so that neither tab writes over what was typed in the other.
   * @param {(showing: string, draft: Draft) => void} fill
   */
  follow(fill) {
    addEventListener("storage", (event) => {
      const draft = event.key?.startsWith(PREFIX) ? this.#mine(event.newValue) : null;
      if (event.key && draft) fill(event.key.slice(PREFIX.length), draft);
    });
  }

  /** @param {string | null} text */
  #mine(text) {
    const draft = whole(text);
    return draft?.viewer === this.viewer ? draft : null;
  }
}

/** @param {string | null} text @returns {(Draft & {viewer: string, missed: number}) | null} */
function whole(text) {
  const draft = parsed(text);
  const kept = typeof draft?.viewer === "string" && Number.isInteger(draft.missed);
  return kept && Array.isArray(draft.notes) && draft.scores && draft.spent ? draft : null;
}

/** Practice answers whose lesson was not read to its end. */
export class Lessons {
  /** @param {string} viewer whose they are */
  constructor(viewer) {
    this.viewer = viewer;
  }

  /** @returns {string | undefined} the showing of one */
  get unread() {
    const name = names(LESSON).find((name) => read(name) === this.viewer);
    return name?.slice(LESSON.length);
  }

  /** @param {string} showing */
  begin(showing) {
    write(LESSON + showing, this.viewer);
  }

  /** @param {string} showing */
  end(showing) {
    forget(LESSON + showing);
  }
}
