// A form by which somebody hands in what is to be built: a folder, a tar archive, or a workspace.

import { get, path, post, postArchive } from "./api.js";
import { attempt, bytes, el, setText } from "./dom.js";
import { archive } from "./tar.js";

/** What nobody means to hand in with a folder. */
const LEFT_OUT = [".git", "node_modules"];

/** The files of a folder that was chosen, by their paths in it. */
function inFolder(files) {
  const all = [...files].map((file) => ({ file, path: file.webkitRelativePath.split("/").slice(1).join("/") || file.name }));
  return all.filter(({ path: where }) => !where.split("/").some((part) => LEFT_OUT.includes(part)));
}

/** A file that is compressed is handed in as what it was. */
async function unpacked(file) {
  const begin = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const isGzip = begin[0] === 0x1f && begin[1] === 0x8b;
  return isGzip ? new Response(file.stream().pipeThrough(new DecompressionStream("gzip"))).blob() : file;
}

export function handIn(given = "") {
  const project = el("input", { name: "project", required: true, maxLength: 100, value: given, autocomplete: "off", spellcheck: false });
  const kinds = [["folder", "a folder"], ["archive", "a tar archive"], ["workspace", "a workspace"]];
  const kind = el("select", { name: "kind" }, kinds.map(([value, text]) => el("option", { value }, text)));
  const folder = el("input", { type: "file", name: "folder", webkitdirectory: true, required: true });
  const file = el("input", { type: "file", name: "archive", accept: ".tar,.tgz,.tar.gz,.gz,application/x-tar", required: true });
  const workspace = el("select", { name: "workspace", required: true });
  const status = el("p", { className: "dim hint", role: "status" });
  const submit = el("button", { type: "submit", className: "primary" }, "Build");
  const fields = {
    folder: el("label", { className: "field" }, el("span", {}, "Folder"), folder),
    archive: el("label", { className: "field" }, el("span", {}, "Archive"), file),
    workspace: el("label", { className: "field" }, el("span", {}, "Workspace"), workspace),
  };
  const hints = {
    folder: `Left out are ${LEFT_OUT.join(" and ")}. `,
    archive: "As tar makes it of the folder's content, compressed by gzip or not. ",
    workspace: "Its files as they are now. ",
  };
  const how = "A pinfold.toml says how it is built; without one that is found out.";

  const choose = () => {
    for (const [name, field] of Object.entries(fields)) {
      field.hidden = name !== kind.value;
      // What is not shown must not be asked for.
      for (const control of field.querySelectorAll("input, select")) control.disabled = field.hidden;
    }
    setText(status, hints[kind.value] + how);
    if (kind.value === "workspace" && !workspace.options.length) attempt(async () => {
      const all = (await get("/v1/workspaces")).workspaces;
      workspace.append(...all.map(({ id }) => el("option", { value: id }, id)));
      if (!all.length) setText(status, "There is no workspace yet.");
    });
  };
  kind.addEventListener("change", choose);
  folder.addEventListener("change", () => {
    const name = folder.files[0]?.webkitRelativePath.split("/")[0];
    if (name && !project.value) project.value = name;
    setText(status, folder.files.length ? `${inFolder(folder.files).length.toLocaleString()} files, ${bytes(inFolder(folder.files).reduce((sum, one) => sum + one.file.size, 0))}` : hints.folder + how);
  });

  const send = async () => {
    const query = { project: project.value.trim() };
    if (kind.value === "workspace") return post(path(["builds"], query), { workspace: workspace.value });
    setText(status, "Handing it in …");
    const body = kind.value === "folder" ? await archive(inFolder(folder.files)) : await unpacked(file.files[0]);
    return postArchive(path(["builds", "archive"], query), body);
  };
  choose();
  return el("form", {
    className: "card hand-in",
    "aria-label": "Build something",
    onsubmit: (event) => {
      event.preventDefault();
      attempt(async () => {
        const build = await send();
        location.hash = `#/build/${build.id}`;
        return true;
      }, submit).then((done) => done || choose());
    },
  },
  el("label", { className: "field" }, el("span", {}, "Project"), project),
  el("label", { className: "field" }, el("span", {}, "From"), kind),
  ...Object.values(fields), submit, status);
}
