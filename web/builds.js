// Builds, the newest first, and a form that hands one in.

import { get, path, post } from "./api.js";
import { attempt, button, el, fill, say, setText, span, took } from "./dom.js";
import { handIn } from "./hand_in.js";
import * as live from "./live.js";

const MANY = 50;
const MOST = 1000;
const SIGNS = { queued: "…", running: "▸", succeeded: "✓", failed: "✕", cancelled: "–", expired: "–", stale: "–" };

export const hasEnded = ({ state }) => state !== "queued" && state !== "running";
export const titleOf = ({ project, sequence }) => `${project} ${sequence}`;
export const linkTo = (id) => `#/build/${encodeURIComponent(id)}`;
const ofProject = (project) => (project ? `#/builds/${encodeURIComponent(project)}` : "#/builds");

/** A state as a sign and a word, neither by its colour alone. */
export function badge() {
  const sign = el("span", { className: "sign", "aria-hidden": "true" });
  const word = el("span");
  const element = el("span", { className: "state" }, sign, word);
  const update = (build) => {
    const text = build.cancel_requested && !hasEnded(build) ? "being cancelled" : build.state;
    if (element.dataset.state !== build.state) element.dataset.state = build.state;
    setText(sign, SIGNS[build.state] ?? "?");
    setText(word, text);
  };
  return { element, update };
}

/** Whether no newer snapshot of its project is among these: an older one is not built again. */
export const isNewest = (build, all) => all.every((other) => other.project !== build.project || other.sequence <= build.sequence);

/** How long a build has run, until now or until its end. */
export function lasted(build) {
  if (!build.started_us) return undefined;
  return Math.max(0, (build.finished_us ?? Date.now() * 1000) - build.started_us) / 1000;
}

export async function cancel(build, control) {
  return attempt(async () => {
    const now = await post(path(["builds", build.id, "cancel"]));
    say(hasEnded(now) ? `${titleOf(build)} is ${now.state}.` : `${titleOf(build)} is being cancelled.`);
    return now;
  }, control);
}

export async function retry(build, control) {
  return attempt(async () => {
    const again = await post(path(["builds", build.id, "retry"]));
    location.hash = linkTo(again.id);
    return again;
  }, control);
}

function row(after) {
  const shown = badge();
  const link = el("a");
  const cells = { id: el("span", { className: "dim id" }), phase: el("td", { className: "wide" }), age: el("td", { className: "wide dim" }), took: el("td", { className: "number" }), again: el("span", { className: "dim kind" }) };
  const act = button("", async () => {
    await (hasEnded(build) ? retry : cancel)(build, act);
    after();
  }, { className: "quiet" });
  const element = el("tr", {}, el("td", { className: "name" }, link, cells.id, cells.again), el("td", {}, shown.element), cells.phase, cells.age, cells.took, el("td", { className: "actions" }, act));
  let build;
  const update = (now, current, mayAgain) => {
    build = now;
    setText(link, titleOf(build));
    link.href = linkTo(build.id);
    if (build.id === current) link.setAttribute("aria-current", "page");
    setText(cells.id, build.id.slice(0, 8));
    setText(cells.again, build.retry_of ? `again, of ${build.retry_of.slice(0, 8)}` : "");
    shown.update(build);
    setText(cells.phase, hasEnded(build) && build.state === "succeeded" ? "" : build.phase ?? "");
    setText(cells.age, `${span(Math.max(0, Date.now() - build.created_us / 1000))} ago`);
    const passed = lasted(build);
    setText(cells.took, passed === undefined ? "" : took(passed));
    const words = hasEnded(build) ? "Build again" : "Cancel";
    setText(act, words);
    act.hidden = hasEnded(build) && !mayAgain;
    act.setAttribute("aria-label", `${words}: ${titleOf(build)} ${build.id.slice(0, 8)}`);
  };
  return { element, update };
}

/** A table of builds, whose rows stay while they are told anew, so that the focus in them is not lost. */
export function table(label, after) {
  const body = el("tbody");
  const head = el("tr", {}, [["Build"], ["State"], ["Phase", "wide"], ["Handed in", "wide"], ["Took", "number"]].map(([text, className]) => el("th", { scope: "col", className }, text)), el("th", { scope: "col" }, el("span", { className: "hidden" }, "What can be done")));
  const element = el("table", { className: "card builds", ariaLabel: label }, el("thead", {}, head), body);
  const rows = new Map();
  const update = (all, current) => {
    for (const build of all) {
      if (!rows.has(build.id)) rows.set(build.id, row(after));
      rows.get(build.id).update(build, current, isNewest(build, all));
    }
    for (const id of [...rows.keys()]) if (!all.some((build) => build.id === id)) rows.delete(id);
    const elements = all.map((build) => rows.get(build.id).element);
    if (elements.length !== body.children.length || elements.some((one, at) => one !== body.children[at])) body.replaceChildren(...elements);
    element.hidden = !all.length;
  };
  return { element, update };
}

/** Which project's builds are shown; nothing where there is but one. */
function filter(project, projects) {
  const names = projects.map(({ name }) => name).toSorted((one, other) => one.localeCompare(other));
  if (names.length < 2 && !project) return undefined;
  const options = ["", ...names].map((name) => el("option", { value: name, selected: name === (project ?? "") }, name || "All projects"));
  const select = el("select", { onchange: () => { location.hash = ofProject(select.value); } }, options);
  return el("label", { className: "inline" }, "Project ", select);
}

export function builds(project) {
  const none = el("p", { className: "empty", hidden: true }, project ? "Nothing of this project was built yet." : "Nothing was built yet. Hand something in above.");
  const choice = el("span");
  let most = MANY;
  const look = async () => {
    const all = (await get(path(["builds"], { project, limit: most }))).builds;
    more.hidden = all.length < most || most === MOST;
    shown.update(all);
    none.hidden = all.length > 0;
  };
  const shown = table("Builds", () => attempt(look));
  const more = button("Older builds", () => {
    most = Math.min(2 * most, MOST);
    return attempt(look, more);
  }, { hidden: true });
  const chosen = () => get("/v1/projects").then((all) => fill(choice, filter(project, all.projects)), () => {});
  chosen();
  attempt(look);
  const unwatch = live.watch(() => {
    // What is wrong with the connection is told elsewhere.
    if (live.state.connected) look().catch(() => {});
  });
  const head = el("div", { className: "row head" }, el("h1", { tabIndex: -1 }, project ? `Builds of ${project}` : "Builds"), el("span", { className: "grow" }), choice);
  return { title: "Builds", element: el("div", {}, head, handIn(project), none, shown.element, el("p", {}, more)), leave: unwatch };
}
