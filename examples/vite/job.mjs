// Writes a job for `pinfold run --json` or `pinfold-runner`: the same build as JSON, of a site that can't be written to.
// Usage: node job.mjs SITE OUT

import { dirname } from "node:path";

const [site, out] = process.argv.slice(2);

// `--toolchain node` is the command line's. In a job a Node.js that lives outside /usr is a mount and a PATH.
const node = dirname(dirname(process.execPath));
const toolchain = node.startsWith("/usr") ? [] : [{ source: node, target: node }];

console.log(
  JSON.stringify({
    command: ["node", "node_modules/vite/bin/vite.js", "build", "--configLoader", "runner", "--outDir", "/workspace/dist"],
    cwd: "/site",
    env: { PATH: `${node}/bin:/usr/local/bin:/usr/bin:/bin` },
    mounts: [{ source: site, target: "/site" }, ...toolchain],
    artifacts: { paths: ["dist"], directory: out },
  }),
);
