// Elements, made without HTML: a text is only ever a text, whoever wrote it.

/** An element with properties, attributes and listeners (`onclick`), and what is in it. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  return fill(element, ...children);
}

/** Puts something in the place of what is in an element; what is nothing is left out. */
export function fill(element, ...children) {
  if (children.length) element.replaceChildren(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Changes a text only where it differs, so that a screen reader is not told the same again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function button(text, onclick, properties = {}) {
  return el("button", { type: "button", onclick, ...properties }, text);
}

/** Says something in passing; what went wrong stays longer and is said at once. */
export function say(text, isWrong = false) {
  const close = button("Close", () => toast.remove(), { className: "quiet", ariaLabel: "Close this message" });
  const toast = el("div", { className: isWrong ? "toast wrong" : "toast" }, el("span", {}, text), close);
  document.getElementById(isWrong ? "alerts" : "toasts").append(toast);
  setTimeout(() => toast.remove(), isWrong ? 15000 : 5000);
}

/** Does something that a person asked for, and says what went wrong. The button waits meanwhile. */
export async function attempt(work, control) {
  control?.setAttribute("aria-busy", "true");
  if (control) control.disabled = true;
  try {
    return await work();
  } catch (error) {
    if (!error.isSignedOut) say(error.message, true);
    return undefined;
  } finally {
    control?.removeAttribute("aria-busy");
    if (control) control.disabled = false;
  }
}

/** Asks in a dialog; the answer is null where nobody gave one. With a label it asks for a text, else for a yes. */
export function ask({ title, text, label, value = "", yes = "OK", danger = false }) {
  return new Promise((resolve) => {
    const input = label && el("input", { value, required: true, autocomplete: "off", spellcheck: false });
    const heading = el("h2", { id: "ask-title" }, title);
    const form = el("form", { method: "dialog" },
      heading,
      text && el("p", {}, text),
      label && el("label", { className: "field" }, el("span", {}, label), input),
      el("div", { className: "row end" },
        button("Cancel", () => dialog.close()),
        el("button", { type: "submit", className: danger ? "danger" : "primary", value: "yes" }, yes)));
    const dialog = el("dialog", { "aria-labelledby": "ask-title" }, form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close(input ? input.value : "yes");
    });
    // Its end gives the focus back to whatever opened it.
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue || null);
    });
    document.body.append(dialog);
    dialog.showModal();
    input?.select();
  });
}

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) {
    count /= 1024;
    at += 1;
  }
  return `${at === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[at]}`;
}

export function span(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

/** How long something took, or takes. */
export function took(milliseconds) {
  return milliseconds < 60000 ? `${(milliseconds / 1000).toFixed(1)} s` : `${span(milliseconds)} ${Math.floor(milliseconds / 1000) % 60} s`;
}

export function time(milliseconds) {
  const date = new Date(milliseconds);
  const isToday = date.toDateString() === new Date().toDateString();
  const text = isToday ? date.toLocaleTimeString() : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return el("time", { dateTime: date.toISOString(), title: date.toLocaleString() }, text);
}
