//! Programs as WebAssembly text.

use super::kit;
use super::model::{ALL_PLACES, Expected, Model, PLACES};
use super::program::{At, End, Op, Program, SOURCES, array_len, func, globals, is_struct, kind, locals};
use super::shapes::{self, BYTES, FUNCS, Kind, LONGS, REFS, SHAPES, Storage};
use engine::Trap;
use std::fmt::Write;

/// References in the element segment.
pub const SEGMENT: usize = 4;

/// The data segment: 64 bytes.
pub fn data_byte(i: usize) -> u8 {
    (i * 37 + 11) as u8
}

/// Ways to trap, and how; `$p` is a pair or null.
pub const TRAPS: [(&str, Trap); 22] = [
    ("(unreachable)", Trap::Unreachable),
    ("(drop (struct.get $pair 0 (ref.null $pair)))", Trap::NullReference),
    ("(struct.set $pair 1 (ref.null $pair) (local.get $p))", Trap::NullReference),
    ("(drop (struct.get $wide 36 (ref.null $wide)))", Trap::NullReference),
    ("(drop (array.get $refs (ref.null $refs) (i32.const 0)))", Trap::NullReference),
    ("(drop (array.get $refs (array.new_default $refs (i32.const 3)) (i32.const 3)))", Trap::ArrayOutOfBounds),
    ("(array.set $refs (array.new_default $refs (i32.const 3)) (i32.const -1) (local.get $p))", Trap::ArrayOutOfBounds),
    (
        "(array.copy $refs $pairs (array.new $refs (local.get $p) (i32.const 3)) (i32.const 1) \
         (array.new $pairs (local.get $p) (i32.const 4)) (i32.const 0) (i32.const 3))",
        Trap::ArrayOutOfBounds,
    ),
    (
        "(array.fill $refs (array.new_default $refs (i32.const 3)) (i32.const 2) (local.get $p) (i32.const 2))",
        Trap::ArrayOutOfBounds,
    ),
    (
        "(array.init_elem $refs $segment (array.new_default $refs (i32.const 9)) (i32.const 0) (i32.const 2) (i32.const 3))",
        Trap::TableOutOfBounds,
    ),
    ("(drop (array.new_data $longs $data (i32.const 60) (i32.const 1)))", Trap::MemoryOutOfBounds),
    ("(drop (ref.cast (ref $refs) (struct.new $pair (local.get $p) (ref.null any))))", Trap::CastFailure),
    ("(drop (ref.as_non_null (ref.null $pair)))", Trap::NullReference),
    ("(call_ref $fn (local.get $p) (ref.null extern) (i32.const 1) (ref.null $fn)) (drop) (drop)", Trap::NullReference),
    (
        "(call_indirect $ft (type $fn) (local.get $p) (ref.null extern) (i32.const 1) (i32.const 16)) (drop) (drop)",
        Trap::BadSignature,
    ),
    (
        "(call_indirect $ft (type $fn) (local.get $p) (ref.null extern) (i32.const 1) (i32.const 17)) (drop) (drop)",
        Trap::UninitializedElement,
    ),
    (
        "(call_indirect $ft (type $fn) (local.get $p) (ref.null extern) (i32.const 1) (i32.const 18)) (drop) (drop)",
        Trap::UndefinedElement,
    ),
    ("(table.set $tp (i32.const 1000) (local.get $p))", Trap::TableOutOfBounds),
    ("(table.init $ta $segment (i32.const 0) (i32.const 2) (i32.const 3))", Trap::TableOutOfBounds),
    ("(throw_ref (ref.null exn))", Trap::NullReference),
    ("(drop (i31.get_s (ref.null i31)))", Trap::NullReference),
    ("(drop (array.new $longs (i64.const 1) (i32.const -1)))", Trap::AllocationTooLarge),
];

/// The function that sees values of a kind.
pub fn see(kind: Kind) -> &'static str {
    match kind {
        Kind::Any | Kind::Pair => "any",
        Kind::Extern => "extern",
        Kind::Func => "func",
        Kind::Exn => "exn",
    }
}

