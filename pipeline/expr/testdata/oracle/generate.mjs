// Expressions by a fixed seed, from the grammar and from lists of what is known to be hard.

// random is mulberry32: small, and the same everywhere.
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const numbers = [
  "0", "-0", "+0", "1", "-1", "+1", "7", "42", "-3", "0.5", ".5", "-.5", "+.25", "1.", "1.50", "00012", "1e3", "1E3", "1e+3", "1e-3",
  "-2.5e2", ".5e1", "0x0", "0x1F", "0xff", "0x00ff", "0o7", "0o17", "0o777", "123456789", "123456789012345", "0.1", "0.30000000000000004",
  "3.14159265358979", "99.99", "1e5", "1e14", "NaN", "Infinity", "-Infinity", "+Infinity",
];
const texts = [
  "", " ", "a", "A", "abc", "ABC", "aBc", "b", "hello world", "Hello", "ell", "é", "É", "straße", "ünïcode", "ÜNÏCODE", "日本語", "本", "😀", "a😀b",
  "0", "1", "-1", "01", "1.0", "1.5", " 1 ", "\t2\n", "1e3", "0x10", "0o10", ".5", "+5", "-0", "true", "false", "TRUE", "null", "NaN", "Infinity",
  "-Infinity", "x1", "1x", "0x", "0xg", "1_000", "1,000", "{}", "[]", "[1]", "it''s", "''", "a\nb", "a\tb", "\"quoted\"", "back\\slash", "<&>", "refs/heads/main",
  "Object", "Array", "bug", "high", "20", "ς", "Σ", "σ", "ω", "Ω", "ж", "Ж", "ǆ", "Ǆ", "\u2028", "\u0001",
];
const jsons = [
  "1", "-1.5e2", "true", "false", "null", '"text"', '""', "[]", "{}", "[1,2,3]", '["a","B",null,true,1.5]', '{"a":1,"b":{"c":[1,{"d":2}]}}', '[[1,2],[3]]',
  '{"a":1,"A":2}', '{"B":1,"a":2,"c":3}', '  [ 1 , 2 ]  ', '"\\u00e9\\n\\""', "0", "-0", "0.1", "1e2", '{"":1}', '[{"x":1},{"x":2},{"y":3}]', '{"k":"v","n":null}',
  '{"deep":{"deep":{"deep":{"deep":[[[[1]]]]}}}}',
];
const badJSONs = ["", " ", "{", "[1,]", "{a:1}", "'x'", "01", "+1", ".5", "1.", "tru", "nul", "[1 2]", '{"a"}', '{"a":1,}', '"open', "NaN", "[1]]", "1 2", "//x", "\t"];
const contextPaths = [
  "github", "github.ref", "github.sha", "github.run_number", "github.event", "github.event.list", "github.event.empty", "github.event.commits",
  "github.event.labels", "github.event.nested", "github.event.pull_request", "github.event.pull_request.title", "github.event.zero", "github.event.negative",
  "github.event.big", "github.event.tiny", "github.event.blank", "github.event.space", "github.event.yes", "github.event.no", "github.event.nothing",
  "github.event.missing", "github.event.odd-key_1", "matrix", "matrix.os", "matrix.node", "matrix.experimental", "matrix.version", "matrix.missing.more",
  "needs", "needs.build", "needs.build.result", "needs.build.outputs", "needs.build.outputs.count", "needs.test-all.outputs.x", "needs.lint.outputs",
  "needs.nope.result", "inputs", "inputs.flag", "inputs.level", "inputs.count", "vars", "vars.none",
];
const accessors = [
  ".a", ".id", ".name", ".NAME", ".author", ".author.name", ".files", ".outputs", ".result", ".event", ".missing", ".*", ".*.*", ".*.id", ".*.name", ".*.files", ".*.files.*",
  ".*.n", ".*.author.name", ".*.result", "[0]", "[1]", "[2]", "[3]", "[-1]", "[1.5]", "[1.999]", "[-0.5]", "['0']", "['1']", "[' 1 ']", "['x']", "['']", "[true]", "[false]", "[null]",
  "[NaN]", "[Infinity]", "[1e3]", "[0x1]", "['ID']", "['result']", "[*]", "[*].id", "[*][0]", ".*[0]", ".*[1]", "['Name']", "['1.5']", "[1.5]", "['TRUE']", "['straße']", "['STRASSE']", "['été']",
  "[github.event.zero]", "[github.event]", "[github.event.list]", "[inputs.level]", ".event.commits", ".event.labels", "[99999999999]", "[2147483647]",
];
const operators = ["==", "!=", "<", "<=", ">", ">=", "&&", "||"];
const formats = [
  "{0}", "{1}", "{0}{1}", "{1}{0}", "{0}-{0}", "{{0}}", "{{{0}}}", "}}", "{{", "{{}}", "a{0}b{1}c", "{2}", "{00}", "{ 0}", "{0 }", "{}", "{", "}", "{a}", "{-1}", "{0", "0}", "{0}}", "{{0}",
  "{0}}}", "no places", "", "é{0}ü", "{0}\n{1}", "it''s {0}", "{9999999999}", "{10}", "{0}{2}",
];
const noise = ["(", ")", "[", "]", ".", ",", "!", "=", "==", "<", "&", "&&", "|", "||", "*", "'", "\"", "@", "#", "$", "{", "}", "-", "+", "/", "%", "^", "~", "`", "\\", ";", ":", "?", " ", "1", "x", "0x", "..", "é", "true", "null", "github", "unknown", "nope()", "contains(", "toJSON()", "1.2.3", "_", "a-b", "-a"];

