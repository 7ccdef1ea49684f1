// The sandboxes as they are now: asked for again and again, seldom while nobody looks, and with patience while nobody
// answers.

import { get } from "./api.js";

const OFTEN = 2000;
const SELDOM = 20000;
const SAMPLES = 60;

const listeners = new Set();
const histories = new Map();
let timer;
let failures = 0;
let isRunning = false;
let last;

export const state = { sandboxes: [], most: 0, connected: undefined };

/** Calls whenever something is new, and at once; gives back what ends that. */
export function watch(listener) {
  listeners.add(listener);
  if (last) listener();
  return () => listeners.delete(listener);
}

/** CPU use in percent of one CPU and memory in bytes, the newest last. */
export function history(sandbox) {
  return histories.get(sandbox.id)?.samples ?? [];
}

function note(sandbox) {
  const stats = sandbox.stats;
  if (!stats) return;
  const known = histories.get(sandbox.id) ?? { samples: [] };
  const { cpu_ms: cpu, memory_bytes: memory } = stats.figures;
  const passed = stats.uptime_ms - (known.uptime ?? 0);
  const used = known.cpu === undefined || passed <= 0 ? undefined : Math.max(0, ((cpu - known.cpu) / passed) * 100);
  if (passed > 0) {
    known.samples = [...known.samples, { cpu: cpu === null ? undefined : used, memory }].slice(-SAMPLES);
    known.cpu = cpu ?? undefined;
    known.uptime = stats.uptime_ms;
  }
  histories.set(sandbox.id, known);
}

async function look() {
  clearTimeout(timer);
  timer = undefined;
  try {
    const all = await get("/v1/sandboxes");
    all.sandboxes.sort((one, other) => one.name.localeCompare(other.name));
    all.sandboxes.forEach(note);
    const ids = new Set(all.sandboxes.map((sandbox) => sandbox.id));
    for (const id of histories.keys()) if (!ids.has(id)) histories.delete(id);
    Object.assign(state, all, { connected: true });
    last = true;
    failures = 0;
  } catch (error) {
    if (error.isSignedOut) return stop();
    state.connected = false;
    failures += 1;
  }
  if (!isRunning) return;
  for (const listener of listeners) listener();
  const wait = failures ? Math.min(500 * 2 ** failures, 15000) : OFTEN;
  timer = setTimeout(look, document.hidden ? Math.max(wait, SELDOM) : wait);
}

/** Looks now, and goes on. */
export function start() {
  isRunning = true;
  return look();
}

export function stop() {
  isRunning = false;
  clearTimeout(timer);
}

document.addEventListener("visibilitychange", () => {
  if (isRunning && !document.hidden) look();
});
addEventListener("online", () => isRunning && look());
