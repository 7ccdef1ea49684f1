// Terminals of a sandbox, in the browser. Each shell goes on by itself; whoever comes back finds its screen as it is.

import { FitAddon } from "./vendor/addon-fit.mjs";
import { Terminal } from "./vendor/xterm.mjs";
import { get, path, put, remove } from "./api.js";
import { ask, attempt, button, el, setText } from "./dom.js";

const DARK = { background: "#10161d", foreground: "#dde5ec", cursor: "#5fd0a5", cursorAccent: "#10161d", selectionBackground: "#2f4a5f", black: "#28323c", brightBlack: "#75828f", blue: "#6cb2ff", green: "#6fd08c", red: "#ff8079", yellow: "#e6c15c", magenta: "#d399ff", cyan: "#56cfd6", white: "#cfd8e0" };
const LIGHT = { background: "#ffffff", foreground: "#1d2730", cursor: "#1f7a5c", cursorAccent: "#ffffff", selectionBackground: "#bfe3d5", black: "#1d2730", brightBlack: "#66737f", blue: "#0b5cad", green: "#1a7030", red: "#b3261e", yellow: "#7d5a00", magenta: "#8434b8", cyan: "#0b6b73", white: "#9aa5af", brightWhite: "#5f6b76", brightYellow: "#7d5a00", brightGreen: "#1a7030", brightCyan: "#0b6b73", brightBlue: "#0b5cad", brightRed: "#b3261e", brightMagenta: "#8434b8" };
const SPEAKS = "pinfold-screen-reader";
/** Longer messages are not taken. */
const PIECE = 16 << 10;

const isDark = matchMedia("(prefers-color-scheme: dark)");

/** The bytes of a text in pieces that are not too long for one message. */
function* pieces(text) {
  const all = new TextEncoder().encode(text);
  for (let at = 0; at < all.length; at += PIECE) yield all.subarray(at, at + PIECE);
}

class Connection {
  constructor(sandbox, name, screen, told) {
    Object.assign(this, { sandbox, name, screen, told, failures: 0, wasOpen: false, isOver: false });
    this.again = () => this.timer && this.open();
    addEventListener("online", this.again);
    this.open();
  }

  async open() {
    clearTimeout(this.timer);
    this.timer = undefined;
    try {
      const { terminals } = await get(path(["sandboxes", this.sandbox, "terminals"]));
      this.isFresh = !terminals.some((terminal) => terminal.name === this.name);
      const { rows, cols } = this.screen;
      if (this.isFresh) await put(path(["sandboxes", this.sandbox, "terminals", this.name]), { rows, columns: cols });
    } catch (error) {
      if (this.isOver || error.isSignedOut) return undefined;
      if (error.isLost || error.status >= 500) return this.retry();
      return this.told(error.message, "over");
    }
    return this.isOver ? undefined : this.attach();
  }

  attach() {
    const url = new URL(path(["sandboxes", this.sandbox, "terminals", this.name, "attach"]), location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      // What comes first is the screen as it is.
      this.screen.reset();
      this.failures = 0;
      this.resize();
      const again = this.isFresh ? "Connected again, to a new shell: the one before has ended." : "Connected again.";
      this.told(this.wasOpen ? again : "Connected.", "open");
      this.wasOpen = true;
    };
    socket.onmessage = ({ data }) => typeof data !== "string" && this.screen.write(new Uint8Array(data));
    socket.onclose = ({ code }) => {
      if (this.isOver || this.socket !== socket) return;
      if (code === 1000) this.told("The shell has ended.", "over");
      else this.retry();
    };
  }

