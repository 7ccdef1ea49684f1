/* require('child_process').exec('ls') stands in a comment,
   and `new Function("x")` too. */
const notes = [
  "require('fs')",
  'process.env.HOME',
  `eval(${1 + 1})`,
];
const pattern = /process\.exit|__proto__/g;
const lines = notes.map((note) => note.replace(pattern, '…'));

function functionName(fn) {
  return fn.name || 'anonymous';
}

const medieval = (year) => year > 500 && year < 1500;
console.log(lines.join('\n'), functionName(medieval), medieval(1066));