impl Program {
    /// As a module that imports the kit and the host. Exports `run`, `see_all`, which gives the last walk, and `clear`, which lets
    /// go of every reference.
    pub fn text(&self) -> String {
        self.module(&kit::imports(), "")
    }

    /// As a module that runs alone and checks itself: `run` traps by `unreachable` where it finds something wrong.
    pub fn text_alone(&self, model: &Model) -> String {
        let numbers = model.expected.iter().filter_map(|expected| match expected {
            Expected::Check(n) | Expected::See(n) => Some(*n),
            Expected::Gc { .. } => None,
        });
        // Then what is done after a program: all is walked, let go of, and collected, if zeal collects.
        let numbers: Vec<u64> = numbers.chain([model.walk_all()]).collect();
        let after =
            "    (call $check (call $see_all)) (call $clear) (call $gc (i32.const 0)) (call $gc (i32.const 0))\n";
        self.module(&kit::inside(&numbers), after)
    }

    fn module(&self, kit: &str, after: &str) -> String {
        let mut w = String::from("(module $program\n");
        self.print(kit, after, &mut w).expect("a string takes everything");
        w
    }

    fn print(&self, kit: &str, after: &str, w: &mut String) -> std::fmt::Result {
        w.push_str(&shapes::types());
        w.push_str(kit);
        let mut clear = String::new();
        let mut see_all = format!("    (call $see_begin (i32.const {ALL_PLACES}))\n");
        for kind in Kind::ALL {
            let (letter, ty, heap) = (kind.letter(), kind.ty(), kind.heap());
            for g in 0..globals(kind) {
                if (kind, g) != (Kind::Any, 2) {
                    writeln!(w, "  (global $g{letter}{g} (mut {ty}) (ref.null {heap}))")?;
                }
                writeln!(clear, "    (global.set $g{letter}{g} (ref.null {heap}))")?;
                writeln!(see_all, "    (call $see_{} (global.get $g{letter}{g}))", see(kind))?;
            }
            writeln!(w, "  (table $t{letter} {} {} {ty})", self.table_len(), self.table_max())?;
            writeln!(clear, "    (table.fill $t{letter} (i32.const 0) (ref.null {heap}) (table.size $t{letter}))")?;
            writeln!(
                see_all,
                "    (local.set $i (i32.const 0))\n    (loop $elements\n      \
                       (call $see_{} (table.get $t{letter} (local.get $i)))\n      \
                       (local.set $i (i32.add (local.get $i) (i32.const 1)))\n      \
                       (br_if $elements (i32.lt_u (local.get $i) (table.size $t{letter}))))",
                see(kind)
            )?;
        }
        let bytes: String = (0..64).map(|i| format!("\\{:02x}", data_byte(i))).collect();
        writeln!(w, "  (data $data \"{bytes}\")")?;
        let functions: String = (0..kit::FUNCS).map(|f| format!(" (ref.func $f{f})")).collect();
        writeln!(w, "  (elem $functions funcref{functions} (ref.func $g0))")?;
        w.push_str(
            "  (elem $segment anyref (item (ref.i31 (i32.const 5))) (item (struct.new $pair (ref.i31 (i32.const 1)) (ref.null any)))\n    \
                 (item (struct.new_default $tiny)) (ref.null any))\n",
        );
        writeln!(
            w,
            "  (func $see_all (export \"see_all\") (result i64) (local $i i32)\n{see_all}    (call $see_finish))"
        )?;
        writeln!(w, "  (func $clear (export \"clear\")\n{clear}    (elem.drop $segment))")?;
        let end = self.ending();
        let last = match end {
            End::Return => "",
            End::Trap(trap) => TRAPS[trap].0,
            End::Throw => "(throw $t0 (local.get $p) (ref.null extern))",
            End::HostThrow => "(call $f12 (local.get $p) (ref.null extern) (i32.const 0)) (drop) (drop)",
            End::HostError => "(call $hold (i32.const 99) (local.get $p))",
        };
        if end != End::Return {
            // Under frames that hold references, and a handler that is not asked about traps.
            let handler = if matches!(end, End::Trap(_) | End::HostError) { "(catch_all 0)" } else { "" };
            writeln!(
                w,
                "  (func $end (param $depth i32) (param $p (ref null $pair)) (local $kept (ref null $pair))\n    \
                     (if (local.get $depth) (then\n      \
                       (local.set $kept (struct.new $pair (local.get $p) (local.get $p)))\n      \
                       (call $end (i32.sub (local.get $depth) (i32.const 1)) (local.get $p))\n      \
                       (call $see (local.get $kept))))\n    \
                     (block (try_table {handler} {last})))"
            )?;
        }
        writeln!(w, "  (func (export \"run\") (local $rounds i32)")?;
        for kind in Kind::ALL {
            let locals: String =
                (0..locals(kind)).map(|i| format!(" (local ${}{i} {})", kind.letter(), kind.ty())).collect();
            writeln!(w, "   {locals}")?;
        }
        writeln!(w, "    (local $garbage i32)")?;
        writeln!(w, "    (local.set $rounds (i32.const {}))", self.round_count())?;
        writeln!(w, "    (loop $again")?;
        for op in &self.ops {
            let mut text = String::from("      ");
            op.print(&mut text)?;
            if !text.trim().is_empty() {
                writeln!(w, "{text}")?;
            }
        }
        writeln!(w, "      (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))")?;
        writeln!(w, "      (br_if $again (local.get $rounds)))")?;
        if end != End::Return {
            writeln!(w, "    (call $end (i32.const 3) (local.get $p0))")?;
        }
        w.push_str(after);
        writeln!(w, "  ))")
    }
}

