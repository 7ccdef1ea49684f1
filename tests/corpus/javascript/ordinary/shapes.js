import { area } from './shapes/area.js';
import path from './path.js';

class Shape {
  constructor(kind) {
    this.kind = kind;
  }

  clone() {
    return new this.constructor(this.kind);
  }

  equals(other) {
    return this.constructor === other.constructor && this.kind === other.kind;
  }
}

const square = new Shape('square');
console.log(square.clone().equals(square), area(square), path.of(square));
const byName = { square, global: 1, window: { width: 3 } };
console.log(byName['square'].kind, byName.window['width']);
export default Shape;
export { area };
