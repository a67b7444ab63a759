//! `gleaner snapshot` and `--snapshot-at`: the file is what its readers want, and the graph in it is the program's.

#[path = "common/process.rs"]
mod process;

use engine::{Engine, ExternRef, Instance, Module, Referent, Store, Val};
use gleaner::collectors::{by_spec, names};
use process::{Ended, gleaner_with_input};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A list of ten behind a global, a closure behind an exported one, a box in a table; and functions that end in other ways.
const PROGRAM: &str = r#"(module $demo
  (import "spectest" "print_i32" (func $print (param i32)))
  (type $list (struct (field $value (mut i32)) (field $next (mut (ref null $list)))))
  (type $bytes (array (mut i8)))
  (type $words (array (mut i16)))
  (type $any (array (mut anyref)))
  (type $fn (func (param i32) (result i32)))
  (type $closure (struct (field $code (ref $fn)) (field $env (ref null any)) (field anyref)))
  (type (struct (field f64) (field eqref)))
  (tag $oops (param (ref null $list) i32))
  (data $hello "hello, world\00\01h\00i\00")
  (global $kept (mut (ref null $list)) (ref.null $list))
  (global (export "shown") (mut anyref) (ref.null any))
  (table $t 10 (ref null any))
  (elem declare func $double)
  (func $double (type $fn) (i32.add (local.get 0) (local.get 0)))
  (func $build (param i32) (result (ref null $list)) (local $l (ref null $list))
    (loop $again
      (local.set $l (struct.new $list (local.get 0) (local.get $l)))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get $l))
  (func $grow (param $l (ref null $list))
    (loop $forever (local.set $l (struct.new $list (i32.const 7) (local.get $l))) (br $forever)))
  (func (export "run")
    (global.set $kept (call $build (i32.const 10)))
    (global.set 1 (struct.new $closure (ref.func $double)
      (array.new_data $bytes $hello (i32.const 0) (i32.const 12)) (ref.i31 (i32.const -5))))
    (table.set $t (i32.const 3)
      (struct.new 6 (f64.const 1) (array.new_fixed $any 3
        (array.new_data $bytes $hello (i32.const 10) (i32.const 4)) (ref.null any)
        (array.new_data $words $hello (i32.const 14) (i32.const 2)))))
    (drop (call $build (i32.const 100))))
  (func (export "churn") (local $i i32)
    (global.set $kept (call $build (i32.const 10)))
    (loop $again
      (drop (call $build (i32.const 1000)))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100)))))
  (func $fill (export "fill") (call $grow (call $build (i32.const 3))))
  (func (export "trap") (global.set $kept (call $build (i32.const 2))) unreachable)
  (func (export "throw") (throw $oops (call $build (i32.const 2)) (i32.const 3)))
)"#;

fn gleaner(args: &[&str]) -> Ended {
    gleaner_with_input(args, b"")
}

/// A folder with the program in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("demo.wat"), PROGRAM).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Runs one of the program's functions with a snapshot.
    fn run(&self, options: &[&str], snapshot: &str, func: &str) -> Ended {
        let (file, program) = (self.path(snapshot), self.path("demo.wat"));
        gleaner(&[&["run", "--snapshot", &file], options, &["--invoke", func, &program]].concat())
    }

    fn read(&self, name: &str) -> Snapshot {
        Snapshot::read(&self.0.path().join(name))
    }

    /// Whether there is nothing but the program.
    fn is_clean(&self) -> bool {
        fs::read_dir(self.0.path()).unwrap().count() == 1
    }
}

/// A node, without its edges.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    ty: String,
    name: String,
    id: u64,
    bytes: u64,
}

/// Type, name or index, and target.
type Edge = (String, String, usize);

/// A snapshot, read as strictly as it can be.
struct Snapshot {
    nodes: Vec<Node>,
    /// By node.
    edges: Vec<Vec<Edge>>,
}

