// Runs a program in V8, as `peer.rs` asks for it: a line of JSON on standard input is a request, a line on standard output the
// answer. The first says which module to make ready, each other one to run it once, in a fresh instance; only the call is timed.
//
// Garbage of earlier runs is collected before the clock starts (`--expose-gc`), as other engines get a fresh store.

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Bytes of this process's memory, where the system says. */
function resident(what) {
  try {
    const line = readFileSync("/proc/self/status", "utf8").split("\n").find((line) => line.startsWith(what));
    return Number(line.match(/\d+/)[0]) * 1024;
  } catch {
    return null;
  }
}

/** A module made ready: a function that runs it once. */
async function prepare({ file, wasi }) {
  const module = new WebAssembly.Module(readFileSync(file));
  const spectest = { print_char() {} };
  if (!wasi) {
    return ({ n, parameter }) => {
      const call = (exports) => (parameter == null ? exports.run(n) : exports.run_with(n, parameter));
      return timed(new WebAssembly.Instance(module, { spectest }), call);
    };
  }
  const { WASI } = await import("node:wasi");
  return () => {
    const folder = mkdtempSync(join(tmpdir(), "peers-"));
    const printed = join(folder, "printed");
    const stdout = openSync(printed, "w");
    try {
      const args = ["program", ...wasi];
      // OCaml's runtime wants one variable at least.
      const system = new WASI({ version: "preview1", args, env: { LANG: "C" }, stdout, returnOnExit: true });
      const instance = new WebAssembly.Instance(module, { ...system.getImportObject(), spectest });
      const { ns } = timed(instance, () => void system.start(instance));
      return { ns, result: null, output: readFileSync(printed, "utf8") };
    } finally {
      closeSync(stdout);
      rmSync(folder, { recursive: true });
    }
  };
}

/** Runs an instance by a function of its exports. */
function timed(instance, call) {
  globalThis.gc();
  const start = process.hrtime.bigint();
  const result = call(instance.exports);
  return { ns: Number(process.hrtime.bigint() - start), result, output: "" };
}

function answer(value) {
  process.stdout.write(JSON.stringify(value) + "\n");
}

let run, before;
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    if (!run) {
      run = await prepare(request);
      try {
        // The peak so far is the start's.
        writeFileSync("/proc/self/clear_refs", "5");
      } catch {}
      before = resident("VmRSS:");
      answer({});
    } else {
      const ran = run(request);
      const peak = resident("VmHWM:");
      answer({ ...ran, memory: peak === null ? null : Math.max(peak - before, 0) });
    }
  } catch (error) {
    answer({ error: String(error) });
    if (!run) break;
  }
}
