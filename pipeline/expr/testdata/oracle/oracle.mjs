// Makes answers.jsonl.gz: expressions, and what GitHub's own npm package (@actions/expressions, MIT) says they are.
// The expressions are those of written.json, and generated ones, always the same for one seed. `make oracle` runs this.
//
// A line is {"e": expression, "v": value, "s": as a string} or {"e": expression, "x": column}; the column counts from 1 in
// characters, 0 where the package gives none. What JSON has no number for is {"number": "NaN"} and so on, as of `slipway eval`.
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { Lexer, Parser, Evaluator, data } from "@actions/expressions";
import { generate } from "./generate.mjs";

const contexts = JSON.parse(readFileSync("contexts.json", "utf8"), data.reviver);
const names = contexts.pairs().map((p) => p.key);
const { Kind } = data;

function plain(v) {
  switch (v.kind) {
    case Kind.Number: {
      const n = v.value;
      if (Number.isNaN(n)) return '{"number":"NaN"}';
      if (!Number.isFinite(n)) return n > 0 ? '{"number":"Infinity"}' : '{"number":"-Infinity"}';
      return JSON.stringify(n);
    }
    case Kind.Array:
      return "[" + v.values().map(plain).join(",") + "]";
    case Kind.Dictionary:
      return "{" + v.pairs().map((p) => JSON.stringify(p.key) + ":" + plain(p.value)).join(",") + "}";
    case Kind.Null:
      return "null";
  }
  return JSON.stringify(v.value);
}

// column is where the package says that a parse error is. It counts by line, and goes wrong after a line break in a string.
function column(expression, error) {
  if (expression.includes("\n") || /depth|length/i.test(error.message)) return 0;
  let units = error.pos?.column;
  const position = /Located at position (\d+)/.exec(error.message);
  if (position) units = Number(position[1]) - 1;
  return units === undefined ? 0 : [...expression.slice(0, units)].length + 1;
}

function answer(expression) {
  const e = JSON.stringify(expression);
  try {
    const tree = new Parser(new Lexer(expression).lex().tokens, names, []).parse();
    const value = new Evaluator(tree, contexts).evaluate();
    return `{"e":${e},"v":${plain(value)},"s":${JSON.stringify(value.coerceString())}}`;
  } catch (error) {
    return `{"e":${e},"x":${column(expression, error)}}`;
  }
}

const expressions = new Set(JSON.parse(readFileSync("written.json", "utf8")));
generate(expressions, 8000);
writeFileSync("answers.jsonl.gz", gzipSync([...expressions].map((e) => answer(e) + "\n").join(""), { level: 9 }));
console.log(`${expressions.size} expressions`);
