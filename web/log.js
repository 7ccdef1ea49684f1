// The log of a sandbox as it comes. After a loss the browser goes on where it was, by the id of the last event.

import { path } from "./api.js";
import { el, setText, time } from "./dom.js";

const MOST = 5000;

/** Bytes that are no text come as base64. */
function words(content) {
  return typeof content === "string" ? content : `(${content.base64.length} characters of base64)`;
}

export function log(sandbox) {
  const lines = el("ol", { className: "log", role: "log", ariaLabel: `Log of ${sandbox}`, tabIndex: 0 });
  const status = el("p", { className: "status", role: "status" }, "Connecting …");
  const tell = (text, how) => {
    setText(status, text);
    status.dataset.how = how;
  };
  const none = el("p", { className: "empty" }, "Nothing yet. Commands that are started by themselves write here; terminals have screens of their own.");
  const events = new EventSource(path(["sandboxes", sandbox, "logs", "events"]));
  events.onopen = () => tell("Live", "open");
  events.onerror = () => events.readyState === EventSource.CLOSED ? tell("The log can't be followed.", "over") : tell("Connection lost. Trying again …", "lost");
  events.addEventListener("log", ({ data }) => {
    const line = JSON.parse(data);
    const isAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 8;
    none.hidden = true;
    const about = line.exec === null ? line.event : `${line.event} ${line.exec}`;
    lines.append(el("li", { className: line.event }, time(line.time_ms), el("span", { className: "about" }, about), el("span", { className: "text" }, (line.event === "started" ? sandbox : words(line.text)) + (line.truncated ? " …" : ""))));
    while (lines.children.length > MOST) lines.firstChild.remove();
    if (isAtEnd) lines.scrollTop = lines.scrollHeight;
  });
  events.addEventListener("end", () => {
    events.close();
    tell("The sandbox has ended.", "over");
  });
  return { element: el("section", { ariaLabel: "Log" }, status, none, lines), leave: () => events.close() };
}
