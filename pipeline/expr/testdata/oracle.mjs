// How oracle.jsonl was made: npm install @actions/expressions (MIT), then evaluate each line's expr with this and print
// what it gives. Left out are the cases where GitHub's C# runner, which wins, differs from the npm package: numbers below
// 1e-4 and from 1e15, NaN and Infinity in toJSON, and case() and format(), which evaluate only the arguments they use.
import { readFileSync } from "node:fs";
import { Lexer, Parser, Evaluator, data } from "@actions/expressions";

const contexts = JSON.parse(readFileSync("contexts.json", "utf8"), data.reviver);
const names = contexts.pairs().map((p) => p.key);
for (const line of readFileSync("oracle.jsonl", "utf8").trim().split("\n")) {
  const expr = JSON.parse(line).expr;
  let answer;
  try {
    const tree = new Parser(new Lexer(expr).lex().tokens, names, []).parse();
    const value = new Evaluator(tree, contexts).evaluate();
    answer = { expr, kind: ["String", "Array", "Object", "Boolean", "Number", "Object", "Null"][value.kind] };
    if (answer.kind === "Array" || answer.kind === "Object") answer.json = JSON.stringify(value, data.replacer);
    else answer.text = value.coerceString();
  } catch {
    answer = { expr, error: true };
  }
  console.log(JSON.stringify(answer));
}
