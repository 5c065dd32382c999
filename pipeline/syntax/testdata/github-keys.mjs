// Makes github-keys.json: the keys of each mapping in the schema that GitHub's own npm package (@actions/workflow-parser 0.3.61, MIT) reads
// workflows by. Usage: npm install @actions/workflow-parser@0.3.61 elsewhere, then
// node github-keys.mjs …/node_modules/@actions/workflow-parser/dist/workflow-v1.0.min.json > github-keys.json
import { readFileSync } from "node:fs";

const { definitions } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const out = {};
for (const [name, { mapping }] of Object.entries(definitions)) {
  const keys = Object.keys(mapping?.properties ?? {});
  if (keys.length > 0) out[name] = keys;
}
console.log(JSON.stringify(out, null, 1));
