// Workspaces, which outlive sandboxes: all of them, and one with its files and checkpoints.

import { checkpoints } from "./checkpoints.js";
import { get, path, put, remove } from "./api.js";
import { ask, attempt, button, bytes, el, say, setText, time } from "./dom.js";
import { files } from "./files.js";
import { tabs } from "./tabs.js";

const link = (id) => `#/workspace/${encodeURIComponent(id)}`;

export function workspaces() {
  const body = el("tbody");
  const count = el("span", { className: "dim" });
  const none = el("p", { className: "empty", hidden: true }, "There is none. A sandbox that is started in a new one makes it.");
  const head = el("tr", {}, ["Name", "May hold", "Last used"].map((text) => el("th", { scope: "col" }, text)), el("th", { scope: "col" }, el("span", { className: "hidden" }, "What can be done")));
  const table = el("table", { className: "card", ariaLabel: "Workspaces" }, el("thead", {}, head), body);
  const drop = async (id, control) => {
    const text = "Its files and checkpoints go with it.";
    if (!await ask({ title: `Delete workspace ${id}?`, text, yes: "Delete", danger: true })) return;
    await attempt(async () => {
      await remove(path(["workspaces", id]));
      say(`${id} is deleted.`);
      await list();
    }, control);
  };
  const row = ({ id, max_bytes: most, last_used_ms: used }) => {
    const end = button("Delete", () => drop(id, end), { className: "quiet", ariaLabel: `Delete ${id}` });
    return el("tr", {}, el("td", { className: "name" }, el("a", { href: link(id) }, id)), el("td", {}, most === null ? "no limit" : bytes(most)), el("td", {}, time(used)), el("td", { className: "actions" }, end));
  };
  const list = async () => {
    const all = await get("/v1/workspaces");
    setText(count, `${all.workspaces.length} of ${all.most}`);
    body.replaceChildren(...all.workspaces.toSorted((one, other) => other.last_used_ms - one.last_used_ms).map(row));
    table.hidden = !all.workspaces.length;
    none.hidden = !table.hidden;
  };
  const make = button("New workspace", async () => {
    const id = await ask({ title: "New workspace", label: "Name", yes: "Make it" });
    if (id) await attempt(async () => { await put(path(["workspaces", id]), {}); await list(); }, make);
  });
  attempt(list);
  return { title: "Workspaces", element: el("div", {}, el("div", { className: "row head" }, el("h1", { tabIndex: -1 }, "Workspaces"), count, el("span", { className: "grow" }), make), none, table) };
}

export function workspace(id, [tab = "files", ...rest]) {
  const base = link(id);
  const inner = tab === "checkpoints" ? checkpoints(id) : files(["workspaces", id], `${base}/files`, rest);
  const about = el("p", { className: "dim" });
  get(path(["workspaces", id], { usage: true })).then((it) => setText(about, `${bytes(it.bytes)} in ${it.inodes} files and folders`), () => {});
  const bar = tabs(base, [["files", "Files"], ["checkpoints", "Checkpoints"]], tab, `Of ${id}`);
  return { title: id, element: el("div", { className: "one" }, el("div", { className: "row head" }, el("div", {}, el("h1", { tabIndex: -1 }, id), about)), bar, inner.element), leave: inner.leave };
}
