// One build: how far it is, its log with the preview beside it, what it made, and what else was built of its project.

import { get, path } from "./api.js";
import { buildLog } from "./build_log.js";
import { badge, cancel, hasEnded, isNewest, lasted, linkTo, retry, table, titleOf } from "./builds.js";
import { attempt, button, bytes, el, fill, setText, time, took } from "./dom.js";
import * as live from "./live.js";
import { previewList, previewPane } from "./preview.js";

const MANY = 20;
const SIGNS = { done: "✓", failed: "✕", running: "▸", waiting: "○", stopped: "–", skipped: "–" };
const WORDS = { done: "done in", failed: "failed after", running: "runs", waiting: "waits", stopped: "was stopped", skipped: "was not reached" };

/** Its phases, each with how it went. */
function phasesOf(build) {
  const ended = new Map(build.phases.map((phase) => [phase.name, phase]));
  return build.planned.map((name) => {
    const phase = ended.get(name);
    const wrong = build.state === "cancelled" || build.state === "stale" ? "stopped" : "failed";
    if (phase) return { name, how: phase.status === "exited" && phase.exit_code === 0 ? "done" : wrong, ms: phase.wall_ms, code: phase.exit_code };
    if (hasEnded(build)) return { name, how: name === build.phase ? wrong : "skipped" };
    return { name, how: build.state === "running" && name === build.phase ? "running" : "waiting" };
  });
}

function phase({ name, how, ms, code }) {
  const words = [WORDS[how], ms !== undefined && took(ms), how === "failed" && code ? `with exit code ${code}` : undefined].filter(Boolean).join(" ");
  return el("li", { className: how }, el("span", { className: "sign", "aria-hidden": "true" }, SIGNS[how]), el("strong", {}, name),
    el("span", { className: "hidden" }, ` ${words}`), el("span", { className: "dim", "aria-hidden": "true" }, ms === undefined ? "" : took(ms)));
}

/** Why it did not succeed. */
function why(build) {
  if (!build.error || build.state === "cancelled") return undefined;
  const { message, hint } = build.error;
  return [message, hint].filter(Boolean).map((text) => text.charAt(0).toUpperCase() + text.slice(1)).join(". ");
}

const artifacts = new Map();

/** The files that a build made. They stay what they are. */
function filesOf(id) {
  if (!artifacts.has(id)) artifacts.set(id, get(path(["builds", id, "artifact"])).then(({ files }) => files));
  const files = artifacts.get(id);
  files.catch(() => artifacts.delete(id));
  return files;
}

/** Whether there is something that a preview would show. */
const isSite = (files) => files.some((file) => /\.html?$/i.test(file.path));

/** What it made: how much, and all of it as an archive. */
function made() {
  const words = el("span");
  const load = el("a", {}, "Download it as a tar archive");
  const element = el("p", { className: "made", hidden: true }, words, " ", load);
  const update = async (build) => {
    if (build.state !== "succeeded" || !element.hidden) return;
    const files = await filesOf(build.id);
    const size = files.reduce((sum, file) => sum + file.bytes, 0);
    setText(words, `It made ${files.length.toLocaleString()} ${files.length === 1 ? "file" : "files"}, ${bytes(size)}.`);
    load.href = path(["builds", build.id, "artifact", "archive"]);
    load.download = `${build.project}-${build.id.slice(0, 8)}.tar`;
    element.hidden = false;
  };
  return { element, update };
}

export function build(id) {
  const heading = el("h1", { tabIndex: -1 }, "Build");
  const element = el("div", { className: "one build" }, el("div", { className: "row head" }, heading));
  let parts;
  let isLeft = false;
  const begin = async () => {
    const first = await get(path(["builds", id]));
    if (isLeft) return;
    const wasFocused = document.activeElement === heading;
    parts = view(first, heading);
    fill(element, ...parts.elements);
    if (wasFocused) heading.focus();
  };
  begin().catch((error) => fill(element, el("div", { className: "row head" }, heading), el("p", { className: "notice" }, error.message), el("a", { href: "#/builds" }, "All builds")));
  const leave = () => {
    isLeft = true;
    parts?.leave();
  };
  return { title: "Build", element, leave };
}

