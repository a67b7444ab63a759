// Compiles src/*.mbt to wasm/*.wasm, for the WebAssembly GC target.
//
//     npm install
//     node --stack-size=8000 compile.mjs [--wat] [NAME…]
//
// Without names, every program in src/ is compiled. `--wat` writes the text form instead, into .cache/.
//
// Two npm packages supply what is needed; nothing of theirs is kept in this repository:
//   @moonbit/moonc-worker    the compiler, one JavaScript file written as a web worker;
//   @moonbit/moonpad-monaco  an editor, whose bundle embeds the sources of MoonBit's core library.
//
// Steps:
//   1. load the worker with a stand-in for a worker's global scope, and call it by the messages it listens for;
//   2. unpack the core library's sources from the editor's bundle;
//   3. build each core package in dependency order (~10 s; the result is cached in .cache/);
//   4. for each program: build it against the core's interfaces, link it with the core's code, add names, write it.
//
// The larger stack is a precaution: the compiler is recursive, and a long function may need more than the default.

import { mkdirSync, readdirSync, readFileSync, writeFileSync, existsSync } from "node:fs";
import { deserialize, serialize } from "node:v8";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";

const HERE = dirname(fileURLToPath(import.meta.url));
const CACHE = join(HERE, ".cache");
const CORE = "moonbitlang/core";
const TARGET = "wasm-gc";

/** A mistake of the person at the keyboard, or of a program in src/: printed without a stack trace. */
class Failure extends Error {}

async function main(args) {
  const outputFormat = args.includes("--wat") ? "wat" : "wasm";
  const unknown = args.find((arg) => arg.startsWith("-") && arg !== "--wat");
  if (unknown) throw new Failure(`unknown option ${unknown}; the only one is --wat`);
  const programs = chosenPrograms(args.filter((arg) => !arg.startsWith("-")));

  const core = await coreLibrary();
  const outputFolder = outputFormat === "wat" ? CACHE : join(HERE, "wasm");
  mkdirSync(outputFolder, { recursive: true });
  for (const name of programs) {
    const release = await compileProgram(name, core, outputFormat, false);
    const code =
      outputFormat === "wat" ? release : withNames(release, await compileProgram(name, core, outputFormat, true));
    writeFileSync(join(outputFolder, `${name}.${outputFormat}`), code);
    console.log(`${name}.${outputFormat}: ${code.length} bytes`);
  }
}

function chosenPrograms(names) {
  const all = readdirSync(join(HERE, "src")).filter((f) => f.endsWith(".mbt")).map((f) => f.slice(0, -4)).sort();
  const missing = names.find((name) => !all.includes(name));
  if (missing) throw new Failure(`there is no src/${missing}.mbt; the programs are: ${all.join(", ")}`);
  return names.length > 0 ? names : all;
}

/** One program's module, as bytes. Exports `_start` (its `main`) and `run`. Only with `debug` has it names. */
async function compileProgram(name, core, outputFormat, debug) {
  // A fresh compiler each time: an instance repeats earlier diagnostics, and its second link may order types otherwise.
  const compiler = loadCompiler();
  const pkg = `gleaner/${name}`;
  const source = readFileSync(join(HERE, "src", `${name}.mbt`), "utf8");
  const pkgSources = [`${CORE}:moonbit-core:/lib/core`, `${pkg}:src`];
  const built = await build(compiler, {
    mbtFiles: [[`${name}.mbt`, source]],
    miFiles: [],
    stdMiFiles: core.map(({ rel, mi }) => [`/lib/core/${rel}:${rel}`, mi]),
    pkg,
    pkgSources,
    isMain: true,
  });
  const { result } = await compiler("linkCore", {
    coreFiles: [...core.map((unit) => unit.core), built.core],
    main: pkg,
    pkgSources,
    target: TARGET,
    exportedFunctions: ["run"],
    outputFormat,
    testMode: false,
    debug,
    noOpt: false,
    sourceMap: false,
    sources: {},
    stopOnMain: false,
  });
  return result;
}