impl Snapshot {
    fn read(file: &Path) -> Snapshot {
        let json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        for key in
            ["edges", "locations", "nodes", "samples", "snapshot", "strings", "trace_function_infos", "trace_tree"]
        {
            assert!(keys.contains(&key), "{key}");
        }
        let (snapshot, meta) = (&json["snapshot"], &json["snapshot"]["meta"]);
        let words = |value: &Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_string()).collect()
        };
        let numbers =
            |key: &str| -> Vec<u64> { json[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect() };
        assert_eq!(words(&meta["node_fields"]), ["type", "name", "id", "self_size", "edge_count", "detachedness"]);
        assert_eq!(words(&meta["edge_fields"]), ["type", "name_or_index", "to_node"]);
        assert_eq!(meta["node_types"].as_array().unwrap().len(), 6);
        assert_eq!(meta["edge_types"].as_array().unwrap().len(), 3);
        let (node_types, edge_types) = (words(&meta["node_types"][0]), words(&meta["edge_types"][0]));
        let strings = words(&json["strings"]);
        assert_eq!(strings.iter().collect::<BTreeSet<_>>().len(), strings.len(), "a string stands twice");
        let (nodes, edges) = (numbers("nodes"), numbers("edges"));
        assert_eq!(snapshot["node_count"].as_u64().unwrap() * 6, nodes.len() as u64);
        assert_eq!(snapshot["edge_count"].as_u64().unwrap() * 3, edges.len() as u64);
        assert_eq!(snapshot["trace_function_count"], 0);

        let mut rest = edges.chunks_exact(3);
        let mut read = Snapshot { nodes: Vec::new(), edges: Vec::new() };
        for node in nodes.chunks_exact(6) {
            assert_eq!(node[5], 0, "detached is what a browser's nodes can be");
            let own = rest.by_ref().take(node[4] as usize).map(|edge| {
                let ty = edge_types[edge[0] as usize].clone();
                let name = match ty.as_str() {
                    "element" | "hidden" => edge[1].to_string(),
                    _ => strings[edge[1] as usize].clone(),
                };
                assert!(edge[2] % 6 == 0 && (edge[2] as usize) < nodes.len(), "an edge leads to {}", edge[2]);
                (ty, name, edge[2] as usize / 6)
            });
            read.edges.push(own.collect());
            let (ty, name) = (node_types[node[0] as usize].clone(), strings[node[1] as usize].clone());
            read.nodes.push(Node { ty, name, id: node[2], bytes: node[3] });
        }
        assert_eq!(rest.count(), 0, "edges are left over");
        let ids: BTreeSet<u64> = read.nodes.iter().map(|node| node.id).collect();
        assert_eq!(ids.len(), read.nodes.len(), "ids are unique");
        read.check_roots();
        read
    }

    /// The root has `(GC roots)` below it, its other children are what DevTools counts distances from, and all nodes can be reached.
    fn check_roots(&self) {
        assert_eq!((self.nodes[0].ty.as_str(), self.nodes[0].name.as_str()), ("synthetic", ""));
        let (roots, holders) = self.edges[0].split_first().unwrap();
        assert_eq!((roots.0.as_str(), self.nodes[roots.2].name.as_str()), ("element", "(GC roots)"));
        let below: BTreeSet<usize> = self.edges[roots.2].iter().flat_map(|e| &self.edges[e.2]).map(|e| e.2).collect();
        for (ty, name, holder) in holders {
            assert_eq!((ty.as_str(), name), ("shortcut", &self.nodes[*holder].name));
            assert_ne!(self.nodes[*holder].ty, "synthetic");
            assert!(below.contains(holder), "{name} is below (GC roots), too");
        }
        let mut seen = BTreeSet::from([0]);
        let mut open = vec![0];
        while let Some(node) = open.pop() {
            open.extend(self.edges[node].iter().map(|edge| edge.2).filter(|to| seen.insert(*to)));
        }
        assert_eq!(seen.len(), self.nodes.len(), "a node cannot be reached");
        // DevTools adds these to other nodes.
        assert!(self.nodes.iter().all(|node| !["array", "hidden"].contains(&node.ty.as_str())));
    }

    /// Nodes that are objects of the heap: they have a size.
    fn objects(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].bytes > 0)
    }

    fn bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.bytes).sum()
    }

    fn by_type(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        self.objects().for_each(|node| *counts.entry(self.nodes[node].name.as_str()).or_default() += 1);
        counts
    }

    /// The objects of this type.
    fn named(&self, name: &str) -> Vec<usize> {
        self.objects().filter(|node| self.nodes[*node].name == name).collect()
    }

    /// What refers to a node, as `edge in node`, but for the shortcuts from the root.
    fn retainers(&self, node: usize) -> Vec<String> {
        let all = self.edges.iter().enumerate().flat_map(|(from, edges)| edges.iter().map(move |edge| (from, edge)));
        let to = all.filter(|(_, (ty, _, to))| *to == node && ty != "shortcut");
        to.map(|(from, (_, name, _))| format!("{name} in {}", self.nodes[from].name)).collect()
    }

    /// What a node refers to, as `edge: node`.
    fn refers(&self, node: usize) -> Vec<String> {
        self.edges[node].iter().map(|(_, name, to)| format!("{name}: {}", self.nodes[*to].name)).collect()
    }

    /// Everything but where objects are.
    fn shape(&self) -> (Vec<Node>, &[Vec<Edge>]) {
        (self.nodes.iter().cloned().map(|node| Node { id: 0, ..node }).collect(), &self.edges)
    }
}