/// The name of a local.
fn l(kind: Kind, at: At) -> String {
    format!("${}{}", kind.letter(), at as usize % locals(kind))
}

fn get(kind: Kind, at: At) -> String {
    format!("(local.get {})", l(kind, at))
}

/// An `anyref` out of a local of either type.
fn source(at: At) -> String {
    match at as usize % SOURCES {
        at if at < locals(Kind::Any) => get(Kind::Any, at as At),
        at => get(Kind::Pair, (at - locals(Kind::Any)) as At),
    }
}

/// A value of this type, out of a local or of `n`.
fn value(storage: Storage, at: At, n: i64) -> String {
    match storage {
        Storage::Ref(Kind::Any) => source(at),
        Storage::Ref(kind) => get(kind, at),
        _ => storage.constant(n),
    }
}

/// A local that takes what `value` leaves, or a check of it.
fn put(storage: Storage, to: At, value: &str) -> String {
    match storage {
        Storage::Ref(kind) => format!("(local.set {} {value})", l(kind, to)),
        _ => format!("(call $check {})", storage.bits(value)),
    }
}

/// The object of a source, as one of this type.
fn cast(of: At, shape: usize) -> String {
    format!("(ref.cast (ref ${}) {})", SHAPES[shape].name, source(of))
}

/// `body`, if the source is of this type.
fn when(of: At, shape: usize, body: &str) -> String {
    format!("(if (ref.test (ref ${}) {}) (then {body}))", SHAPES[shape].name, source(of))
}

/// An index into the array of a source, modulo its length.
fn index(of: At, shape: usize, i: At) -> String {
    format!("(i32.rem_u (i32.const {i}) (array.len {}))", cast(of, shape))
}

/// `body`, if the array of a source has elements.
fn when_elements(of: At, shape: usize, body: &str) -> String {
    when(of, shape, &format!("(if (array.len {}) (then {body}))", cast(of, shape)))
}

fn min(a: &str, b: &str) -> String {
    format!("(select {a} {b} (i32.lt_u {a} {b}))")
}

/// Elements from an index to the end.
fn behind(of: At, shape: usize, i: At) -> String {
    format!("(i32.sub (array.len {}) {})", cast(of, shape), index(of, shape, i))
}

/// A call that gives an `anyref` and an `externref`, or throws them.
fn caught(call: &str, to: At) -> String {
    format!(
        "(block $caught (result anyref externref) (try_table (result anyref externref) (catch $t0 $caught) {call})) \
         (local.set {}) (local.set {})",
        l(Kind::Extern, to),
        l(Kind::Any, to)
    )
}

