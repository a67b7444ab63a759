//! Programs as sequences of operations: each operation prints itself as WebAssembly text, and runs itself on a model.
//!
//! Operations name their operands by small numbers that are taken modulo what there is, so that any sequence is valid and a
//! shorter one is too. An operation on null does nothing, in the program and in the model.

use arbitrary::{Arbitrary, Unstructured};
use std::fmt::Write;

/// Locals of each kind.
pub const LOCALS: u8 = 4;
/// Globals of each kind.
pub const GLOBALS: u8 = 2;
/// Longer programs are cut off here.
const MAX_OPS: usize = 300;
/// Arrays have 1 to this many elements.
const MAX_ARRAY: u8 = 8;

/// A program: a prologue that fixes the sizes, and operations that run `rounds` times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Elements of each table, modulo 16, plus 1.
    pub table: u8,
    /// How often the operations run, modulo 3, plus 1: locals, globals and tables carry over. The top bit says whether the
    /// code is optimised.
    pub rounds: u8,
    /// The operations.
    pub ops: Vec<Op>,
}

/// Operations are taken for as long as there are bytes: a derived `Vec` would stop at every second one, and programs of two
/// operations find nothing.
impl<'a> Arbitrary<'a> for Program {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let (table, rounds) = (u.arbitrary()?, u.arbitrary()?);
        let mut ops = Vec::new();
        while !u.is_empty() && ops.len() < MAX_OPS {
            ops.push(u.arbitrary()?);
        }
        Ok(Program { table, rounds, ops })
    }
}

/// Names a local, global or element.
pub type At = u8;

/// An operation. `e`, `n`, `a`, `r` are locals of type `externref`, `(ref null $node)`, `anyref`, `(ref null $array)`.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    /// `e = ` a fresh host value.
    Make {
        e: At,
    },
    /// `e = null`, and so on.
    ClearExtern {
        e: At,
    },
    ClearNode {
        n: At,
    },
    ClearAny {
        a: At,
    },
    MoveExtern {
        to: At,
        from: At,
    },
    TableGetExtern {
        e: At,
        i: At,
    },
    TableSetExtern {
        i: At,
        e: At,
    },
    TableFillExtern {
        i: At,
        len: At,
        e: At,
    },
    TableCopyExtern {
        to: At,
        from: At,
        len: At,
    },
    GlobalGetExtern {
        e: At,
        g: At,
    },
    GlobalSetExtern {
        g: At,
        e: At,
    },
    TableGetNode {
        n: At,
        i: At,
    },
    TableSetNode {
        i: At,
        n: At,
    },
    TableFillNode {
        i: At,
        len: At,
        n: At,
    },
    TableCopyNode {
        to: At,
        from: At,
        len: At,
    },
    GlobalGetNode {
        n: At,
        g: At,
    },
    GlobalSetNode {
        g: At,
        n: At,
    },
    GlobalGetAny {
        a: At,
        g: At,
    },
    GlobalSetAny {
        g: At,
        a: At,
    },
    /// A node, or (if `big`) an object of its subtype.
    NewNode {
        n: At,
        value: i16,
        e: At,
        left: At,
        a: At,
        big: bool,
    },
    GetExtern {
        e: At,
        n: At,
    },
    GetLeft {
        to: At,
        n: At,
    },
    GetAny {
        a: At,
        n: At,
    },
    SetValue {
        n: At,
        value: i16,
    },
    SetExtern {
        n: At,
        e: At,
    },
    SetLeft {
        n: At,
        left: At,
    },
    SetAny {
        n: At,
        a: At,
    },
    I31 {
        a: At,
        value: i16,
    },
    AnyOfNode {
        a: At,
        n: At,
    },
    AnyOfArray {
        a: At,
        r: At,
    },
    AnyOfExtern {
        a: At,
        e: At,
    },
    ExternOfAny {
        e: At,
        a: At,
    },
    /// `n = a` if `a` is a node (or of the subtype), else null.
    Cast {
        n: At,
        a: At,
        big: bool,
    },
    NewArray {
        r: At,
        len: At,
        a: At,
    },
    ArrayOfThree {
        r: At,
        a: At,
        b: At,
        c: At,
    },
    ArrayGet {
        a: At,
        r: At,
        i: At,
    },
    ArraySet {
        r: At,
        i: At,
        a: At,
    },
    /// Within one array or between two; ranges are cut to fit.
    ArrayCopy {
        to: At,
        i: At,
        from: At,
        j: At,
        len: At,
    },
    ArrayFill {
        r: At,
        i: At,
        len: At,
        a: At,
    },
    /// A deep call that holds references in every frame and collects at the bottom.
    Call {
        e: At,
        n: At,
        a: At,
        depth: At,
    },
    /// Swaps two locals through a function of the host's.
    Swap {
        e: At,
        f: At,
    },
    /// Throws a node, catches it.
    Throw {
        n: At,
        to: At,
    },
    /// Collects.
    Gc,
    /// Shows the host a value, which it compares with the model.
    SeeExtern {
        e: At,
    },
    SeeNode {
        n: At,
    },
    SeeAny {
        a: At,
    },
}