function view(first, heading) {
  let now = first;
  let projectShows;
  let canAgain = false;
  const base = ["builds", first.id];
  const shown = badge();
  shown.element.setAttribute("role", "status");
  const about = el("p", { className: "dim about-build" });
  const phases = el("ol", { className: "phases", ariaLabel: "Phases" });
  const notice = el("p", { className: "notice", role: "status", hidden: true });
  const artifact = made();
  const beside = el("div", { className: "beside" });

  const stop = button("Cancel", async () => update(await cancel(now, stop) ?? now));
  const again = button("Build again", () => retry(now, again));
  const look = button("Preview", () => attempt(async () => {
    await showPreview();
    preview.focus();
  }, look), { className: "primary", hidden: true });

  const preview = previewPane((isShown) => {
    beside.classList.toggle("both", isShown);
    offer().then(() => isShown || look.focus());
    previews.look().catch(() => {});
  });
  const previews = previewList(first.project, (revoked) => {
    if (preview.shows()?.build === (revoked.build ?? undefined)) preview.close();
    else previews.look().catch(() => {});
  });
  // A build that has succeeded is shown itself; until then, what its project shows.
  const target = () => (now.state === "succeeded" ? now.id : projectShows?.build);
  const offer = async () => {
    const id = target();
    const files = id ? await filesOf(id).catch(() => []) : [];
    if (id === target()) look.hidden = preview.isShown() || !isSite(files);
  };
  const showPreview = () => now.state === "succeeded"
    ? preview.show({ project: now.project, build: now.id }, titleOf(now))
    : preview.show({ project: now.project }, `${now.project} ${projectShows.sequence}, the last good one`);

  const facts = () => {
    const ran = lasted(now);
    const tried = now.attempt > 1 ? `attempt ${now.attempt} of ${now.attempts}` : undefined;
    const words = [now.kind, tried, ran !== undefined && `${hasEnded(now) ? "took" : "for"} ${took(ran)}`].filter(Boolean);
    fill(about, "Handed in ", time(now.created_us / 1000), words.map((text) => ` · ${text}`), now.retry_of && [" · again, of ", el("a", { href: linkTo(now.retry_of) }, now.retry_of.slice(0, 8))]);
  };
  const drawn = {};
  const update = (build) => {
    const before = now.state;
    now = build;
    setText(heading, titleOf(now));
    document.title = `${titleOf(now)} – Pinfold`;
    shown.update(now);
    const state = JSON.stringify([now.phases, now.phase, now.state, now.attempt]);
    if (drawn.phases !== state) fill(phases, phasesOf(now).map(phase));
    if (drawn.phases !== state || !hasEnded(now)) facts();
    drawn.phases = state;
    const text = why(now);
    notice.hidden = !text;
    setText(notice, text ?? "");
    stop.hidden = hasEnded(now);
    stop.disabled = now.cancel_requested;
    again.hidden = !hasEnded(now) || !canAgain;
    offer();
    artifact.update(now).catch(() => {});
    // Whoever looks at the last one while a new one is built wants to see that.
    if (before !== "succeeded" && now.state === "succeeded" && preview.isShown()) attempt(showPreview);
  };

  const history = table("Other builds of the project", () => refresh());
  const refreshHistory = async () => {
    const all = (await get(path(["builds"], { project: first.project, limit: MANY }))).builds;
    history.update(all, first.id);
    canAgain = isNewest(first, all);
    again.hidden = !hasEnded(now) || !canAgain;
    const { projects } = await get("/v1/projects");
    const before = projectShows?.build;
    projectShows = projects.find(({ name }) => name === first.project)?.active;
    if (before !== projectShows?.build && preview.isShown() && !preview.shows().build) attempt(showPreview);
    await offer();
  };
  const refresh = () => Promise.all([get(path(base)).then(update), refreshHistory()]).catch(() => {});
  const log = buildLog(first, refresh);
  const unwatch = live.watch(() => {
    if (!hasEnded(now)) facts();
    // What is wrong with the connection is told elsewhere.
    if (live.state.connected) (hasEnded(now) ? refreshHistory().catch(() => {}) : refresh());
  });

  const head = el("div", { className: "row head" }, el("div", {}, el("div", { className: "row title" }, heading, shown.element), about), el("span", { className: "grow" }), stop, again, look);
  beside.append(log.element, preview.element);
  const all = el("section", { className: "history", ariaLabel: "History" }, el("h2", {}, "History"), history.element);
  update(first);
  refresh();
  previews.look().catch(() => {});
  const leave = () => {
    unwatch();
    log.leave();
  };
  return { elements: [head, phases, notice, artifact.element, beside, all, previews.element], leave };
}