// generate adds to out until it holds count expressions.
export function generate(out, count) {
  const next = random(20261122);
  const int = (n) => Math.floor(next() * n);
  const pick = (list) => list[int(list.length)];
  const quote = (s) => "'" + s.replaceAll(/'+/g, (m) => (m === "''" ? "''" : m + m)) + "'";
  const spaced = (op) => pick([` ${op} `, ` ${op} `, op, `  ${op}\t`]);
  const number = () => (next() < 0.7 ? pick(numbers) : pick(["", "-", "+"]) + String(int(100000)) + pick(["", ".5", ".125", "e2", "e-2", ".0"]));
  const literal = () => [() => number(), () => quote(pick(texts)), () => pick(["true", "false", "null"]), () => quote(pick(texts))][int(4)]();
  const cased = (name) => (next() < 0.8 ? name : pick([name.toLowerCase(), name.toUpperCase()]));
  const path = () => {
    let p = pick(contextPaths);
    for (let n = int(3); n > 0; n--) p += pick(accessors);
    return next() < 0.1 ? p.replace(/^[a-z]+/, (m) => m.toUpperCase()) : p;
  };
  const json = () => `fromJSON(${quote(pick(jsons))})`;
  const call = (depth) => {
    const arg = () => expression(depth - 1);
    switch (int(9)) {
      case 0: return `${cased("contains")}(${arg()}, ${arg()})`;
      case 1: return `${cased("startsWith")}(${arg()}, ${arg()})`;
      case 2: return `${cased("endsWith")}(${arg()}, ${arg()})`;
      case 3: return `${cased("format")}(${[quote(pick(formats)), ...Array.from({ length: int(4) }, arg)].join(", ")})`;
      case 4: return `${cased("join")}(${next() < 0.5 ? arg() : `${arg()}, ${pick([quote(pick(texts)), arg()])}`})`;
      case 5: return `${cased("toJSON")}(${arg()})`;
      case 6: return next() < 0.7 ? json() + (next() < 0.5 ? pick(accessors) : "") : `fromJSON(toJSON(${arg()}))`;
      case 7: return `fromJSON(${next() < 0.5 ? quote(pick(badJSONs)) : arg()})`;
      default: return `${cased("case")}(${pick(["true", "false", arg()])}, ${literal()}, ${next() < 0.5 ? "true" : `1 ${pick(operators.slice(0, 6))} 2`}, ${literal()}, ${literal()})`;
    }
  };
  const expression = (depth) => {
    if (depth <= 0) return next() < 0.5 ? literal() : path();
    switch (int(8)) {
      case 0: return literal();
      case 1: return path();
      case 2: return `!${expression(depth - 1)}`;
      case 3: return `(${expression(depth - 1)})${next() < 0.2 ? pick(accessors) : ""}`;
      case 4: case 5: return expression(depth - 1) + spaced(pick(operators)) + expression(depth - 1);
      default: return call(depth);
    }
  };
  const operand = () => pick([literal, literal, path, json])();
  const mutate = (e) => {
    const at = int(e.length + 1);
    switch (int(3)) {
      case 0: return e.slice(0, at) + e.slice(at + 1 + int(3));
      case 1: return e.slice(0, at) + pick(noise) + e.slice(at);
      default: return e.slice(0, at) + pick(noise) + e.slice(at + 1);
    }
  };
  const makers = [
    [2, () => literal()],
    [14, () => operand() + spaced(pick(operators)) + operand()],
    [14, () => path()],
    [4, () => json() + pick(accessors) + (next() < 0.3 ? pick(accessors) : "")],
    [14, () => call(1)],
    [22, () => expression(3)],
    [8, () => expression(4)],
    [12, () => mutate(expression(2))],
    [4, () => `${operand()}${spaced(pick(operators))}${operand()}${spaced(pick(operators))}${operand()}${spaced(pick(operators))}${operand()}`],
    [2, () => `${"!".repeat(int(4))}${operand()}`],
    [2, () => quote(Array.from({ length: 1 + int(4) }, () => pick(texts)).join(""))],
  ];
  const total = makers.reduce((sum, [weight]) => sum + weight, 0);
  while (out.size < count) {
    let at = int(total);
    const [, make] = makers.find(([weight]) => (at -= weight) < 0);
    const e = make();
    if (e.length < 600) out.add(e.trim());
  }
}