/// A value of the model: an index into [`Model::objects`] or [`Model`]'s host values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Value {
    /// Null.
    #[default]
    Null,
    /// An unboxed integer.
    I31(i32),
    /// A node or an array.
    Object(usize),
    /// A host value.
    Host(usize),
}

/// An object of the model.
#[derive(Clone, Debug)]
pub enum Object {
    /// A node.
    Node {
        /// Its number.
        value: i32,
        /// Its `externref`, `left` and `any` fields.
        fields: [Value; 3],
        /// Whether it is of the subtype.
        big: bool,
    },
    /// An array.
    Array(Vec<Value>),
}

impl Object {
    fn edges(&self) -> &[Value] {
        match self {
            Object::Node { fields, .. } => fields,
            Object::Array(elements) => elements,
        }
    }
}

/// A value as the host can see it, to a bounded depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// Null.
    Null,
    /// An unboxed integer.
    I31(i32),
    /// A host value.
    Host(usize),
    /// A node: its number, whether it is of the subtype, and what it refers to.
    Node(i32, bool, Vec<Snapshot>),
    /// An array.
    Array(Vec<Snapshot>),
    /// Deeper than is looked.
    Deep,
}

/// How deep snapshots go.
pub const SNAPSHOT_DEPTH: u32 = 4;

/// What the host must see, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A collection, at which these host values are reachable from globals and tables.
    Gc {
        /// Their numbers.
        alive: Vec<usize>,
    },
    /// A value.
    See(Snapshot),
}

/// The state that a program should have, in plain Rust.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Every object that was ever allocated.
    pub objects: Vec<Object>,
    /// Number of host values made.
    pub hosts: usize,
    /// What the host must see.
    pub expected: Vec<Expected>,
    externs: [Value; LOCALS as usize],
    nodes: [Value; LOCALS as usize],
    anys: [Value; LOCALS as usize],
    arrays: [Value; LOCALS as usize],
    global_externs: [Value; GLOBALS as usize],
    global_nodes: [Value; GLOBALS as usize],
    global_anys: [Value; GLOBALS as usize],
    table_externs: Vec<Value>,
    table_nodes: Vec<Value>,
}

fn l(i: At) -> usize {
    (i % LOCALS) as usize
}

fn g(i: At) -> usize {
    (i % GLOBALS) as usize
}

/// Cuts `len` so that `at + len <= size`.
fn cut(at: usize, len: At, size: usize) -> usize {
    (len as usize).min(size - at)
}

impl Program {
    fn table_len(&self) -> usize {
        (self.table % 16) as usize + 1
    }

    fn round_count(&self) -> u32 {
        (self.rounds % 3) as u32 + 1
    }

    /// Whether the program is to be compiled with optimisation, which takes most of an input's time: with it, barriers meet
    /// what the optimiser does to them; without it, several times as many inputs run an hour.
    pub fn optimised(&self) -> bool {
        self.rounds & 0x80 != 0
    }

