// Requests to the server, whose errors are words for people.

export class Problem extends Error {
  constructor(status, code, words) {
    super(words);
    this.status = status;
    this.code = code;
  }
  get isSignedOut() {
    return this.status === 401;
  }
  /** Nobody answered: whether it was done is not known. */
  get isLost() {
    return this.status === 0;
  }
}

/** What is done when a session has ended. */
export const session = { lost: () => {} };

/** A path of the API from its parts, and a query of what is not undefined. */
export function path(parts, query = {}) {
  const text = parts.map(encodeURIComponent).join("/");
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined);
  return `/v1/${text}${pairs.length ? `?${new URLSearchParams(pairs)}` : ""}`;
}

async function ask(method, url, options = {}) {
  let response;
  try {
    response = await fetch(url, { method, credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    throw new Problem(0, "connection", "The server can't be reached.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401 && url.startsWith("/v1/")) session.lost();
  const words = problem.detail ?? `The server answered ${response.status}.`;
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  throw new Problem(response.status, problem.code, problem.hint ? `${text} (${problem.hint})` : text);
}

async function json(response) {
  return response.status === 204 ? undefined : response.json();
}

const send = (method) => async (url, body) => json(await ask(method, url, body === undefined ? {} : {
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
}));

export const get = send("GET");
export const post = send("POST");
export const put = send("PUT");
export const remove = send("DELETE");

/** The first bytes of a file, and how many it has. */
export async function read(url, most) {
  const response = await ask("GET", url, { headers: { Range: `bytes=0-${most - 1}` } }).catch((error) => {
    // An empty file has no range.
    if (error.status === 416) return undefined;
    throw error;
  });
  if (!response) return { bytes: new Uint8Array(), size: 0 };
  const size = Number(response.headers.get("Content-Range")?.split("/")[1] ?? response.headers.get("Content-Length"));
  return { bytes: new Uint8Array(await response.arrayBuffer()), size };
}

/** Hands in a tar archive. */
export async function postArchive(url, archive) {
  return json(await ask("POST", url, { headers: { "Content-Type": "application/x-tar" }, body: archive }));
}

/** Asks for events, those after one that was heard of. */
export function listen(url, last, signal) {
  return ask("GET", url, { signal, headers: { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) } });
}

export async function write(url, body) {
  await ask("PUT", url, { headers: { "Content-Type": "application/octet-stream" }, body });
}

/** Gives a token for a session: whose it is. */
export async function signIn(token) {
  return json(await ask("POST", "/page/session", { headers: { Authorization: `Bearer ${token}` } }));
}

export async function signOut() {
  await ask("DELETE", "/page/session");
}

export async function whoAmI() {
  return json(await ask("GET", "/page/session"));
}
