// Links between the parts of one thing.

import { el } from "./dom.js";

export function tabs(base, links, current, label) {
  return el("nav", { className: "tabs", ariaLabel: label },
    links.map(([id, text]) => el("a", { href: `${base}/${id}`, "aria-current": id === current ? "page" : undefined }, text)));
}