    /// The model after the program has run.
    pub fn model(&self) -> Model {
        let mut model = Model {
            table_externs: vec![Value::Null; self.table_len()],
            table_nodes: vec![Value::Null; self.table_len()],
            ..Model::default()
        };
        for _ in 0..self.round_count() {
            self.ops.iter().for_each(|op| model.run(*op));
        }
        model
    }

    /// The program as WebAssembly text. Exports `run` and `clear`, which nulls globals and tables.
    pub fn text(&self) -> String {
        let table = self.table_len();
        let mut w = String::new();
        let mut line = |text: &str| {
            w.push_str(text);
            w.push('\n');
        };
        line("(module");
        line("  (rec");
        line(
            "    (type $node (sub (struct (field (mut i32)) (field (mut externref)) (field (mut (ref null $node))) (field (mut anyref)))))",
        );
        line(
            "    (type $big (sub $node (struct (field (mut i32)) (field (mut externref)) (field (mut (ref null $node))) (field (mut anyref)) (field i64))))",
        );
        line("    (type $array (array (mut anyref))))");
        line("  (import \"host\" \"make\" (func $make (result externref)))");
        line("  (import \"host\" \"gc\" (func $gc))");
        line("  (import \"host\" \"swap\" (func $swap (param externref externref) (result externref externref)))");
        line("  (import \"host\" \"see_any\" (func $see_any (param anyref)))");
        line("  (tag $tag (param (ref null $node)))");
        line(&format!("  (table $te {table} externref)"));
        line(&format!("  (table $tn {table} (ref null $node))"));
        for i in 0..GLOBALS {
            line(&format!("  (global $ge{i} (mut externref) (ref.null extern))"));
            line(&format!("  (global $gn{i} (mut (ref null $node)) (ref.null $node))"));
            line(&format!("  (global $ga{i} (mut anyref) (ref.null any))"));
        }
        line("  (func $deep (param $e externref) (param $n (ref null $node)) (param $a anyref) (param $depth i32)");
        line("      (result externref (ref null $node) anyref)");
        line("    (if (local.get $depth)");
        line(
            "      (then (call $deep (local.get $e) (local.get $n) (local.get $a) (i32.sub (local.get $depth) (i32.const 1)))",
        );
        line("            (drop) (drop) (drop))");
        line("      (else (call $gc)))");
        line("    (local.get $e) (local.get $n) (local.get $a))");
        line("  (func $throw (param $n (ref null $node)) (throw $tag (local.get $n)))");
        line("  (func (export \"clear\")");
        line(&format!("    (table.fill $te (i32.const 0) (ref.null extern) (i32.const {table}))"));
        line(&format!("    (table.fill $tn (i32.const 0) (ref.null $node) (i32.const {table}))"));
        for i in 0..GLOBALS {
            line(&format!("    (global.set $ge{i} (ref.null extern))"));
            line(&format!("    (global.set $gn{i} (ref.null $node))"));
            line(&format!("    (global.set $ga{i} (ref.null any))"));
        }
        line("  )");
        line("  (func (export \"run\")");
        line("    (local $rounds i32)");
        for i in 0..LOCALS {
            line(&format!("    (local $e{i} externref) (local $n{i} (ref null $node))"));
            line(&format!("    (local $a{i} anyref) (local $r{i} (ref null $array))"));
        }
        line(&format!("    (local.set $rounds (i32.const {}))", self.round_count()));
        line("    (loop $again");
        for op in &self.ops {
            let mut text = String::from("      ");
            op.print(&mut text, table).expect("a string takes everything");
            line(&text);
        }
        line("      (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))");
        line("      (br_if $again (local.get $rounds)))))");
        w
    }
}

