/** Questions to Hone's own server, and what each way of failing means for an answer that has to arrive. */

const PATIENCE = 15_000;
const ASK_AGAIN = new Set([408, 425, 429]);

/**
 * `unreachable`: nobody knows whether it arrived, send it again with the same key.
 * `signed-out`: it waits for the labeler. `refused`: sending it again will not help by itself.
 * @typedef {"unreachable" | "signed-out" | "refused"} Trouble
 */

export class ApiError extends Error {
  /**
   * @param {Trouble} trouble
   * @param {string} message
   * @param {string} whatToDo
   */
  constructor(trouble, message, whatToDo) {
    super(message);
    this.trouble = trouble;
    this.whatToDo = whatToDo;
  }
}

/**
 * @callback Post
 * @param {string} path
 * @param {object} body
 * @returns {Promise<any>} the JSON of a 2xx; anything else throws an ApiError
 */

/** @param {string} viewer whose page this is: the server answers 401 once somebody else is signed in in this browser */
export function asking(viewer) {
  // A name may hold any letter, a header may not.
  const whose = { "X-Hone-Viewer": encodeURIComponent(viewer) };
  const json = { ...whose, "Content-Type": "application/json" };
  return {
    /** @type {Post} */
    post: (path, body) => ask(path, { method: "POST", headers: json, body: JSON.stringify(body) }),
    /** @param {string} path @returns {Promise<any>} as post */
    get: (path) => ask(path, { headers: whose }),
  };
}

/** @param {string} path @param {RequestInit} how */
async function ask(path, how) {
  let response;
  let answer = null;
  try {
    response = await fetch(path, {
      ...how,
      headers: { ...how.headers, Accept: "application/json" },
      // A proxy that lost its session redirects to its own sign-in page: that must not pass for an answer.
      redirect: "manual",
      signal: AbortSignal.timeout(PATIENCE),
    });
    answer = await response.json().catch(() => null);
  } catch {
    throw new ApiError("unreachable", "The server cannot be reached.", "This page goes on trying by itself.");
  }
  // A captive portal answers 200 with a page of its own; only our JSON counts.
  if (response.ok && answer !== null) return answer;
  if (response.status === 401 || response.type === "opaqueredirect") {
    const what = answer?.error ?? "You are signed out.";
    throw new ApiError("signed-out", what, "Sign in again; what you answered is kept in this browser.");
  }
  const again = response.ok || response.status >= 500 || ASK_AGAIN.has(response.status);
  throw new ApiError(
    again ? "unreachable" : "refused",
    answer?.error ?? `The server answered ${response.status}.`,
    answer?.what_to_do ?? (again ? "This page goes on trying by itself." : "Tell an admin what you were doing."),
  );
}