/**
 * `release` with the names of functions and types that `debug` has: only debug links carry names, but their code is
 * not quite the same. Both number functions and types alike, which the type and function sections show.
 */
function withNames(release, debug) {
  const CUSTOM = 0, TYPES = 1, FUNCTIONS = 3;
  const FUNCTION_NAMES = 1, TYPE_NAMES = 4;
  for (const id of [TYPES, FUNCTIONS]) {
    const [one, other] = [release, debug].map((module) => sections(module, 8).find((section) => section.id === id));
    if (Buffer.compare(one.bytes, other.bytes) !== 0) throw new Error("debug and release links differ in numbering");
  }
  const title = Buffer.from("\x04name");
  const names = sections(debug, 8).find(({ id, bytes }) => id === CUSTOM && title.equals(bytes.subarray(0, 5)));
  const kept = sections(names.bytes, title.length).filter(({ id }) => id === FUNCTION_NAMES || id === TYPE_NAMES);
  const body = Buffer.concat([title, ...kept.map(({ id, bytes }) => encoded(id, bytes))]);
  return Buffer.concat([release, encoded(CUSTOM, body)]);
}

/** The sections of a module, or the subsections of its name section, from an offset to the end. */
function sections(bytes, offset) {
  const found = [];
  while (offset < bytes.length) {
    const id = bytes[offset++];
    let size = 0;
    for (let shift = 0, more = true; more; shift += 7) {
      more = bytes[offset] >= 0x80;
      size |= (bytes[offset++] & 0x7f) << shift;
    }
    found.push({ id, bytes: bytes.subarray(offset, offset + size) });
    offset += size;
  }
  return found;
}

/** A section: its id, its size as LEB128, and its bytes. */
function encoded(id, bytes) {
  const size = [];
  for (let rest = bytes.length; rest >= 0x80; rest >>= 7) size.push((rest & 0x7f) | 0x80);
  size.push(bytes.length >> (7 * size.length));
  return Buffer.concat([Buffer.from([id, ...size]), bytes]);
}

/** Builds one package; a diagnostic of any kind (warnings too) is a failure, except in the core library. */
async function build(compiler, params) {
  const { core, mi, diagnostics } = await compiler("buildPackage", {
    indirectImportMiFiles: [],
    target: TARGET,
    errorFormat: "human",
    enableValueTracing: false,
    noOpt: false,
    ...params,
  });
  const tolerated = core && params.pkg.startsWith(`${CORE}/`);
  if (!core || (diagnostics.length > 0 && !tolerated)) {
    throw new Failure(`${params.pkg} does not compile cleanly:\n${diagnostics.join("")}`);
  }
  return { core, mi };
}

/** The compiled core library, `[{rel, core, mi}…]` in dependency order, from the cache where it is valid. */
async function coreLibrary() {
  const versions = ["moonc-worker", "moonpad-monaco"].map(packageVersion).join("+").replace(/[^\w.]+/g, "-");
  const cached = join(CACHE, `core-${versions}.bin`);
  if (existsSync(cached)) return deserialize(readFileSync(cached));

  console.log("compiling the core library (once)");
  const compiler = loadCompiler();
  const files = coreSources();
  const { packages } = JSON.parse(files.get("/lib/core/_build/packages.json").toString());
  const units = new Map();
  for (const { rel, files: listed, needs } of dependencyOrder(packages)) {
    const sources = Object.entries(listed)
      .filter(([, on]) => on.backend.includes("WasmGC") && on.optlevel.includes("Release"))
      .map(([path]) => path.replace("moonbit-core:", ""));
    const built = await build(compiler, {
      mbtFiles: sources.map((path) => [path, files.get(path).toString()]),
      // The compiler wants the interfaces of transitive dependencies too, given like direct ones (else E4037).
      miFiles: needs.map(({ rel, alias }) => [`/lib/core/${rel}.mi:${alias}`, units.get(rel).mi]),
      stdMiFiles: [],
      pkg: `${CORE}/${rel}`,
      pkgSources: [`${CORE}:moonbit-core:/lib/core`],
      isMain: false,
    });
    units.set(rel, { rel, ...built });
  }
  const core = [...units.values()];
  mkdirSync(CACHE, { recursive: true });
  writeFileSync(cached, serialize(core));
  return core;
}