impl Op {
    /// Prints the operation; `table` is the length of the tables.
    fn print(&self, w: &mut String, table: usize) -> std::fmt::Result {
        let t = |i: At| i as usize % table;
        // A guard: nothing happens on null.
        let some =
            |local: String, body: String| format!("(if (i32.eqz (ref.is_null (local.get {local}))) (then {body}))");
        match *self {
            Op::Make { e } => write!(w, "(local.set $e{} (call $make))", l(e)),
            Op::ClearExtern { e } => write!(w, "(local.set $e{} (ref.null extern))", l(e)),
            Op::ClearNode { n } => write!(w, "(local.set $n{} (ref.null $node))", l(n)),
            Op::ClearAny { a } => write!(w, "(local.set $a{} (ref.null any))", l(a)),
            Op::MoveExtern { to, from } => write!(w, "(local.set $e{} (local.get $e{}))", l(to), l(from)),
            Op::TableGetExtern { e, i } => write!(w, "(local.set $e{} (table.get $te (i32.const {})))", l(e), t(i)),
            Op::TableSetExtern { i, e } => write!(w, "(table.set $te (i32.const {}) (local.get $e{}))", t(i), l(e)),
            Op::TableFillExtern { i, len, e } => write!(
                w,
                "(table.fill $te (i32.const {}) (local.get $e{}) (i32.const {}))",
                t(i),
                l(e),
                cut(t(i), len, table)
            ),
            Op::TableCopyExtern { to, from, len } => {
                let len = cut(t(to).max(t(from)), len, table);
                write!(w, "(table.copy $te $te (i32.const {}) (i32.const {}) (i32.const {len}))", t(to), t(from))
            }
            Op::GlobalGetExtern { e, g: i } => write!(w, "(local.set $e{} (global.get $ge{}))", l(e), g(i)),
            Op::GlobalSetExtern { g: i, e } => write!(w, "(global.set $ge{} (local.get $e{}))", g(i), l(e)),
            Op::TableGetNode { n, i } => write!(w, "(local.set $n{} (table.get $tn (i32.const {})))", l(n), t(i)),
            Op::TableSetNode { i, n } => write!(w, "(table.set $tn (i32.const {}) (local.get $n{}))", t(i), l(n)),
            Op::TableFillNode { i, len, n } => write!(
                w,
                "(table.fill $tn (i32.const {}) (local.get $n{}) (i32.const {}))",
                t(i),
                l(n),
                cut(t(i), len, table)
            ),
            Op::TableCopyNode { to, from, len } => {
                let len = cut(t(to).max(t(from)), len, table);
                write!(w, "(table.copy $tn $tn (i32.const {}) (i32.const {}) (i32.const {len}))", t(to), t(from))
            }
            Op::GlobalGetNode { n, g: i } => write!(w, "(local.set $n{} (global.get $gn{}))", l(n), g(i)),
            Op::GlobalSetNode { g: i, n } => write!(w, "(global.set $gn{} (local.get $n{}))", g(i), l(n)),
            Op::GlobalGetAny { a, g: i } => write!(w, "(local.set $a{} (global.get $ga{}))", l(a), g(i)),
            Op::GlobalSetAny { g: i, a } => write!(w, "(global.set $ga{} (local.get $a{}))", g(i), l(a)),
            Op::NewNode { n, value, e, left, a, big } => {
                let (ty, extra) = if big { ("$big", " (i64.const -1)") } else { ("$node", "") };
                write!(
                    w,
                    "(local.set $n{} (struct.new {ty} (i32.const {value}) (local.get $e{}) (local.get $n{}) (local.get $a{}){extra}))",
                    l(n),
                    l(e),
                    l(left),
                    l(a)
                )
            }
            Op::GetExtern { e, n } => {
                let body = format!("(local.set $e{} (struct.get $node 1 (local.get $n{})))", l(e), l(n));
                w.write_str(&some(format!("$n{}", l(n)), body))
            }
            Op::GetLeft { to, n } => {
                let body = format!("(local.set $n{} (struct.get $node 2 (local.get $n{})))", l(to), l(n));
                w.write_str(&some(format!("$n{}", l(n)), body))
            }
            Op::GetAny { a, n } => {
                let body = format!("(local.set $a{} (struct.get $node 3 (local.get $n{})))", l(a), l(n));
                w.write_str(&some(format!("$n{}", l(n)), body))
            }
            Op::SetValue { n, value } => {
                let body = format!("(struct.set $node 0 (local.get $n{}) (i32.const {value}))", l(n));
                w.write_str(&some(format!("$n{}", l(n)), body))
            }
            Op::SetExtern { n, e } => {
                let body = format!("(struct.set $node 1 (local.get $n{}) (local.get $e{}))", l(n), l(e));
                w.write_str(&some(format!("$n{}", l(n)), body))
            }
            Op::SetLeft { n, left } => {
                let body = format!("(struct.set $node 2 (local.get $n{}) (local.get $n{}))", l(n), l(left));
                w.write_str(&some(format!("$n{}", l(n)), body))
            }
            Op::SetAny { n, a } => {
                let body = format!("(struct.set $node 3 (local.get $n{}) (local.get $a{}))", l(n), l(a));
                w.write_str(&some(format!("$n{}", l(n)), body))
            }
            Op::I31 { a, value } => write!(w, "(local.set $a{} (ref.i31 (i32.const {value})))", l(a)),
            Op::AnyOfNode { a, n } => write!(w, "(local.set $a{} (local.get $n{}))", l(a), l(n)),
            Op::AnyOfArray { a, r } => write!(w, "(local.set $a{} (local.get $r{}))", l(a), l(r)),
            Op::AnyOfExtern { a, e } => write!(w, "(local.set $a{} (any.convert_extern (local.get $e{})))", l(a), l(e)),
            Op::ExternOfAny { e, a } => write!(w, "(local.set $e{} (extern.convert_any (local.get $a{})))", l(e), l(a)),
            Op::Cast { n, a, big } => {
                let ty = if big { "$big" } else { "$node" };
                write!(
                    w,
                    "(local.set $n{} (if (result (ref null $node)) (ref.test (ref {ty}) (local.get $a{a})) \
                     (then (ref.cast (ref {ty}) (local.get $a{a}))) (else (ref.null $node))))",
                    l(n),
                    a = l(a)
                )
            }
            Op::NewArray { r, len, a } => write!(
                w,
                "(local.set $r{} (array.new $array (local.get $a{}) (i32.const {})))",
                l(r),
                l(a),
                array_len(len)
            ),
            Op::ArrayOfThree { r, a, b, c } => write!(
                w,
                "(local.set $r{} (array.new_fixed $array 3 (local.get $a{}) (local.get $a{}) (local.get $a{})))",
                l(r),
                l(a),
                l(b),
                l(c)
            ),
            Op::ArrayGet { a, r, i } => {
                let body =
                    format!("(local.set $a{} (array.get $array (local.get $r{r}) {}))", l(a), index(r, i), r = l(r));
                w.write_str(&some(format!("$r{}", l(r)), body))
            }
            Op::ArraySet { r, i, a } => {
                let body = format!("(array.set $array (local.get $r{}) {} (local.get $a{}))", l(r), index(r, i), l(a));
                w.write_str(&some(format!("$r{}", l(r)), body))
            }
            Op::ArrayCopy { to, i, from, j, len } => {
                // The run of elements is as long as fits behind both starts.
                let min = |a: &str, b: &str| format!("(select {a} {b} (i32.lt_u {a} {b}))");
                let behind = |r: At, i: At| format!("(i32.sub (array.len (local.get $r{})) {})", l(r), index(r, i));
                let fits = min(&behind(to, i), &behind(from, j));
                let count = min(&format!("(i32.const {len})"), &fits);
                let body = format!(
                    "(array.copy $array $array (local.get $r{}) {} (local.get $r{}) {} {count})",
                    l(to),
                    index(to, i),
                    l(from),
                    index(from, j)
                );
                w.write_str(&some(format!("$r{}", l(to)), some(format!("$r{}", l(from)), body)))
            }
            Op::ArrayFill { r, i, len, a } => {
                let rest = format!("(i32.sub (array.len (local.get $r{})) {})", l(r), index(r, i));
                let count = format!("(select (i32.const {len}) {rest} (i32.lt_u (i32.const {len}) {rest}))");
                let body = format!(
                    "(array.fill $array (local.get $r{}) {} (local.get $a{}) {count})",
                    l(r),
                    index(r, i),
                    l(a)
                );
                w.write_str(&some(format!("$r{}", l(r)), body))
            }
            Op::Call { e, n, a, depth } => write!(
                w,
                "(call $deep (local.get $e{e}) (local.get $n{n}) (local.get $a{a}) (i32.const {})) \
                 (local.set $a{a}) (local.set $n{n}) (local.set $e{e})",
                depth % 8,
                e = l(e),
                n = l(n),
                a = l(a)
            ),
            Op::Swap { e, f } => write!(
                w,
                "(call $swap (local.get $e{e}) (local.get $e{f})) (local.set $e{f}) (local.set $e{e})",
                e = l(e),
                f = l(f)
            ),
            Op::Throw { n, to } => write!(
                w,
                "(block $caught (result (ref null $node)) (try_table (catch $tag $caught) (call $throw (local.get $n{}))) (unreachable)) \
                 (local.set $n{})",
                l(n),
                l(to)
            ),
            Op::Gc => w.write_str("(call $gc)"),
            Op::SeeExtern { e } => write!(w, "(call $see_any (any.convert_extern (local.get $e{})))", l(e)),
            Op::SeeNode { n } => write!(w, "(call $see_any (local.get $n{}))", l(n)),
            Op::SeeAny { a } => write!(w, "(call $see_any (local.get $a{}))", l(a)),
        }
    }
}

