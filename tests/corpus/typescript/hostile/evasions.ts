(globalThis as any).eval('1');
(process as any).env;
process!.env;
(eval as any)('1');
const e = eval as Function;
globalThis['ev' + 'al']('1');
import fs = require('fs');
