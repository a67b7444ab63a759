// Runs wasm/*.wasm and compares what they print and return with expected.json.
//
//     node run.mjs [NAME…]
//
// Needs a Node whose V8 has the final WebAssembly GC instructions (22 or later). Exits with 1 on any difference.

import { readFileSync } from "node:fs";
import { join } from "node:path";

const HERE = import.meta.dirname;
const expected = JSON.parse(readFileSync(join(HERE, "expected.json"), "utf8"));

/** A fresh instance of a program, and what it has printed. */
function instantiate(name) {
  let printed = "";
  const print_char = (unit) => (printed += String.fromCharCode(unit));
  const module = new WebAssembly.Module(readFileSync(join(HERE, "wasm", `${name}.wasm`)));
  const { exports } = new WebAssembly.Instance(module, { spectest: { print_char } });
  return { exports, printed: () => printed };
}

/** Compares one result; returns whether it is as expected. */
function check(what, action, wanted) {
  const start = performance.now();
  let got;
  try {
    got = action();
  } catch (trap) {
    got = trap.stack;
  }
  const same = got === wanted;
  console.log(`${same ? "ok  " : "FAIL"} ${what} (${(performance.now() - start).toFixed(0)} ms)`);
  if (!same) console.log(`  expected ${JSON.stringify(wanted)}\n  got      ${JSON.stringify(got)}`);
  return same;
}

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(expected);
let failures = 0;
for (const name of names) {
  const program = expected[name];
  if (!program) {
    console.error(`error: expected.json knows no ${name}; it knows: ${Object.keys(expected).join(", ")}`);
    process.exit(1);
  }
  for (const [n, checksum] of Object.entries(program.run)) {
    const { exports } = instantiate(name);
    failures += check(`${name} run(${n})`, () => exports.run(Number(n)), checksum) ? 0 : 1;
  }
  const { exports, printed } = instantiate(name);
  const start = () => {
    exports._start();
    return printed();
  };
  failures += check(`${name} _start`, start, program.output) ? 0 : 1;
}
process.exitCode = failures > 0 ? 1 : 0;