fn array_len(len: At) -> usize {
    (len % MAX_ARRAY) as usize + 1
}

/// An index into the array in local `r`, modulo its length.
fn index(r: At, i: At) -> String {
    format!("(i32.rem_u (i32.const {i}) (array.len (local.get $r{})))", l(r))
}

impl Model {
    fn run(&mut self, op: Op) {
        match op {
            Op::Make { e } => {
                self.externs[l(e)] = Value::Host(self.hosts);
                self.hosts += 1;
            }
            Op::ClearExtern { e } => self.externs[l(e)] = Value::Null,
            Op::ClearNode { n } => self.nodes[l(n)] = Value::Null,
            Op::ClearAny { a } => self.anys[l(a)] = Value::Null,
            Op::MoveExtern { to, from } => self.externs[l(to)] = self.externs[l(from)],
            Op::TableGetExtern { e, i } => self.externs[l(e)] = self.table_externs[self.t(i)],
            Op::TableSetExtern { i, e } => {
                let i = self.t(i);
                self.table_externs[i] = self.externs[l(e)];
            }
            Op::TableFillExtern { i, len, e } => {
                let (i, value) = (self.t(i), self.externs[l(e)]);
                let len = cut(i, len, self.table_externs.len());
                self.table_externs[i..i + len].fill(value);
            }
            Op::TableCopyExtern { to, from, len } => {
                let (to, from) = (self.t(to), self.t(from));
                let len = cut(to.max(from), len, self.table_externs.len());
                self.table_externs.copy_within(from..from + len, to);
            }
            Op::GlobalGetExtern { e, g: i } => self.externs[l(e)] = self.global_externs[g(i)],
            Op::GlobalSetExtern { g: i, e } => self.global_externs[g(i)] = self.externs[l(e)],
            Op::TableGetNode { n, i } => self.nodes[l(n)] = self.table_nodes[self.t(i)],
            Op::TableSetNode { i, n } => {
                let i = self.t(i);
                self.table_nodes[i] = self.nodes[l(n)];
            }
            Op::TableFillNode { i, len, n } => {
                let (i, value) = (self.t(i), self.nodes[l(n)]);
                let len = cut(i, len, self.table_nodes.len());
                self.table_nodes[i..i + len].fill(value);
            }
            Op::TableCopyNode { to, from, len } => {
                let (to, from) = (self.t(to), self.t(from));
                let len = cut(to.max(from), len, self.table_nodes.len());
                self.table_nodes.copy_within(from..from + len, to);
            }
            Op::GlobalGetNode { n, g: i } => self.nodes[l(n)] = self.global_nodes[g(i)],
            Op::GlobalSetNode { g: i, n } => self.global_nodes[g(i)] = self.nodes[l(n)],
            Op::GlobalGetAny { a, g: i } => self.anys[l(a)] = self.global_anys[g(i)],
            Op::GlobalSetAny { g: i, a } => self.global_anys[g(i)] = self.anys[l(a)],
            Op::NewNode { n, value, e, left, a, big } => {
                let fields = [self.externs[l(e)], self.nodes[l(left)], self.anys[l(a)]];
                self.nodes[l(n)] = self.new_object(Object::Node { value: value as i32, fields, big });
            }
            Op::GetExtern { e, n } => {
                if let Some(fields) = self.fields(n) {
                    self.externs[l(e)] = fields[0];
                }
            }
            Op::GetLeft { to, n } => {
                if let Some(fields) = self.fields(n) {
                    self.nodes[l(to)] = fields[1];
                }
            }
            Op::GetAny { a, n } => {
                if let Some(fields) = self.fields(n) {
                    self.anys[l(a)] = fields[2];
                }
            }
            Op::SetValue { n, value: new } => {
                if let Value::Object(o) = self.nodes[l(n)]
                    && let Object::Node { value, .. } = &mut self.objects[o]
                {
                    *value = new as i32;
                }
            }
            Op::SetExtern { n, e } => self.set_field(n, 0, self.externs[l(e)]),
            Op::SetLeft { n, left } => self.set_field(n, 1, self.nodes[l(left)]),
            Op::SetAny { n, a } => self.set_field(n, 2, self.anys[l(a)]),
            Op::I31 { a, value } => self.anys[l(a)] = Value::I31(value as i32),
            Op::AnyOfNode { a, n } => self.anys[l(a)] = self.nodes[l(n)],
            Op::AnyOfArray { a, r } => self.anys[l(a)] = self.arrays[l(r)],
            Op::AnyOfExtern { a, e } => self.anys[l(a)] = self.externs[l(e)],
            Op::ExternOfAny { e, a } => self.externs[l(e)] = self.anys[l(a)],
            Op::Cast { n, a, big: only_big } => {
                self.nodes[l(n)] = match self.anys[l(a)] {
                    Value::Object(o) => match self.objects[o] {
                        Object::Node { big, .. } if big || !only_big => Value::Object(o),
                        _ => Value::Null,
                    },
                    _ => Value::Null,
                }
            }
            Op::NewArray { r, len, a } => {
                self.arrays[l(r)] = self.new_object(Object::Array(vec![self.anys[l(a)]; array_len(len)]));
            }
            Op::ArrayOfThree { r, a, b, c } => {
                let elements = vec![self.anys[l(a)], self.anys[l(b)], self.anys[l(c)]];
                self.arrays[l(r)] = self.new_object(Object::Array(elements));
            }
            Op::ArrayGet { a, r, i } => {
                if let Some(elements) = self.elements(r) {
                    self.anys[l(a)] = elements[i as usize % elements.len()];
                }
            }
            Op::ArraySet { r, i, a } => {
                let value = self.anys[l(a)];
                if let Some(elements) = self.elements(r) {
                    let i = i as usize % elements.len();
                    elements[i] = value;
                }
            }
            Op::ArrayCopy { to, i, from, j, len } => {
                let Some(source) = self.elements(from).cloned() else { return };
                if let Some(target) = self.elements(to) {
                    let (i, j) = (i as usize % target.len(), j as usize % source.len());
                    let len = (len as usize).min(target.len() - i).min(source.len() - j);
                    target[i..i + len].copy_from_slice(&source[j..j + len]);
                }
            }
            Op::ArrayFill { r, i, len, a } => {
                let value = self.anys[l(a)];
                if let Some(elements) = self.elements(r) {
                    let i = i as usize % elements.len();
                    let len = cut(i, len, elements.len());
                    elements[i..i + len].fill(value);
                }
            }
            Op::Call { .. } | Op::Gc => self.collect(),
            Op::Swap { e, f } => self.externs.swap(l(e), l(f)),
            Op::Throw { n, to } => self.nodes[l(to)] = self.nodes[l(n)],
            Op::SeeExtern { e } => self.see(self.externs[l(e)]),
            Op::SeeNode { n } => self.see(self.nodes[l(n)]),
            Op::SeeAny { a } => self.see(self.anys[l(a)]),
        }
    }

