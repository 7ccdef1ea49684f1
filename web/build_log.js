// The log of a build: what is kept of it, and what comes, phase by phase. Each row is there once, whatever is lost on the way.

import { get, path } from "./api.js";
import { attempt, button, el, setText } from "./dom.js";
import { follow } from "./events.js";
import { lines } from "./lines.js";

const PAGE = 1000;
const STATES = { open: "Live", lost: "Connection lost. Trying again …", over: "The build has ended: this is all." };
const ABOUT = { stdout: "", stderr: "err", system: "•" };

/** A line as a terminal would leave it: without what it obeys, and of what was written over only the last. */
export function plain(text) {
  const words = text.replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)|[ -/]*[0-~])/g, "");
  const last = words.split("\r").findLast((part) => part) ?? "";
  return last.replace(/[\0-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]/g, "\u00b7");
}

/** When it was, from the first line on: `1:02.3`. */
function at(microseconds) {
  const tenths = Math.max(0, Math.floor(microseconds / 100000));
  const minutes = Math.floor(tenths / 600);
  const seconds = (tenths % 600) / 10;
  return minutes ? `${minutes}:${seconds.toFixed(1).padStart(4, "0")}` : seconds.toFixed(1);
}

/** All of a log as a file. */
async function save(build) {
  const parts = [];
  for (let after = 0, more = true; more;) {
    const { rows } = await get(path(["builds", build.id, "logs"], { after, limit: PAGE }));
    parts.push(...rows.map((row) => `${new Date(row.time_us / 1000).toISOString()} ${row.phase ?? "-"} ${row.stream} ${row.text}\n`));
    after = rows.at(-1)?.sequence ?? after;
    more = rows.length === PAGE;
  }
  const url = URL.createObjectURL(new Blob(parts, { type: "text/plain" }));
  el("a", { href: url, download: `${build.project}-${build.id.slice(0, 8)}.log` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

/** `changed` is called whenever the build has come further. */
export function buildLog(build, changed) {
  const shown = lines("Log of the build");
  const status = el("p", { className: "status", role: "status" }, "Connecting …");
  const load = button("Save the log", () => attempt(() => save(build), load), { className: "quiet" });
  let last = 0;
  let phase = null;
  let begin;

  const row = (line) => {
    // A server that is asked anew may tell what it told.
    if (line.sequence <= last) return;
    last = line.sequence;
    begin ??= line.time_us;
    if (line.phase && line.phase !== phase) shown.add(el("h3", { className: "phase" }, line.phase));
    phase = line.phase;
    const stream = el("span", { className: "about" }, ABOUT[line.stream] ?? "");
    const element = el("div", { className: `line ${line.stream}` }, el("span", { className: "at" }, at(line.time_us - begin)), stream,
      el("span", { className: "text" }, plain(line.text) + (line.truncated ? " …" : "")));
    element.dataset.sequence = line.sequence;
    shown.add(element);
    // Nobody wants to be read what was there before they came.
    if (last >= build.log_rows) shown.announce(true);
  };
  shown.announce(build.log_rows === 0);

  const hear = (name, data) => {
    if (name === "log") row(data);
    else changed();
  };
  let wasLost = false;
  const end = follow(path(["builds", build.id, "logs", "events"]), hear, (state, why) => {
    const words = state === "open" && wasLost ? "Connected again. Nothing was missed." : STATES[state];
    setText(status, words ?? `The log can't be followed: ${why}`);
    status.dataset.how = state === "over" ? "done" : state;
    wasLost = state === "lost";
  });
  const leave = () => {
    end();
    shown.leave();
  };
  const head = el("div", { className: "row bar" }, el("h2", {}, "Log"), status, el("span", { className: "grow" }), load);
  return { element: el("section", { className: "build-log", ariaLabel: "Log" }, head, shown.element), leave };
}
