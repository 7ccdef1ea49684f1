// All sandboxes with what they use, and a form that starts one.

import { get, path, put, remove } from "./api.js";
import { ask, attempt, button, bytes, el, setText, say, span, svg } from "./dom.js";
import * as live from "./live.js";

const WIDTH = 120;
const HEIGHT = 28;

/** A line of what was used, as large as its largest, but at least `least`. */
function sparkline(kind) {
  const line = svg("polyline", { class: kind, fill: "none", "vector-effect": "non-scaling-stroke" });
  const area = svg("polygon", { class: `${kind} area` });
  const element = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "spark", "aria-hidden": "true", preserveAspectRatio: "none" }, area, line);
  const draw = (values, least) => {
    const known = values.filter((value) => value !== undefined && value !== null);
    if (known.length < 2) return;
    const most = Math.max(least, ...known);
    const at = (index) => (WIDTH * (index + 60 - known.length)) / 59;
    const points = known.map((value, index) => `${at(index).toFixed(1)},${(HEIGHT - 2 - (value / most) * (HEIGHT - 4)).toFixed(1)}`);
    line.setAttribute("points", points.join(" "));
    area.setAttribute("points", `${at(0).toFixed(1)},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`);
  };
  return { element, draw };
}

/** CPU and memory of a sandbox, as words and lines. */
export function meters() {
  const cpu = sparkline("cpu");
  const memory = sparkline("memory");
  const words = { cpu: el("dd"), memory: el("dd"), pids: el("dd"), up: el("dd") };
  const element = el("dl", { className: "meters" },
    el("div", {}, el("dt", {}, "CPU"), words.cpu, cpu.element),
    el("div", {}, el("dt", {}, "Memory"), words.memory, memory.element),
    el("div", {}, el("dt", {}, "Processes"), words.pids),
    el("div", {}, el("dt", {}, "Up"), words.up));
  const update = (sandbox) => {
    const samples = live.history(sandbox);
    const used = samples.at(-1)?.cpu;
    const figures = sandbox.stats?.figures ?? {};
    setText(words.cpu, used === undefined ? "–" : `${used.toFixed(used < 10 ? 1 : 0)} %`);
    setText(words.memory, bytes(figures.memory_bytes));
    setText(words.pids, figures.pids === undefined || figures.pids === null ? "–" : String(figures.pids));
    setText(words.up, sandbox.stats ? span(sandbox.stats.uptime_ms) : "no answer");
    cpu.draw(samples.map((sample) => sample.cpu), 10);
    memory.draw(samples.map((sample) => sample.memory), 1 << 20);
  };
  return { element, update };
}

export async function stop(name, control) {
  const text = "Everything that runs in it ends. Its files go with it, unless it works in a workspace.";
  if (!await ask({ title: `Stop ${name}?`, text, yes: "Stop it", danger: true })) return false;
  return attempt(async () => {
    await remove(path(["sandboxes", name]));
    say(`${name} is stopped.`);
    live.start();
    return true;
  }, control);
}

function card() {
  const shown = meters();
  const link = el("a", {});
  const place = el("p", { className: "dim" });
  const end = button("Stop", () => stop(name, end), { className: "quiet" });
  let name;
  const element = el("li", { className: "card" }, el("div", { className: "row" }, el("h2", {}, link), end), place, shown.element);
  const update = (sandbox) => {
    ({ name } = sandbox);
    setText(link, name);
    link.href = `#/sandbox/${encodeURIComponent(name)}`;
    end.setAttribute("aria-label", `Stop ${name}`);
    const busy = sandbox.stats?.running ? `${sandbox.stats.running} running` : "";
    const where = sandbox.workspace ? `in workspace ${sandbox.workspace}` : "files end with it";
    setText(place, [where, busy].filter(Boolean).join(" · "));
    shown.update(sandbox);
  };
  return { element, update };
}

const WORDS = ["amber", "brook", "cedar", "dune", "ember", "fern", "grove", "heron", "iris", "lark", "moss", "otter", "pine", "reed", "sable", "wren"];

/** A name that no sandbox has. */
function fresh() {
  const taken = new Set(live.state.sandboxes.map((sandbox) => sandbox.name));
  const free = WORDS.filter((word) => !taken.has(word));
  return free[Math.floor(Math.random() * free.length)] ?? `box-${Date.now() % 100000}`;
}

function starter() {
  const name = el("input", { name: "name", required: true, value: fresh(), autocomplete: "off", spellcheck: false, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", title: "letters, digits, . _ and -" });
  const choices = el("datalist", { id: "workspaces" });
  const workspace = el("input", { name: "workspace", autocomplete: "off", spellcheck: false, placeholder: "none" });
  workspace.setAttribute("list", "workspaces");
  const submit = el("button", { type: "submit", className: "primary" }, "Start");
  const hint = el("p", { className: "dim", id: "workspace-hint" }, "In a workspace files outlive the sandbox and have checkpoints. A new name makes one.");
  workspace.setAttribute("aria-describedby", hint.id);
  get("/v1/workspaces").then((all) => choices.append(...all.workspaces.map(({ id }) => el("option", { value: id }))), () => {});
  const start = async () => {
    const id = workspace.value.trim();
    if (id) await put(path(["workspaces", id]), {});
    await put(path(["sandboxes", name.value], { workspace: id || undefined }), {});
    live.start();
    location.hash = `#/sandbox/${encodeURIComponent(name.value)}`;
  };
  return el("form", {
    className: "card starter",
    "aria-label": "Start a sandbox",
    onsubmit: (event) => {
      event.preventDefault();
      attempt(start, submit);
    },
  },
  el("label", { className: "field" }, el("span", {}, "Name"), name),
  el("label", { className: "field" }, el("span", {}, "Workspace"), workspace), choices, submit, hint);
}

export function sandboxes() {
  const list = el("ul", { className: "cards" });
  const none = el("p", { className: "empty" }, "No sandbox lives. Start one above: it is there in a moment.");
  const count = el("span", { className: "dim" });
  const cards = new Map();
  const leave = live.watch(() => {
    const all = live.state.sandboxes;
    for (const sandbox of all) {
      if (!cards.has(sandbox.id)) cards.set(sandbox.id, card());
      cards.get(sandbox.id).update(sandbox);
    }
    for (const id of [...cards.keys()]) if (!all.some((sandbox) => sandbox.id === id)) cards.delete(id);
    const elements = all.map((sandbox) => cards.get(sandbox.id).element);
    // What is there stays where it is, or the focus in it would be lost.
    if (elements.length !== list.children.length || elements.some((element, at) => element !== list.children[at])) list.replaceChildren(...elements);
    none.hidden = all.length > 0;
    setText(count, all.length ? `${all.length} of ${live.state.most}` : "");
  });
  const element = el("div", {}, el("div", { className: "row head" }, el("h1", { tabIndex: -1 }, "Sandboxes"), count), starter(), none, list);
  return { title: "Sandboxes", element, leave };
}