  retry() {
    this.failures += 1;
    const wait = Math.min(250 * 2 ** this.failures, 8000);
    this.told("Connection lost. Trying again …", "lost");
    this.timer = setTimeout(() => this.open(), wait);
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  type(text) {
    if (this.isOpen) for (const piece of pieces(text)) this.socket.send(piece);
  }

  resize() {
    if (this.isOpen) this.socket.send(JSON.stringify({ rows: this.screen.rows, columns: this.screen.cols }));
  }

  close() {
    this.isOver = true;
    removeEventListener("online", this.again);
    clearTimeout(this.timer);
    this.socket?.close();
  }
}

function screen(speaks) {
  return new Terminal({
    cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    fontFamily: "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    fontSize: 14,
    minimumContrastRatio: 4.5,
    screenReaderMode: speaks,
    scrollback: 5000,
    theme: isDark.matches ? DARK : LIGHT,
    // Where a link leads is the sandbox's to say: nobody is sent there by a click.
    linkHandler: { activate: () => {} },
  });
}

function picker(sandbox, base, current) {
  const select = el("select", { onchange: () => { location.hash = `${base}/terminal/${encodeURIComponent(select.value)}`; } });
  const offer = (names) => select.replaceChildren(...[...new Set([current, ...names])].map((name) => el("option", { value: name, selected: name === current }, name)));
  offer([]);
  get(path(["sandboxes", sandbox, "terminals"])).then(({ terminals }) => offer(terminals.map(({ name }) => name)), () => {});
  const another = button("New", async () => {
    const name = await ask({ title: "New terminal", label: "Name", value: `shell-${select.options.length + 1}`, yes: "Open" });
    if (name) location.hash = `${base}/terminal/${encodeURIComponent(name)}`;
  }, { ariaLabel: "New terminal" });
  return [el("label", { className: "inline" }, "Terminal ", select), another];
}

export function terminals(sandbox, base, name) {
  const speaks = localStorage.getItem(SPEAKS) === "yes";
  const terminal = screen(speaks);
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  const host = el("div", { className: "screen" });
  const status = el("p", { className: "status", role: "status", id: "terminal-status" });
  const again = button("Open again", () => begin(), { hidden: true, className: "primary" });
  const speak = el("input", { type: "checkbox", checked: speaks, onchange: () => {
    localStorage.setItem(SPEAKS, speak.checked ? "yes" : "no");
    terminal.options.screenReaderMode = speak.checked;
  } });
  let connection;
  const told = (words, how) => {
    setText(status, words);
    status.dataset.how = how;
    host.classList.toggle("lost", how !== "open");
    again.hidden = how !== "over";
  };
  const begin = () => {
    connection?.close();
    connection = new Connection(sandbox, name, terminal, told);
  };
  const end = button("Close", () => attempt(async () => {
    const text = "Its shell and what runs in it end.";
    if (await ask({ title: `Close terminal ${name}?`, text, yes: "Close it", danger: true })) await remove(path(["sandboxes", sandbox, "terminals", name]));
  }, end), { className: "quiet", ariaLabel: "Close this terminal" });

  const theme = () => { terminal.options.theme = isDark.matches ? DARK : LIGHT; };
  isDark.addEventListener("change", theme);
  const observer = new ResizeObserver(() => host.clientHeight > 0 && fit.fit());
  terminal.onData((text) => connection?.type(text));
  terminal.onBinary((text) => connection?.type(text));
  terminal.onResize(() => connection?.resize());
  // Tab belongs to the shell: another key leads out.
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.type !== "keydown" || event.key !== "F6" || !event.ctrlKey) return true;
    event.preventDefault();
    speak.focus();
    return false;
  });
  // It can only be measured where it is shown.
  requestAnimationFrame(() => {
    terminal.open(host);
    terminal.textarea?.setAttribute("aria-label", `Terminal ${name} of ${sandbox}. Control and F6 leave it.`);
    fit.fit();
    observer.observe(host);
    begin();
    if (document.activeElement === document.body || document.activeElement?.tagName === "H1") terminal.focus();
  });
  const bar = el("div", { className: "row bar" }, picker(sandbox, base, name), status, again,
    el("span", { className: "grow" }),
    el("label", { className: "inline dim" }, speak, " Screen reader"),
    el("span", { className: "dim keys" }, el("kbd", {}, "Ctrl"), "+", el("kbd", {}, "F6"), " leaves the terminal"), end);
  return {
    element: el("section", { className: "terminal-view", ariaLabel: "Terminal" }, bar, host),
    focus: () => terminal.textarea,
    leave: () => {
      isDark.removeEventListener("change", theme);
      observer.disconnect();
      connection?.close();
      terminal.dispose();
    },
  };
}
