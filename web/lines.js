// Lines of a log: as many as a browser can bear, put in together, and followed to their end unless somebody looks elsewhere.

import { button, el, setText } from "./dom.js";

const MOST = 5000;
const SOON = 30;
const CLOSE = 24;

export function lines(label) {
  const shown = el("div", { className: "log", role: "log", ariaLabel: label, tabIndex: 0 });
  const cut = el("p", { className: "dim cut", hidden: true });
  const toEnd = button("To the end", () => {
    follows = true;
    keepUp();
    shown.focus();
  }, { className: "to-end", hidden: true });
  const element = el("div", { className: "lines" }, cut, shown, toEnd);
  let waiting = [];
  let dropped = 0;
  let timer;
  let follows = true;
  let top = 0;

  const isAtEnd = () => shown.scrollTop + shown.clientHeight >= shown.scrollHeight - CLOSE;
  // Somebody who goes up wants to stay there, and is asked before lines come, since they may come before the event that tells
  // of it. What grew or shrank meanwhile is nobody's wish.
  const look = () => {
    follows = isAtEnd() || (follows && shown.scrollTop >= top);
    top = shown.scrollTop;
  };
  const keepUp = () => {
    if (follows) shown.scrollTop = shown.scrollHeight;
    top = shown.scrollTop;
    toEnd.hidden = follows;
  };
  const putIn = () => {
    timer = undefined;
    look();
    shown.append(...waiting.slice(-MOST));
    dropped += Math.max(0, waiting.length - MOST);
    waiting = [];
    for (; shown.children.length > MOST; dropped += 1) shown.firstChild.remove();
    cut.hidden = !dropped;
    if (dropped) setText(cut, `${dropped.toLocaleString()} earlier lines are not shown.`);
    keepUp();
  };
  shown.addEventListener("scroll", () => {
    look();
    toEnd.hidden = follows;
  }, { passive: true });
  const size = new ResizeObserver(() => {
    look();
    keepUp();
  });
  size.observe(shown);

  return {
    element,
    add(line) {
      waiting.push(line);
      timer ??= setTimeout(putIn, SOON);
    },
    /** Whether a screen reader is told of what comes. */
    announce(is) {
      shown.ariaLive = is ? "polite" : "off";
    },
    leave() {
      clearTimeout(timer);
      size.disconnect();
    },
  };
}
