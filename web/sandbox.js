// One sandbox: its terminals, files, checkpoints and log, one at a time.

import { checkpoints } from "./checkpoints.js";
import { el } from "./dom.js";
import { files } from "./files.js";
import * as live from "./live.js";
import { log } from "./log.js";
import { meters, stop } from "./sandboxes.js";
import { tabs } from "./tabs.js";
import { terminals } from "./terminals.js";
import { button } from "./dom.js";

export function sandbox(name, [tab = "terminal", ...rest]) {
  const base = `#/sandbox/${encodeURIComponent(name)}`;
  const shown = meters();
  const place = el("p", { className: "dim" });
  const end = button("Stop", async () => {
    if (await stop(name, end)) location.hash = "#/";
  });
  const gone = el("p", { className: "notice", role: "status", hidden: true }, "This sandbox has ended. ", el("a", { href: "#/" }, "All sandboxes"));
  const content = el("div", { className: "content" });
  const bar = el("div");
  const heading = el("h1", { tabIndex: -1 }, name);
  let inner = { leave: () => {} };
  let workspace;
  let isDrawn = false;

  const draw = () => {
    const links = [["terminal", "Terminal"], ["files", "Files"], ...(workspace ? [["checkpoints", "Checkpoints"]] : []), ["log", "Log"]];
    bar.replaceChildren(tabs(base, links, tab, `Of ${name}`));
    inner.leave?.();
    switch (tab) {
      case "files": inner = files(["sandboxes", name], `${base}/files`, rest); break;
      case "checkpoints": inner = workspace ? checkpoints(workspace) : { element: el("p", {}, "It has no workspace, and so no checkpoints.") }; break;
      case "log": inner = log(name); break;
      default: inner = terminals(name, base, rest[0] ?? "main");
    }
    content.replaceChildren(inner.element);
    isDrawn = true;
  };

  const unwatch = live.watch(() => {
    const found = live.state.sandboxes.find((one) => one.name === name);
    gone.hidden = Boolean(found) || live.state.connected !== true;
    end.disabled = !found;
    if (!found) return;
    place.replaceChildren(found.workspace ? el("span", {}, "Workspace ", el("a", { href: `#/workspace/${encodeURIComponent(found.workspace)}` }, found.workspace)) : "Its files end with it");
    shown.update(found);
    if (!isDrawn || workspace !== found.workspace) {
      workspace = found.workspace;
      draw();
      if (isDrawn && document.activeElement === heading) inner.focus?.()?.focus();
    }
  });
  const element = el("div", { className: "one" },
    el("div", { className: "row head" }, el("div", {}, heading, place), shown.element, end), gone, bar, content);
  return {
    title: name,
    element,
    focus: () => inner.focus?.(),
    leave: () => {
      unwatch();
      inner.leave?.();
    },
  };
}
