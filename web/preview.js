// What builds made, shown beside their logs: in a frame of an origin of its own, so that it reaches nothing of this page.

import { get, path, post, remove } from "./api.js";
import { ask, attempt, button, el, fill, say, setText, time } from "./dom.js";

/** What a preview may do in its frame: not lead the page elsewhere, nor open dialogs over it. */
const MAY = "allow-scripts allow-same-origin allow-forms allow-popups allow-downloads";
/** Somebody who looks at it needs it no longer. */
const LASTS = 24 * 3600;
const KEPT = "preview ";

/** A preview's secret is told once: it is kept for as long as the tab lives, so that a refresh finds it again. */
const keyOf = ({ project, build }) => `${KEPT}${build ?? ""} ${project}`;
const keep = (preview, url) => sessionStorage.setItem(keyOf(preview), JSON.stringify({ id: preview.id, url }));
const forget = (preview) => sessionStorage.removeItem(keyOf(preview));

function kept(what) {
  try {
    return JSON.parse(sessionStorage.getItem(keyOf(what)));
  } catch {
    return null;
  }
}

/** Forgets all of them, when somebody leaves. */
export function forgetPreviews() {
  for (const key of Object.keys(sessionStorage)) if (key.startsWith(KEPT)) sessionStorage.removeItem(key);
}

const isLive = ({ revoked_us: revoked, expires_us: ends }) => revoked === null && (ends === null || ends > Date.now() * 1000);

async function list(project) {
  return (await get(path(["previews"], { project }))).previews.filter(isLive);
}

/** One that was opened before and is still good, or a new one. */
async function open(what) {
  const before = kept(what);
  if (before && (await list(what.project)).some(({ id }) => id === before.id)) return before;
  const { preview, url } = await post(path(["previews"]), { ...what, expires_seconds: LASTS });
  keep(preview, url);
  return { id: preview.id, url };
}

/** A frame, and what can be done with it. `what` names a project, and a build unless it is whatever the project shows. */
export function previewPane(onchange) {
  const about = el("p", { className: "dim" });
  const place = el("div", { className: "frame" });
  const link = el("a", { className: "button quiet", target: "_blank", rel: "noopener noreferrer", ariaLabel: "Open the preview in a new tab" }, "New tab");
  let shown;
  const reload = button("Reload", () => draw(), { className: "quiet" });
  const end = button("Revoke", async () => {
    if (await revoke(shown.what, shown.id, end)) close();
  }, { className: "quiet" });
  const heading = el("h2", { tabIndex: -1 }, "Preview");
  const hide = button("Close", () => close(), { className: "quiet", ariaLabel: "Close the preview" });
  const element = el("section", { className: "preview", ariaLabel: "Preview", hidden: true },
    el("div", { className: "row bar" }, heading, about, reload, link, end, hide), place);

  // A new element each time: to lead an old one elsewhere would be a step in the history of the page.
  const draw = () => fill(place, el("iframe", { src: shown.url, title: `Preview of ${shown.words}`, sandbox: MAY, referrerPolicy: "no-referrer" }));
  const close = () => {
    shown = undefined;
    element.hidden = true;
    place.replaceChildren();
    onchange(false);
  };
  const show = async (what, words) => {
    const { id, url } = await open(what);
    shown = { what, words, id, url };
    link.href = url;
    setText(about, `of ${words}`);
    about.title = words;
    element.hidden = false;
    draw();
    onchange(true);
  };
  return { element, show, close, reload: () => shown && draw(), isShown: () => Boolean(shown), shows: () => shown?.what, focus: () => heading.focus() };
}

async function revoke(preview, id, control) {
  const text = "Nobody can look at it any more, whoever has its address.";
  if (!await ask({ title: "Revoke this preview?", text, yes: "Revoke", danger: true })) return false;
  return attempt(async () => {
    await remove(path(["previews", id]));
    forget(preview);
    say("The preview is revoked.");
    return true;
  }, control);
}

/** The previews of a project that are open, by whomever they were opened. */
export function previewList(project, onrevoked) {
  const body = el("tbody");
  const head = el("tr", {}, [["Shows"], ["Opened", "wide"], ["Ends"]].map(([text, className]) => el("th", { scope: "col", className }, text)), el("th", { scope: "col" }, el("span", { className: "hidden" }, "What can be done")));
  const table = el("table", { className: "card", ariaLabel: `Previews of ${project}` }, el("thead", {}, head), body);
  const element = el("section", { ariaLabel: "Open previews", hidden: true }, el("h2", {}, "Open previews"), table);
  const row = (preview) => {
    const words = preview.build ? `build ${preview.build.slice(0, 8)}` : "whatever the project shows";
    const end = button("Revoke", async () => {
      if (await revoke(preview, preview.id, end)) onrevoked(preview);
    }, { className: "quiet", ariaLabel: `Revoke the preview of ${words}` });
    return el("tr", {}, el("td", {}, words), el("td", { className: "wide" }, time(preview.created_us / 1000)), el("td", {}, preview.expires_us ? time(preview.expires_us / 1000) : "never"), el("td", { className: "actions" }, end));
  };
  const look = async () => {
    const all = await list(project);
    element.hidden = !all.length;
    body.replaceChildren(...all.map(row));
  };
  return { element, look };
}
