// Writes the build of a site as a job, for `pinfold run --json` and `pinfold-runner`: node job.mjs SITE OUT

import { dirname } from "node:path";

const [site, out] = process.argv.slice(2);

// `--toolchain node` belongs to the command line. In a job, a Node.js that lives outside /usr is a mount and a PATH.
const node = dirname(dirname(process.execPath));
const elsewhere = !`${node}/`.startsWith("/usr/");

const job = {
  // `runner`: Vite's other ways to read a configuration in TypeScript write beside it.
  command: ["node", "node_modules/vite/bin/vite.js", "build", "--configLoader", "runner", "--outDir", "/workspace/dist", "--emptyOutDir"],
  cwd: "/site",
  env: elsewhere ? { PATH: `${node}/bin:/usr/bin:/bin` } : {},
  mounts: [{ source: site, target: "/site" }, ...(elsewhere ? [{ source: node, target: node }] : [])],
  artifacts: { paths: ["dist"], directory: out },
};

console.log(JSON.stringify(job, null, 2));
