import { identity } from './matrix/identity.ts';
import type { Matrix } from './matrix/types.ts';

const multiply = (a: Matrix, b: Matrix): Matrix =>
  a.map((row) => b[0].map((_, column) => row.reduce((sum, value, index) => sum + value * b[index][column], 0)));

function power(matrix: Matrix, exponent: number): Matrix {
  if (exponent === 0) return identity(matrix.length);
  const half = power(matrix, exponent >> 1);
  const square = multiply(half, half);
  return exponent % 2 ? multiply(square, matrix) : square;
}

console.log(JSON.stringify(power([[1, 1], [1, 0]], 10)), `process.exit(${1})`);
