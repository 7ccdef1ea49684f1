// A tar archive of files that somebody chose. Their content is read when it is sent, and not kept.

const BLOCK = 512;
const ENDS = 2 * BLOCK;
const NAME = 100;

const encoder = new TextEncoder();

function header(name, size, kind, mode) {
  const block = new Uint8Array(BLOCK);
  const put = (at, text) => block.set(typeof text === "string" ? encoder.encode(text) : text, at);
  const number = (at, digits, value) => put(at, value.toString(8).padStart(digits, "0"));
  put(0, name.slice(0, NAME));
  number(100, 7, mode);
  number(108, 7, 0);
  number(116, 7, 0);
  number(124, 11, size);
  number(136, 11, 0);
  put(148, " ".repeat(8));
  put(156, kind);
  put(257, "ustar\0" + "00");
  number(148, 6, block.reduce((sum, byte) => sum + byte, 0));
  block[154] = 0;
  return block;
}

const filling = (size) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

/** What a pax header says of a path: a line that has its own length. */
function record(path) {
  const rest = encoder.encode(` path=`).length + path.length + 1;
  let length = rest + String(rest).length;
  length = rest + String(length).length;
  const line = new Uint8Array(length);
  line.set(encoder.encode(`${length} path=`));
  line.set(path, length - path.length - 1);
  line[length - 1] = 10;
  return line;
}

/** An archive of files, each with its path. No browser tells which can be executed: those that begin with `#!` are. */
export async function archive(files) {
  const parts = [];
  for (const { path, file } of files) {
    const name = encoder.encode(path);
    if (name.length > NAME) {
      const line = record(name);
      parts.push(header(encoder.encode("path"), line.length, "x", 0o644), line, filling(line.length));
    }
    const isScript = await file.slice(0, 2).text() === "#!";
    parts.push(header(name, file.size, "0", isScript ? 0o755 : 0o644), file, filling(file.size));
  }
  return new Blob([...parts, new Uint8Array(ENDS)], { type: "application/x-tar" });
}
