// The checkpoints of a workspace: a tree, in which each is what came of the one above it, and what differs between them.

import { get, path, post, remove } from "./api.js";
import { ask, attempt, button, el, say, time } from "./dom.js";

const CAUSES = { save: "saved", automatic: "saved before going back", rollback: "went back", fork: "forked" };
const SIGNS = { added: "+", removed: "−", changed: "~" };

const title = (checkpoint) => checkpoint.labels.join(", ") || checkpoint.id.slice(0, 8);

/** From the oldest on, each with how deep it is: what leads to where the files are now is not deeper than what it came from. */
function ordered(all) {
  const known = new Map(all.map((one) => [one.id, one]));
  const children = Map.groupBy ? Map.groupBy(all, (one) => (known.has(one.parent) ? one.parent : null)) : group(all, known);
  const line = new Set();
  for (let one = all.find((checkpoint) => checkpoint.is_head); one; one = known.get(one.parent)) line.add(one.id);
  const found = [];
  const walk = (parent, depth) => {
    const below = (children.get(parent) ?? []).toSorted((one, other) => one.sequence - other.sequence);
    const straight = below.find((one) => line.has(one.id)) ?? below.at(-1);
    for (const one of [...below.filter((child) => child !== straight), straight].filter(Boolean)) {
      const at = depth + (one === straight || parent === null ? 0 : 1);
      found.push({ checkpoint: one, depth: at, onLine: line.has(one.id) });
      walk(one.id, at);
    }
  };
  walk(null, 0);
  return found;
}

function group(all, known) {
  const groups = new Map();
  for (const one of all) {
    const parent = known.has(one.parent) ? one.parent : null;
    groups.set(parent, [...(groups.get(parent) ?? []), one]);
  }
  return groups;
}

function changes({ changes: all, more }) {
  if (!all.length) return el("p", { className: "empty" }, "Nothing differs.");
  const line = (change) => el("li", { className: change.change }, el("span", { className: "sign", "aria-hidden": "true" }, SIGNS[change.change] ?? "?"),
    el("span", { className: "hidden" }, `${change.change}: `), change.path + (change.is_directory ? "/" : ""));
  return [el("ul", { className: "changes" }, all.map(line)), more && el("p", {}, "There are more.")];
}

export function checkpoints(workspace) {
  const base = ["workspaces", workspace, "checkpoints"];
  const tree = el("ol", { className: "tree", ariaLabel: "Checkpoints, the oldest first" });
  const differs = el("section", { className: "card differs", ariaLabel: "Differences", tabIndex: -1 });
  const label = el("input", { name: "label", maxLength: 200, autocomplete: "off", placeholder: "what it is" });
  const save = el("button", { type: "submit", className: "primary" }, "Save a checkpoint");

  const differ = (words, from, to) => attempt(async () => {
    const found = await get(path(["workspaces", workspace, "diff"], { from, to }));
    differs.replaceChildren(el("h2", {}, words), ...[changes(found)].flat().filter(Boolean));
    return true;
  });
  const look = (words, from, to) => differ(words, from, to).then((done) => done && differs.focus());
  const sinceHead = (head) => head ? differ(`Since ${title(head)}`) : differs.replaceChildren(el("p", { className: "empty" }, "Save a checkpoint, and what changes after it is told here."));

  const back = async (checkpoint) => {
    const text = "The files become what they were. What is not saved is saved first.";
    if (!await ask({ title: `Go back to ${title(checkpoint)}?`, text, yes: "Go back" })) return;
    await attempt(async () => {
      await post(path([...base, checkpoint.id, "rollback"]), {});
      say(`The files are those of ${title(checkpoint)}.`);
      await list();
    });
  };
  const fork = async (checkpoint) => {
    const text = "A new workspace begins with the files of this checkpoint.";
    const to = await ask({ title: `Fork ${title(checkpoint)}`, text, label: "Name of the new workspace", value: `${workspace}-2`, yes: "Fork" });
    if (to) await attempt(async () => {
      await post(path(["workspaces", workspace, "fork"]), { to, checkpoint: checkpoint.id });
      location.hash = `#/workspace/${encodeURIComponent(to)}/checkpoints`;
    });
  };
  const drop = async (checkpoint) => {
    if (!await ask({ title: `Delete ${title(checkpoint)}?`, text: "Nobody can go back to it then.", yes: "Delete", danger: true })) return;
    await attempt(async () => {
      await remove(path([...base, checkpoint.id]));
      await list();
    });
  };

  const one = ({ checkpoint, depth, onLine }) => {
    const name = title(checkpoint);
    const does = (text, work, more = {}) => button(text, () => work(checkpoint), { className: "quiet", ariaLabel: `${text}: ${name}`, ...more });
    const element = el("li", { className: onLine ? "on-line" : "" }, el("div", { className: "what" }, el("strong", {}, name), checkpoint.is_head && el("span", { className: "badge" }, "here"),
      el("span", { className: "dim" }, `${CAUSES[checkpoint.cause] ?? checkpoint.cause} `, time(checkpoint.created_ms))),
    el("div", { className: "row actions" },
      checkpoint.parent && !checkpoint.parent_evicted && does("Changes", () => look(`What ${name} changed`, checkpoint.parent, checkpoint.id)),
      does("Compare with now", () => look(`From ${name} to now`, checkpoint.id)), does("Go back", back), does("Fork", fork), does("Delete", drop)));
    element.style.setProperty("--depth", Math.min(depth, 8));
    return element;
  };

  const list = async () => {
    const all = (await get(path(base))).checkpoints;
    tree.replaceChildren(...(all.length ? ordered(all).map(one) : [el("li", { className: "empty" }, "There is none yet.")]));
    await sinceHead(all.find((checkpoint) => checkpoint.is_head));
  };

  const form = el("form", {
    className: "row saver",
    onsubmit: (event) => {
      event.preventDefault();
      attempt(async () => {
        await post(path(base), label.value.trim() ? { labels: [label.value.trim()] } : {});
        label.value = "";
        say("The checkpoint is saved.");
        await list();
      }, save);
    },
  }, el("label", { className: "field" }, el("span", {}, "Label"), label), save);
  attempt(list);
  return { element: el("section", { className: "checkpoints", ariaLabel: "Checkpoints" }, form, el("div", { className: "split" }, tree, differs)) };
}