    fn t(&self, i: At) -> usize {
        i as usize % self.table_externs.len()
    }

    fn new_object(&mut self, object: Object) -> Value {
        self.objects.push(object);
        Value::Object(self.objects.len() - 1)
    }

    fn fields(&self, n: At) -> Option<[Value; 3]> {
        match self.nodes[l(n)] {
            Value::Object(o) => match &self.objects[o] {
                Object::Node { fields, .. } => Some(*fields),
                Object::Array(_) => unreachable!("a node local holds nodes"),
            },
            _ => None,
        }
    }

    fn set_field(&mut self, n: At, field: usize, new: Value) {
        if let Value::Object(o) = self.nodes[l(n)]
            && let Object::Node { fields, .. } = &mut self.objects[o]
        {
            fields[field] = new;
        }
    }

    fn elements(&mut self, r: At) -> Option<&mut Vec<Value>> {
        match self.arrays[l(r)] {
            Value::Object(o) => match &mut self.objects[o] {
                Object::Array(elements) => Some(elements),
                Object::Node { .. } => unreachable!("an array local holds arrays"),
            },
            _ => None,
        }
    }

    fn see(&mut self, value: Value) {
        let snapshot = self.snapshot(value, SNAPSHOT_DEPTH);
        self.expected.push(Expected::See(snapshot));
    }

