// The files of a sandbox or a workspace: what there is, what is in it, and what is put there.

import { get, path, post, read, remove, write } from "./api.js";
import { ask, attempt, button, bytes, el, fill, say, time } from "./dom.js";

/** As much of a file is shown. */
const SHOWN = 512 << 10;

const nameOf = (item) => item.path.split("/").at(-1);

/** What names it to the server: its path, as bytes where it is no UTF-8. */
const which = (item) => (item.path_base64 ? { path_base64: item.path_base64 } : { path: item.path });

export function files(place, base, at) {
  const folder = at.join("/");
  const url = (rest, query) => path([...place, "files", ...rest], query);
  const to = (text) => `${base}${text.split("/").filter(Boolean).map((part) => `/${encodeURIComponent(part)}`).join("")}`;
  const element = el("section", { className: "files", ariaLabel: "Files" });
  const shown = el("div", { className: "card", role: "status" }, "Loading …");
  const below = (name) => (folder ? `${folder}/${name}` : name);

  const discard = async (item, control) => {
    const text = item.kind === "directory" ? "It goes with all that is in it." : undefined;
    if (!await ask({ title: `Delete ${nameOf(item)}?`, text, yes: "Delete", danger: true })) return false;
    return attempt(async () => {
      await remove(url([], { ...which(item), recursive: item.kind === "directory" ? true : undefined }));
      say(`${nameOf(item)} is deleted.`);
      return true;
    }, control);
  };

  const row = (item) => {
    const name = nameOf(item);
    const isFolder = item.kind === "directory";
    const canOpen = !item.path_base64 && (isFolder || item.kind === "file");
    const label = canOpen ? el("a", { href: to(item.path) }, name) : el("span", {}, name);
    const drop = button("Delete", async () => await discard(item, drop) && list(), { className: "quiet", ariaLabel: `Delete ${name}` });
    const kind = { directory: "Folder", file: "", symlink: `link to ${item.target ?? "?"}` }[item.kind] ?? item.kind;
    const load = item.kind === "file" && el("a", { className: "button quiet", href: url(["content"], which(item)), download: name, ariaLabel: `Download ${name}` }, "Download");
    return el("tr", {}, el("td", { className: `name ${item.kind}` }, label, kind && el("span", { className: "dim kind" }, kind)),
      el("td", { className: "number" }, item.kind === "file" ? bytes(item.bytes) : ""),
      el("td", { className: "when" }, time(item.modified_ms)), el("td", { className: "actions" }, load, drop));
  };

  const list = async () => {
    const { entries, more } = await get(url([], { path: folder || undefined }));
    entries.sort((one, other) => (other.kind === "directory") - (one.kind === "directory") || one.path.localeCompare(other.path));
    const body = el("tbody", {}, entries.map(row));
    const head = el("tr", {}, el("th", { scope: "col" }, "Name"), el("th", { scope: "col", className: "number" }, "Size"),
      el("th", { scope: "col", className: "when" }, "Changed"), el("th", { scope: "col" }, el("span", { className: "hidden" }, "What can be done")));
    shown.removeAttribute("role");
    fill(shown, tools(), entries.length ? el("table", { "aria-label": `Files in ${folder || "the workspace"}` }, el("thead", {}, head), body) : el("p", { className: "empty" }, "There is nothing here. Drop files to upload them."), more && el("p", {}, "There are more than can be shown."));
  };

  const upload = async (chosen) => {
    for (const file of chosen) {
      await write(url(["content"], { path: below(file.name) }), file);
      say(`${file.name} is uploaded.`);
    }
    await list();
  };

  const tools = () => {
    const input = el("input", { type: "file", multiple: true, className: "hidden", tabIndex: -1, ariaLabel: "Files to upload", onchange: () => attempt(() => upload(input.files), pick) });
    const pick = button("Upload", () => input.click());
    const make = button("New folder", async () => {
      const name = await ask({ title: "New folder", label: "Name", yes: "Make it" });
      if (name) attempt(async () => { await post(url(["directory"]), { path: below(name) }); await list(); }, make);
    });
    const again = button("Refresh", () => attempt(list, again), { className: "quiet" });
    return el("div", { className: "row tools" }, crumbs(), el("span", { className: "grow" }), input, pick, make, again);
  };

  const crumbs = () => {
    const parts = folder.split("/").filter(Boolean);
    const links = [["workspace", ""], ...parts.map((part, index) => [part, parts.slice(0, index + 1).join("/")])];
    return el("nav", { className: "crumbs", ariaLabel: "Where you are" }, el("ol", {}, links.map(([text, target], index) => el("li", {}, el("a", { href: to(target), "aria-current": index === links.length - 1 ? "page" : undefined }, text)))));
  };

  const view = async (item) => {
    const content = await read(url(["content"], which(item)), SHOWN);
    const name = nameOf(item);
    const isText = !content.bytes.includes(0);
    const isWhole = content.size <= content.bytes.length;
    const text = new TextDecoder().decode(content.bytes);
    const up = to(at.slice(0, -1).join("/"));
    const shownText = isText ? el("pre", { tabIndex: 0, ariaLabel: `Content of ${name}` }, text) : el("p", { className: "empty" }, "This is no text. It can be downloaded.");
    const drop = button("Delete", async () => { if (await discard(item, drop)) location.hash = up; }, { className: "quiet" });
    const edit = button("Edit", () => change(item, text));
    shown.removeAttribute("role");
    fill(shown, el("div", { className: "row tools" }, crumbs(), el("span", { className: "dim" }, bytes(content.size)), el("span", { className: "grow" }),
      isText && isWhole && edit, el("a", { className: "button", href: url(["content"], which(item)), download: name }, "Download"), drop),
    !isWhole && isText && el("p", { className: "notice" }, `Only the first ${bytes(SHOWN)} are shown.`), shownText);
  };

  const change = (item, text) => {
    const area = el("textarea", { value: text, spellcheck: false, ariaLabel: `Content of ${nameOf(item)}`, rows: 24 });
    const save = button("Save", () => attempt(async () => {
      await write(url(["content"], which(item)), area.value);
      say(`${nameOf(item)} is saved.`);
      await view(item);
    }, save), { className: "primary" });
    fill(shown, el("div", { className: "row tools" }, crumbs(), el("span", { className: "grow" }), save, button("Cancel", () => attempt(() => view(item)))), area);
    area.focus();
  };

  const open = async () => {
    if (!folder) return list();
    const item = await get(url(["stat"], { path: folder }));
    return item.kind === "directory" ? list() : view({ ...item, path: folder });
  };
  const failed = (error) => fill(shown, el("p", { className: "notice" }, error.message), el("a", { href: to("") }, "All files"));
  open().catch(failed);

  element.append(shown);
  element.addEventListener("dragover", (event) => event.preventDefault());
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    attempt(() => upload(event.dataTransfer.files));
  });
  return { element };
}
