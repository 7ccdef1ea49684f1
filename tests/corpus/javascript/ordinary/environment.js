// The environment of a small language: process.env is not meant, and eval() not needed.
class Environment {
  constructor(parent) {
    this.names = new Map();
    this.parent = parent;
  }

  define(name, value) {
    this.names.set(name, value);
  }

  lookup(name) {
    if (this.names.has(name)) return this.names.get(name);
    if (this.parent) return this.parent.lookup(name);
    throw new ReferenceError(`${name} is not in the environment`);
  }
}

function evaluate(node, env) {
  if (typeof node === 'number') return node;
  if (typeof node === 'string') return env.lookup(node);
  const [operator, ...rest] = node;
  const values = rest.map((part) => evaluate(part, env));
  return operator === '+' ? values.reduce((a, b) => a + b) : values.reduce((a, b) => a * b);
}

const env = new Environment(null);
env.define('x', 6);
console.log(evaluate(['*', 'x', ['+', 3, 4]], env));