    fn snapshot(&self, value: Value, depth: u32) -> Snapshot {
        match value {
            Value::Null => Snapshot::Null,
            Value::I31(i) => Snapshot::I31(i),
            Value::Host(h) => Snapshot::Host(h),
            Value::Object(_) if depth == 0 => Snapshot::Deep,
            Value::Object(o) => {
                let edges = self.objects[o].edges().iter().map(|v| self.snapshot(*v, depth - 1)).collect();
                match self.objects[o] {
                    Object::Node { value, big, .. } => Snapshot::Node(value, big, edges),
                    Object::Array(_) => Snapshot::Array(edges),
                }
            }
        }
    }

    fn collect(&mut self) {
        let roots = self.global_externs.iter().chain(&self.global_nodes).chain(&self.global_anys);
        let roots: Vec<Value> = roots.chain(&self.table_externs).chain(&self.table_nodes).copied().collect();
        let alive = self.reachable_hosts(roots);
        self.expected.push(Expected::Gc { alive });
    }

    /// Host values reachable from `roots`, ascending.
    fn reachable_hosts(&self, roots: Vec<Value>) -> Vec<usize> {
        let mut seen = vec![false; self.objects.len()];
        let mut hosts = vec![false; self.hosts];
        let mut work = roots;
        while let Some(value) = work.pop() {
            match value {
                Value::Host(h) => hosts[h] = true,
                Value::Object(o) if !seen[o] => {
                    seen[o] = true;
                    work.extend_from_slice(self.objects[o].edges());
                }
                _ => {}
            }
        }
        (0..self.hosts).filter(|h| hosts[*h]).collect()
    }

    /// Host values that cyclic garbage holds once every root is gone: what is left when objects without incoming edges are taken
    /// away for as long as there are any. A collector that only counts may keep these.
    pub fn hosts_behind_cycles(&self) -> Vec<usize> {
        let mut incoming = vec![0usize; self.objects.len()];
        for object in &self.objects {
            for edge in object.edges() {
                if let Value::Object(o) = edge {
                    incoming[*o] += 1;
                }
            }
        }
        let mut dead: Vec<usize> = (0..self.objects.len()).filter(|o| incoming[*o] == 0).collect();
        let mut gone = vec![false; self.objects.len()];
        while let Some(o) = dead.pop() {
            gone[o] = true;
            for edge in self.objects[o].edges() {
                if let Value::Object(target) = edge {
                    incoming[*target] -= 1;
                    if incoming[*target] == 0 {
                        dead.push(*target);
                    }
                }
            }
        }
        let left = (0..self.objects.len()).filter(|o| !gone[*o]).map(Value::Object).collect();
        self.reachable_hosts(left)
    }
}