/** Packages such that each follows what it depends on, with `needs`: all it depends on, `[{rel, alias}…]`. */
function dependencyOrder(packages) {
  const byRel = new Map(packages.map((p) => [p.rel, p]));
  const done = new Map();
  const visit = ({ rel, files, deps }) => {
    if (done.has(rel)) return;
    const needs = new Map();
    for (const { path, alias } of deps) {
      const dep = path.slice(CORE.length + 1);
      visit(byRel.get(dep));
      needs.set(dep, alias);
    }
    for (const dep of [...needs.keys()]) {
      for (const { rel, alias } of done.get(dep).needs) if (!needs.has(rel)) needs.set(rel, alias);
    }
    done.set(rel, { rel, files, needs: [...needs].map(([rel, alias]) => ({ rel, alias })) });
  };
  packages.forEach(visit);
  return [...done.values()];
}

/** The core library's files, path → bytes: in the editor's bundle they are base64 constants, assigned by path. */
function coreSources() {
  const bundle = readFileSync(packageFile("moonpad-monaco", "dist/moonpad-monaco.js"), "utf8");
  const constants = new Map();
  for (const [, name, base64] of bundle.matchAll(/([\w$]+) = [\w$]+\("([A-Za-z0-9+/=]*)"\)/g)) {
    constants.set(name, base64);
  }
  const files = new Map();
  for (const [, path, name] of bundle.matchAll(/^[\w$]+\["(\/lib\/core\/[^"]+)"\] = ([\w$]+);/gm)) {
    files.set(path, Buffer.from(constants.get(name), "base64"));
  }
  if (!files.has("/lib/core/_build/packages.json")) {
    throw new Failure("found no core library in @moonbit/moonpad-monaco: is it the version package.json pins?");
  }
  return files;
}

/** A fresh compiler: `(functionName, params) → Promise` of its result. */
function loadCompiler() {
  // The worker is driven by comlink's protocol: a message names a function and its arguments, another answers.
  let receive;
  const waiting = new Map();
  const scope = {
    __proto__: globalThis,
    process: undefined, // else the compiler takes Node's file system for its own
    console: { log() {}, error() {}, warn() {} }, // it prints its diagnostics, which its results carry too
    addEventListener: (_event, listener) => (receive = listener),
    postMessage: ({ id, type, name, value }) => {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (type === "HANDLER" && name === "throw") reject(new Failure(`the compiler failed: ${describe(value.value)}`));
      else resolve(value);
    },
  };
  const worker = readFileSync(packageFile("moonc-worker", "moonc-worker.js"), "utf8");
  new Function("globalThis", "self", "process", "console", worker)(scope, scope, undefined, scope.console);
  let calls = 0;
  return (functionName, params) =>
    new Promise((resolve, reject) => {
      const id = String(++calls);
      waiting.set(id, { resolve, reject });
      const argumentList = [{ type: "RAW", value: params }];
      receive({ origin: "", data: { id, type: "APPLY", path: [functionName], argumentList } });
    });
}

function describe(error) {
  const message = error?.message ?? String(error);
  return /call stack/i.test(message) ? `${message} (run node with --stack-size=8000)` : message;
}

function packageVersion(name) {
  return JSON.parse(readFileSync(packageFile(name, "package.json"), "utf8")).version;
}

function packageFile(name, path) {
  const file = join(HERE, "node_modules", "@moonbit", name, path);
  if (!existsSync(file)) throw new Failure(`@moonbit/${name} is not installed: run npm install in this folder first`);
  return file;
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error instanceof Failure ? `error: ${error.message}` : error);
  process.exit(1);
});
