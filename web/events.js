// Events of the server as they come. Unlike EventSource it can tell why there are none, asks again after whatever loss, and
// notices a connection that is dead and was never closed. After a loss it goes on behind the last event that it heard.

import { listen } from "./api.js";

/** The server says something every 15 seconds. */
const SILENCE = 40000;
const SOON = 500;
const LATE = 15000;

/** An event from its lines; remarks are none. */
function parse(block) {
  const event = { name: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (field === "id") event.id = value;
    else if (field === "event") event.name = value;
    else if (field === "data") event.data = value;
  }
  return event.data && event;
}

/** Whether asking again may help: nobody answered, or not now. */
const mayPass = ({ status }) => status === undefined || status === 0 || status === 408 || status === 429 || status >= 500;

/**
 * Calls `hear` with the name and the data of each event, and `tell` with what the connection is: `open`, `lost`, `over` behind
 * the event `end`, or `failed` and why. Gives back what ends it.
 */
export function follow(url, hear, tell) {
  let last;
  let failures = 0;
  let isLeft = false;
  let current;
  let timer;

  /** Hears until the connection ends; whether that was the end of all. */
  const once = async () => {
    const abort = new AbortController();
    current = abort;
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENCE);
    };
    heard();
    try {
      const response = await listen(url, last, abort.signal);
      if (response.status === 204) return true;
      tell("open");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done || isLeft) return false;
        heard();
        failures = 0;
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const event of blocks.map(parse).filter(Boolean)) {
          last = event.id ?? last;
          hear(event.name, JSON.parse(event.data));
          if (event.name === "end") return true;
        }
      }
    } finally {
      clearTimeout(silence);
      abort.abort();
    }
  };

  const run = async () => {
    clearTimeout(timer);
    timer = undefined;
    const isOver = await once().catch((error) => {
      if (isLeft || mayPass(error)) return false;
      tell("failed", error.message);
      return undefined;
    });
    if (isLeft || isOver === undefined) return;
    if (isOver) return tell("over");
    tell("lost");
    timer = setTimeout(run, Math.min(SOON * 2 ** failures, LATE));
    failures += 1;
  };

  const sooner = () => timer && run();
  addEventListener("online", sooner);
  document.addEventListener("visibilitychange", sooner);
  run();
  return () => {
    isLeft = true;
    clearTimeout(timer);
    current?.abort();
    removeEventListener("online", sooner);
    document.removeEventListener("visibilitychange", sooner);
  };
}