/// A segment, its length, and the type of arrays of its elements.
fn segment(funcs: bool) -> (&'static str, usize, usize) {
    if funcs { ("$functions", kit::FUNCS + 1, FUNCS) } else { ("$segment", SEGMENT, REFS) }
}

/// Whether it is of a type that no host value has, wherever the program runs.
fn test(ty: &str, of: At) -> String {
    format!("(i32.and (ref.test {ty} {0}) (i32.eqz (ref.test (ref $host) {0})))", source(of))
}

impl Op {
    /// Prints the operation, which has been aimed.
    fn print(&self, w: &mut String) -> std::fmt::Result {
        match *self {
            Op::New { shape, to, from, n } => {
                let target = &SHAPES[shape as usize];
                let new = match target.body {
                    shapes::Body::Struct(fields) => {
                        let value = |(i, storage): (usize, &Storage)| {
                            value(*storage, from.wrapping_add(i as At), n as i64 + i as i64)
                        };
                        let values: Vec<String> = fields.iter().enumerate().map(value).collect();
                        format!("(struct.new ${} {})", target.name, values.join(" "))
                    }
                    shapes::Body::Array(storage) => {
                        let len = array_len(n as u16 as usize);
                        format!("(array.new ${} {} (i32.const {len}))", target.name, value(storage, from, n as i64))
                    }
                };
                write!(w, "(local.set {} {new})", l(Kind::Any, to))
            }
            Op::NewDefault { shape, to, len } => {
                let name = SHAPES[shape as usize].name;
                let new = match is_struct(shape) {
                    true => format!("(struct.new_default ${name})"),
                    false => format!("(array.new_default ${name} (i32.const {}))", array_len(len as usize)),
                };
                write!(w, "(local.set {} {new})", l(Kind::Any, to))
            }
            Op::NewFixed { shape, to, from, n } => {
                let Some(storage) = SHAPES[shape as usize].element() else { return Ok(()) };
                let value = |i: At| value(storage, from.wrapping_add(i), n as i64 + i as i64);
                let name = SHAPES[shape as usize].name;
                let values = [value(0), value(1), value(2)].join(" ");
                write!(w, "(local.set {} (array.new_fixed ${name} 3 {values}))", l(Kind::Any, to))
            }
            Op::NewData { longs, to, at, len } => {
                let name = SHAPES[if longs { LONGS } else { BYTES }].name;
                let (at, len) = (at % 32, len % 4);
                let to = l(Kind::Any, to);
                write!(w, "(local.set {to} (array.new_data ${name} $data (i32.const {at}) (i32.const {len})))")
            }
            Op::NewElem { funcs, to, at, len } => {
                let (segment, size, shape) = segment(funcs);
                let at = at as usize % size;
                let len = (len as usize % 4).min(size - at);
                let (to, name) = (l(Kind::Any, to), SHAPES[shape].name);
                write!(w, "(local.set {to} (array.new_elem ${name} {segment} (i32.const {at}) (i32.const {len})))")
            }
            Op::GetField { shape, field, of, to } => {
                let shape = shape as usize;
                let Some(fields) = SHAPES[shape].fields().filter(|fields| !fields.is_empty()) else { return Ok(()) };
                let field = field as usize % fields.len();
                let storage = fields[field];
                let get = format!("(struct.{} ${} {field} {})", storage.get(), SHAPES[shape].name, cast(of, shape));
                w.write_str(&when(of, shape, &put(storage, to, &get)))
            }
            Op::SetField { shape, field, of, from, n } => {
                let shape = shape as usize;
                let target = &SHAPES[shape];
                let Some(fields) = target.fields().filter(|fields| !fields.is_empty() && target.mutable) else {
                    return Ok(());
                };
                let field = field as usize % fields.len();
                let value = value(fields[field], from, n as i64);
                let set = format!("(struct.set ${} {field} {} {value})", target.name, cast(of, shape));
                w.write_str(&when(of, shape, &set))
            }
            Op::GetElem { shape, of, i, to } => {
                let shape = shape as usize;
                let Some(storage) = SHAPES[shape].element() else { return Ok(()) };
                let (name, array, i) = (SHAPES[shape].name, cast(of, shape), index(of, shape, i));
                let get = format!("(array.{} ${name} {array} {i})", storage.get());
                w.write_str(&when_elements(of, shape, &put(storage, to, &get)))
            }
            Op::SetElem { shape, of, i, from, n } => {
                let shape = shape as usize;
                let Some(storage) = SHAPES[shape].element() else { return Ok(()) };
                let (name, array, i) = (SHAPES[shape].name, cast(of, shape), index(of, shape, i));
                let set = format!("(array.set ${name} {array} {i} {})", value(storage, from, n as i64));
                w.write_str(&when_elements(of, shape, &set))
            }
            Op::CopyElems { shape, to, i, from, j, len } => {
                let shape = shape as usize;
                if SHAPES[shape].element().is_none() {
                    return Ok(());
                }
                let fits = min(&behind(to, shape, i), &behind(from, shape, j));
                let copy = format!(
                    "(array.copy ${name} ${name} {} {} {} {} {})",
                    cast(to, shape),
                    index(to, shape, i),
                    cast(from, shape),
                    index(from, shape, j),
                    min(&format!("(i32.const {len})"), &fits),
                    name = SHAPES[shape].name,
                );
                w.write_str(&when_elements(to, shape, &when_elements(from, shape, &copy)))
            }
            Op::FillElems { shape, of, i, len, from, n } => {
                let shape = shape as usize;
                let Some(storage) = SHAPES[shape].element() else { return Ok(()) };
                let fill = format!(
                    "(array.fill ${} {} {} {} {})",
                    SHAPES[shape].name,
                    cast(of, shape),
                    index(of, shape, i),
                    value(storage, from, n as i64),
                    min(&format!("(i32.const {len})"), &behind(of, shape, i))
                );
                w.write_str(&when_elements(of, shape, &fill))
            }
            Op::InitData { longs, of, i, at, len } => {
                let shape = if longs { LONGS } else { BYTES };
                let init = format!(
                    "(array.init_data ${} $data {} {} (i32.const {}) {})",
                    SHAPES[shape].name,
                    cast(of, shape),
                    index(of, shape, i),
                    at % 32,
                    min(&format!("(i32.const {})", len % 4), &behind(of, shape, i))
                );
                w.write_str(&when_elements(of, shape, &init))
            }
            Op::InitElem { funcs, of, i, at, len } => {
                let (segment, size, shape) = segment(funcs);
                let at = at as usize % size;
                let len = (len as usize % 4).min(size - at);
                let init = format!(
                    "(array.init_elem ${} {segment} {} {} (i32.const {at}) {})",
                    SHAPES[shape].name,
                    cast(of, shape),
                    index(of, shape, i),
                    min(&format!("(i32.const {len})"), &behind(of, shape, i))
                );
                w.write_str(&when_elements(of, shape, &init))
            }
            Op::Len { of } => write!(
                w,
                "(if (ref.test (ref array) {0}) \
                 (then (call $check (i64.extend_i32_u (array.len (ref.cast (ref array) {0}))))))",
                source(of)
            ),
            _ => self.print_other(w),
        }
    }

