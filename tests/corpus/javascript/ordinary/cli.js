const readline = require('readline');

const input = readline.createInterface({ input: process.stdin });
const totals = new Map();

input.on('line', (line) => {
  const [name, amount] = line.split(/\s+/);
  totals.set(name, (totals.get(name) ?? 0) + Number(amount));
});

input.on('close', () => {
  const names = [...totals.keys()].sort();
  for (const name of names) process.stdout.write(`${name.padEnd(10)} ${totals.get(name).toFixed(2)}\n`);
  if (names.length === 0) process.exitCode = 1;
});

if (require.main === module) console.error(process.argv.length, 'arguments');
