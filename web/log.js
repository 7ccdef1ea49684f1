// The log of a sandbox as it comes. After a loss it goes on where it was.

import { path } from "./api.js";
import { el, setText, time } from "./dom.js";
import { follow } from "./events.js";
import { lines } from "./lines.js";

const STATES = { open: "Live", lost: "Connection lost. Trying again …", over: "The sandbox has ended." };

/** Bytes that are no text come as base64. */
function words(content) {
  return typeof content === "string" ? content : `(${content.base64.length} characters of base64)`;
}

export function log(sandbox) {
  const shown = lines(`Log of ${sandbox}`);
  const status = el("p", { className: "status", role: "status" }, "Connecting …");
  const none = el("p", { className: "empty" }, "Nothing yet. Commands that are started by themselves write here; terminals have screens of their own.");
  const hear = (name, line) => {
    if (name !== "log") return;
    none.hidden = true;
    const about = line.exec === null ? line.event : `${line.event} ${line.exec}`;
    const text = (line.event === "started" ? sandbox : words(line.text)) + (line.truncated ? " …" : "");
    shown.add(el("div", { className: `line ${line.event}` }, time(line.time_ms), el("span", { className: "about" }, about), el("span", { className: "text" }, text)));
  };
  const end = follow(path(["sandboxes", sandbox, "logs", "events"]), hear, (state, why) => {
    setText(status, STATES[state] ?? `The log can't be followed: ${why}`);
    status.dataset.how = state;
  });
  const leave = () => {
    end();
    shown.leave();
  };
  return { element: el("section", { ariaLabel: "Log" }, status, none, shown.element), leave };
}