    /// Prints what is not done to objects.
    fn print_other(&self, w: &mut String) -> std::fmt::Result {
        let table = |k: u8, i: At| format!("(i32.rem_u (i32.const {i}) (table.size $t{}))", kind(k).letter());
        let rest = |k: u8, i: &str| format!("(i32.sub (table.size $t{}) {i})", kind(k).letter());
        match *self {
            Op::GlobalGet { kind: k, g, to } => {
                let (to, letter, g) = (l(kind(k), to), kind(k).letter(), g as usize % globals(kind(k)));
                write!(w, "(local.set {to} (global.get $g{letter}{g}))")
            }
            Op::GlobalSet { kind: k, g, from } => {
                let (from, letter, g) = (get(kind(k), from), kind(k).letter(), g as usize % globals(kind(k)));
                write!(w, "(global.set $g{letter}{g} {from})")
            }
            Op::TableGet { kind: k, i, to } => {
                write!(w, "(local.set {} (table.get $t{} {}))", l(kind(k), to), kind(k).letter(), table(k, i))
            }
            Op::TableSet { kind: k, i, from } => {
                write!(w, "(table.set $t{} {} {})", kind(k).letter(), table(k, i), get(kind(k), from))
            }
            Op::TableFill { kind: k, i, len, from } => {
                let i = table(k, i);
                let len = min(&format!("(i32.const {len})"), &rest(k, &i));
                write!(w, "(table.fill $t{} {i} {} {len})", kind(k).letter(), get(kind(k), from))
            }
            Op::TableCopy { kind: k, to, from, len } => {
                let (to, from, letter) = (table(k, to), table(k, from), kind(k).letter());
                let len = min(&format!("(i32.const {len})"), &min(&rest(k, &to), &rest(k, &from)));
                write!(w, "(table.copy $t{letter} $t{letter} {to} {from} {len})")
            }
            Op::TableGrow { kind: k, by, from } => write!(
                w,
                "(call $check (i64.extend_i32_u (table.grow $t{} {} (i32.const {}))))",
                kind(k).letter(),
                get(kind(k), from),
                by % 4
            ),
            Op::TableInit { funcs, i, at, len } => {
                let (segment, size, _) = segment(funcs);
                let at = at as usize % size;
                let len = (len as usize % 4).min(size - at);
                let k = if funcs { Kind::Func } else { Kind::Any } as u8;
                let i = table(k, i);
                let len = min(&format!("(i32.const {len})"), &rest(k, &i));
                write!(w, "(table.init $t{} {segment} {i} (i32.const {at}) {len})", kind(k).letter())
            }
            Op::Move { kind: k, to, from } => write!(w, "(local.set {} {})", l(kind(k), to), get(kind(k), from)),
            Op::Clear { kind: k, to } => write!(w, "(local.set {} (ref.null {}))", l(kind(k), to), kind(k).heap()),
            Op::I31 { to, n } => write!(w, "(local.set {} (ref.i31 (i32.const {n})))", l(Kind::Any, to)),
            Op::CastPair { p, from, how } => {
                let (p, from) = (l(Kind::Pair, p), source(from));
                match how % 3 {
                    0 => write!(
                        w,
                        "(local.set {p} (if (result (ref null $pair)) (ref.test (ref null $pair) {from}) \
                         (then (ref.cast (ref null $pair) {from})) (else (ref.null $pair))))"
                    ),
                    1 => write!(
                        w,
                        "(local.set {p} (block $is (result (ref null $pair)) \
                         (br_on_cast $is anyref (ref null $pair) {from}) (drop) (ref.null $pair)))"
                    ),
                    _ => write!(
                        w,
                        "(block $done (block $not (result anyref) (br_on_cast_fail $not anyref (ref null $pair) {from}) \
                         (local.set {p}) (br $done)) (drop) (local.set {p} (ref.null $pair)))"
                    ),
                }
            }
            Op::AnyOfExtern { to, e } => {
                write!(w, "(local.set {} (any.convert_extern {}))", l(Kind::Any, to), get(Kind::Extern, e))
            }
            Op::ExternOfAny { e, from } => {
                write!(w, "(local.set {} (extern.convert_any {}))", l(Kind::Extern, e), source(from))
            }
            Op::Test { from, what } => {
                let ty = match what as usize % (4 + SHAPES.len()) {
                    0 => "(ref eq)".to_string(),
                    1 => "(ref struct)".to_string(),
                    2 => "(ref array)".to_string(),
                    3 => "(ref i31)".to_string(),
                    what => format!("(ref ${})", SHAPES[what - 4].name),
                };
                write!(w, "(call $check (i64.extend_i32_u {}))", test(&ty, from))
            }
            Op::Same { a, b } => write!(
                w,
                "(call $check (i64.extend_i32_u (if (result i32) (i32.and {} {}) \
                 (then (ref.eq (ref.cast eqref {}) (ref.cast eqref {}))) (else (i32.const 2)))))",
                test("eqref", a),
                test("eqref", b),
                source(a),
                source(b)
            ),
            Op::Make { e } => write!(w, "(local.set {} (call $make))", l(Kind::Extern, e)),
            Op::Call { f, how, from, e, n, to } => {
                let args = format!("{} {} (i32.const {})", source(from), get(Kind::Extern, e), n % 6);
                let f = func(f);
                let call = match how % 3 {
                    0 => format!("(call $f{f} {args})"),
                    1 => format!("(call_indirect $ft (type $fn) {args} (i32.const {f}))"),
                    _ => format!("(call_ref $fn {args} (ref.func $f{f}))"),
                };
                w.write_str(&caught(&call, to))
            }
            Op::CallHeld { table: in_table, f, from, e, n, to } => {
                let args = format!("{} {} (i32.const {})", source(from), get(Kind::Extern, e), n % 6);
                let (held, call) = match in_table {
                    true => {
                        let i = table(Kind::Func as u8, f);
                        (format!("(table.get $tf {i})"), format!("(call_indirect $tf (type $fn) {args} {i})"))
                    }
                    false => {
                        let held = get(Kind::Func, f);
                        let call = format!("(call_ref $fn {args} (ref.cast (ref $fn) {held}))");
                        (held, call)
                    }
                };
                write!(w, "(if (ref.test (ref $fn) {held}) (then {}))", caught(&call, to))
            }
            Op::FuncOf { f, of } => match of as usize % (kit::FUNCS + 1) {
                kit::OTHER => write!(w, "(local.set {} (ref.func $g0))", l(Kind::Func, f)),
                of => write!(w, "(local.set {} (ref.func $f{of}))", l(Kind::Func, f)),
            },
            Op::Throw { pair, from, e, n, x } => {
                let throw = match pair {
                    true => format!("(throw $t1 (i64.const {n}) {})", get(Kind::Pair, from)),
                    false => format!("(throw $t0 {} {})", source(from), get(Kind::Extern, e)),
                };
                let caught = format!(
                    "(block $caught (result exnref) (try_table (catch_all_ref $caught) {throw}) (unreachable))"
                );
                write!(w, "(local.set {} {caught})", l(Kind::Exn, x))
            }
            Op::Rethrow { x, to, e, p } => write!(
                w,
                "(if (i32.eqz (ref.is_null {x})) (then (block $done (block $second (result i64 (ref null $pair)) \
                 (block $first (result anyref externref) \
                 (try_table (catch $t0 $first) (catch $t1 $second) (throw_ref {x})) (unreachable)) \
                 (local.set {}) (local.set {}) (br $done)) (local.set {}) (call $check))))",
                l(Kind::Extern, e),
                l(Kind::Any, to),
                l(Kind::Pair, p),
                x = get(Kind::Exn, x),
            ),
            Op::Hold { slot, from } => write!(w, "(call $hold (i32.const {}) {})", slot % 4, source(from)),
            Op::Held { slot, to } => {
                write!(w, "(local.set {} (call $held (i32.const {})))", l(Kind::Any, to), slot % 4)
            }
            Op::Gc { kind } => write!(w, "(call $gc (i32.const {}))", kind % 3),
            Op::Garbage { n } => write!(
                w,
                "(local.set $garbage (i32.const {})) (loop $more (drop (struct.new_default $num)) (drop (array.new_default $refs (local.get $garbage))) \
                 (br_if $more (local.tee $garbage (i32.sub (local.get $garbage) (i32.const 1)))))",
                n % 16 + 1
            ),
            Op::See { kind: k, of } => {
                let k = kind(k);
                let value = if k == Kind::Any { source(of) } else { get(k, of) };
                write!(
                    w,
                    "(call $see_begin (i32.const {PLACES})) (call $see_{} {value}) (call $check (call $see_finish))",
                    see(k)
                )
            }
            Op::HostSee { of } => write!(w, "(call $see {})", source(of)),
            Op::SeeAll => w.write_str("(call $check (call $see_all))"),
            _ => unreachable!("the others are printed by `print`"),
        }
    }
}