#[test]
fn the_graph_is_the_programs_under_every_collector() {
    let folder = Folder::new();
    let mut shapes = Vec::new();
    for name in names() {
        let ended = folder.run(&["--gc", name], "a.heapsnapshot", "run");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
        ended.says(&["a.heapsnapshot: 16 objects of 288 bytes can be reached"]);
        let snapshot = folder.read("a.heapsnapshot");
        assert_eq!((snapshot.objects().count(), snapshot.bytes()), (16, 288));
        let expected = [("$any", 1), ("$bytes", 2), ("$closure", 1), ("$list", 10), ("$words", 1)];
        let mut types = snapshot.by_type();
        assert_eq!(types.remove("struct#6 {f64, ref}"), Some(1), "{types:?}");
        assert_eq!(types, BTreeMap::from(expected));

        let lists = snapshot.named("$list");
        assert_eq!(snapshot.retainers(lists[0]), ["$kept in globals"]);
        assert_eq!(snapshot.refers(lists[0]), ["next: $list"]);
        assert!(lists[1..].iter().all(|list| snapshot.retainers(*list) == ["next in $list"]));
        let [closure] = snapshot.named("$closure")[..] else { panic!("there is one") };
        assert_eq!(snapshot.retainers(closure), ["\"shown\" in globals"]);
        assert_eq!(snapshot.refers(closure), ["code: $double", "env: $bytes", "field 2: i31 -5"]);
        let [any] = snapshot.named("$any")[..] else { panic!("there is one") };
        assert_eq!(snapshot.refers(any), ["0: $bytes", "2: $words"]);
        let r#box = snapshot.named("struct#6 {f64, ref}")[0];
        assert_eq!(snapshot.retainers(r#box), ["3 in table $t"]);
        // Text is shown where it is one.
        let texts: Vec<_> = snapshot.named("$bytes").into_iter().map(|bytes| snapshot.refers(bytes)).collect();
        assert_eq!(texts, [vec!["text: hello, world".to_string()], vec![]]);
        assert_eq!(snapshot.refers(snapshot.named("$words")[0]), ["text: hi"]);
        shapes.push(format!("{:?}", snapshot.shape()));
    }
    assert!(shapes.windows(2).all(|pair| pair[0] == pair[1]), "all collectors show the same graph");
}

#[test]
fn a_full_heap_is_shown_with_the_programs_frames() {
    let folder = Folder::new();
    for name in names() {
        for when in [&[] as &[&str], &["--snapshot-at", "full"]] {
            let options = [&["--gc", name, "--heap", "256KiB", "--no-inlining"], when].concat();
            folder.run(&options, "full.heapsnapshot", "fill").fails(134, &["out of heap memory", "can be reached"]);
            let snapshot = folder.read("full.heapsnapshot");
            let lists = snapshot.named("$list");
            assert!(lists.len() > 4000, "{name}: {}", lists.len());
            assert_eq!(snapshot.retainers(lists[0]), ["0 in frame 0: $grow"], "{name}");
        }
    }
}

#[test]
fn other_ends_are_shown_without_frames() {
    let folder = Folder::new();
    folder.run(&[], "a.heapsnapshot", "trap").fails(134, &["2 objects of 32 bytes can be reached", "unreachable"]);
    assert_eq!(folder.read("a.heapsnapshot").by_type(), BTreeMap::from([("$list", 2)]));
    // The exception is the host's, who reports it.
    folder.run(&[], "a.heapsnapshot", "throw").fails(134, &["3 objects", "uncaught exception"]);
    let snapshot = folder.read("a.heapsnapshot");
    let exception = snapshot.named("exception $oops")[0];
    assert_eq!(snapshot.refers(exception), ["value 0: $list"]);
    assert!(snapshot.retainers(exception)[0].ends_with("in handles of the host's"));
}

#[test]
fn moments_are_what_they_say() {
    let folder = Folder::new();
    // So many bytes are the same object under every collector: 10 of the list that stays, and 990 of the first that does not.
    let mut shapes = Vec::new();
    for name in names() {
        let options = ["--gc", name, "--snapshot-at", "bytes:16016"];
        let ended = folder.run(&options, "a.heapsnapshot", "churn");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let snapshot = folder.read("a.heapsnapshot");
        assert_eq!(snapshot.by_type(), BTreeMap::from([("$list", 1000)]), "{name}");
        shapes.push(format!("{:?}", snapshot.shape()));
    }
    assert!(shapes.windows(2).all(|pair| pair[0] == pair[1]));

    let options = ["--gc", "semispace", "--heap", "256KiB", "--snapshot-at", "collection:2"];
    let ended = folder.run(&options, "a.heapsnapshot", "churn");
    ended.says(&["; 0 bytes are dead and not freed"]);
    assert!(folder.read("a.heapsnapshot").objects().count() >= 10);
}

#[test]
fn a_moment_that_does_not_come_is_an_error_and_leaves_no_file() {
    let folder = Folder::new();
    let never = |when: &str, part: &str| {
        let ended = folder.run(&["--snapshot-at", when], "a.heapsnapshot", "run");
        ended.fails(1, &["a.heapsnapshot: there is no snapshot, because its moment did not come", part]);
        assert!(folder.is_clean(), "{when}");
    };
    never("collection:3", "there were 0 collections, and collection 3 was asked for");
    never("bytes:1GiB", "bytes were allocated, and 1,073,741,824 were asked for");
    never("full", "there was room for every object");
    // A program that cannot run at all has nothing to show.
    folder.run(&[], "a.heapsnapshot", "walk").fails(2, &["exports no function `walk`"]);
    assert!(folder.is_clean());
}

#[test]
fn what_is_wrong_is_said() {
    let folder = Folder::new();
    folder.run(&[], "a.json", "run").fails(2, &["a.json", ".heapsnapshot", ".dot"]);
    for when in ["later", "collection:0", "collection:", "bytes:many", "end:1"] {
        folder.run(&["--snapshot-at", when], "a.dot", "run").fails(2, &[when, "collection:N", "bytes:SIZE"]);
    }
    let program = folder.path("demo.wat");
    gleaner(&["run", "--snapshot-at", "end", "--invoke", "run", &program]).fails(2, &["--snapshot FILE"]);
    folder.run(&[], "no/such/folder/a.dot", "run").fails(1, &["no/such/folder/a.dot", "No such file"]);
    assert!(folder.is_clean());
}

#[test]
fn small_heaps_are_drawn_and_large_ones_refused() {
    let folder = Folder::new();
    folder.run(&[], "a.dot", "run").ok();
    let dot = fs::read_to_string(folder.path("a.dot")).unwrap();
    for line in [
        r##"  r0 [label="globals", style=filled, fillcolor="#dddddd"];"##,
        r#"  r0 -> o0 [label="$kept"];"#,
        r#"  r0 -> o1 [label="\"shown\""];"#,
        r#"  r1 -> o2 [label="3"];"#,
        r#"  o1 [label="$closure\n24 B\ncode = $double\n2 = i31 -5", style=rounded];"#,
        r#"  o1 -> o4 [label="env"];"#,
        r#"  o4 [label="$bytes[12]\n24 B\n\"hello, world\"", style=rounded];"#,
    ] {
        assert!(dot.lines().any(|found| found == line), "{line} is missing:\n{dot}");
    }
    assert_eq!(dot.matches(" [label=\"$list\\n16 B\"").count(), 10);

    fs::remove_file(folder.path("a.dot")).unwrap();
    folder
        .run(&["--heap", "256KiB"], "a.dot", "fill")
        .fails(134, &["a.dot: the heap has", "1,000", ".heapsnapshot", "--snapshot-at"]);
    assert!(folder.is_clean());
}

#[test]
fn the_command_names_its_file_after_the_program() {
    let folder = Folder::new();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gleaner"))
        .args(["snapshot", "--gc", "immix", "--invoke", "run", "demo.wat"])
        .current_dir(folder.0.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(folder.read("demo.heapsnapshot").objects().count(), 16);
}

#[test]
fn a_large_heap_is_written_as_it_is_read() {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/keep_half.wat");
    let folder = Folder::new();
    let snapshot = folder.path("big.heapsnapshot");
    // The list is a local of a function that has not ended when 24 million bytes have been allocated.
    let line = ["run", "--snapshot", &snapshot, "--snapshot-at", "bytes:4800000", file.to_str().unwrap()];
    let ended = gleaner(&line);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.says(&["100,000 objects of 2,400,000 bytes can be reached"]);
    assert_eq!(folder.read("big.heapsnapshot").objects().count(), 100_000);
}

/// What the command line has no way to make: host values, several instances, element segments, names that stand twice.
#[test]
fn the_graph_names_what_refers_into_the_heap() {
    let engine = Engine::new(by_spec("drc").unwrap()).unwrap();
    let mut store = Store::new(&engine, ()).unwrap();
    let text = r#"(module $m
        (type $pair (struct (field i32) (field (ref null any))))
        (global $g (export "g") (mut externref) (ref.null extern))
        (elem $e (ref null any) (item (struct.new $pair (i32.const 1) (ref.i31 (i32.const 7))))))"#;
    let module = Module::new(&engine, text).unwrap();
    let one = Instance::new(&mut store, &module, &[]).unwrap();
    let other =
        Module::new(&engine, text.replace("field i32", "field i64").replace("i32.const 1)", "i64.const 1)")).unwrap();
    Instance::new(&mut store, &other, &[]).unwrap();
    let value = ExternRef::new(&mut store, "a text".to_string()).unwrap();
    one.get_global(&mut store, "g").unwrap().set(&mut store, &Val::ExternRef(Some(value.clone()))).unwrap();

    let graph = store.heap_graph();
    let holders: Vec<_> = graph.holders().iter().map(|holder| (holder.name(), holder.references().len())).collect();
    let (first, second) = (" of $m (instance 0)", " of $m (instance 1)");
    let expected =
        [format!("globals{first}"), format!("element segment $e{first}"), format!("element segment $e{second}")];
    let expected: Vec<_> = expected.iter().map(String::as_str).chain(["handles of the host's"]).collect();
    assert_eq!(holders.iter().map(|holder| holder.0).collect::<Vec<_>>(), expected);
    assert_eq!(graph.holders()[0].references()[0].to(), Referent::Object(0));
    assert_eq!((graph.len(), graph.host_value(0).as_deref()), (3, Some("a text")));
    let types: BTreeSet<_> = graph.types().iter().map(|ty| ty.name().to_string()).collect();
    assert_eq!(types.len(), 3, "two types that are called the same are told apart: {types:?}");
    assert!(types.contains("host value") && types.contains("$pair"), "{types:?}");
    assert_eq!(graph.dead_bytes(), 0);
}
