// The page: who uses it, which view is shown, and whether the server is there.

import * as api from "./api.js";
import { build } from "./build.js";
import { builds } from "./builds.js";
import { attempt, el, say, setText } from "./dom.js";
import * as live from "./live.js";
import { sandboxes } from "./sandboxes.js";
import { forgetPreviews } from "./preview.js";
import { sandbox } from "./sandbox.js";
import { workspace, workspaces } from "./workspaces.js";

/** What the head leads to; everything else is of the sandboxes. */
const PARTS = ["#/builds", "#/workspaces"];

const main = document.getElementById("main");
let leaveView = () => {};
let isFirst = true;

/** The view that a path names: `#/sandbox/NAME/TAB/...`. */
function view() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  switch (parts[0]) {
    case undefined: return sandboxes();
    case "sandbox": return sandbox(parts[1] ?? "", parts.slice(2));
    case "builds": return builds(parts[1]);
    case "build": return build(parts[1] ?? "");
    case "workspaces": return workspaces();
    case "workspace": return workspace(parts[1] ?? "", parts.slice(2));
    default: return { title: "Not found", element: el("h1", { tabIndex: -1 }, "There is no such page") };
  }
}

function show() {
  leaveView();
  const { title, element, leave = () => {}, focus } = view();
  leaveView = leave;
  main.replaceChildren(element);
  document.title = `${title} – Pinfold`;
  const part = PARTS.find((one) => location.hash.startsWith(one.slice(0, -1))) ?? "#/";
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.hash === part) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  // Whoever can't see that the view changed is told by where the focus is.
  if (!isFirst) (focus?.() ?? main.querySelector("h1"))?.focus();
  isFirst = false;
  scrollTo(0, 0);
}

function signedIn(who) {
  setText(document.getElementById("owner"), who.owner);
  for (const id of ["nav", "who"]) document.getElementById(id).hidden = false;
  live.start();
  show();
}

function signInView(words) {
  live.stop();
  forgetPreviews();
  leaveView();
  leaveView = () => {};
  for (const id of ["nav", "who"]) document.getElementById(id).hidden = true;
  setText(document.getElementById("connection"), "");
  const input = el("input", { type: "password", name: "token", required: true, autocomplete: "current-password", id: "token" });
  const submit = el("button", { type: "submit", className: "primary" }, "Sign in");
  const form = el("form", {
    className: "card sign-in",
    onsubmit: (event) => {
      event.preventDefault();
      attempt(async () => {
        const who = await api.signIn(input.value.trim()).catch((error) => {
          throw error.isSignedOut ? new Error("This token is not known here.") : error;
        });
        isFirst = false;
        signedIn(who);
      }, submit);
    },
  },
  el("h1", { tabIndex: -1 }, "Sign in"),
  el("p", {}, words),
  el("label", { className: "field" }, el("span", {}, "Token"), input),
  el("div", { className: "row end" }, submit));
  main.replaceChildren(form);
  document.title = "Sign in – Pinfold";
  input.focus();
}

const WHERE = "The first token is in the file server.tokens in the server's state directory.";

async function begin() {
  const token = /^#token=(.+)$/.exec(location.hash)?.[1];
  // It stays neither in the address nor in the history.
  if (token) history.replaceState(null, "", "#/");
  try {
    signedIn(token ? await api.signIn(decodeURIComponent(token)) : await api.whoAmI());
  } catch (error) {
    if (error.isSignedOut) return signInView(token ? `The token in the address is not known here. ${WHERE}` : WHERE);
    setText(document.getElementById("connection"), "The server can't be reached. Trying again …");
    setTimeout(begin, 2000);
  }
}

addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  if (location.hash.startsWith("#token=")) begin();
  else if (!document.getElementById("nav").hidden) show();
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.getElementById("leave").addEventListener("click", (event) => attempt(async () => {
  await api.signOut();
  signInView("You are signed out.");
}, event.currentTarget));
api.session.lost = () => signInView("The session has ended: sign in again.");

let wasConnected = true;
live.watch(() => {
  const { connected } = live.state;
  const place = document.getElementById("connection");
  place.classList.toggle("lost", !connected);
  setText(place, connected ? "" : "No connection. Trying again …");
  if (connected && !wasConnected) say("Connected again.");
  wasConnected = connected;
});

begin();
