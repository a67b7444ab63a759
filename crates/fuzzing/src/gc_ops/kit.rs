//! What programs share: a walk over the heap, functions that do something with references, tags, a table of the functions.
//!
//! Programs import it from an instance that is compiled once an engine. A program that is printed to be run alone has it inside,
//! with functions in place of the host's.

use super::shapes::{self, Body, SHAPES, Storage};
use std::fmt::Write;

/// Functions `$f0` and so on, of type `$fn`: what they give is said at [`Model::call`](super::model::Model::call). A negative number
/// asks for the function's own number.
pub const FUNCS: usize = 16;
/// The first that is the host's.
pub const HOST_FUNCS: usize = 11;
/// The function `$g0`, of another type, in the table behind those; null is behind it.
pub const OTHER: usize = FUNCS;

/// What a value adds to a hash, in the lowest byte. Objects, host values, functions and i31s have their number above it.
pub mod code {
    pub const NULL: u64 = 0;
    pub const I31: u64 = 1;
    pub const HOST: u64 = 2;
    pub const OBJECT: u64 = 3;
    /// An object for which there was no place any more.
    pub const FAR: u64 = 4;
    pub const FUNC: u64 = 5;
    /// Exceptions by their tag; what they carry follows.
    pub const EXN: [u64; 2] = [6, 7];
    /// Before an object, with its type above.
    pub const SHAPE: u64 = 8;
}

/// One step of a hash.
pub fn mix(hash: u64, with: u64) -> u64 {
    (hash ^ with).rotate_left(25).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The kit as a module of its own.
pub fn module() -> String {
    let mut w = String::from("(module $kit\n");
    w += &shapes::types();
    w += "  (import \"host\" \"gc\" (func $gc (param i32)))\n";
    w += "  (import \"host\" \"number\" (func $number_of (param externref) (result i32)))\n";
    for f in HOST_FUNCS..FUNCS {
        writeln!(w, "  (import \"host\" \"f{f}\" (func $f{f} (type $fn)))").expect("a string takes everything");
    }
    w += &definitions();
    for name in ["begin", "any", "extern", "func", "exn", "finish"] {
        writeln!(w, "  (export \"{name}\" (func $see_{name}))").expect("a string takes everything");
    }
    for f in 0..FUNCS {
        writeln!(w, "  (export \"f{f}\" (func $f{f}))").expect("a string takes everything");
    }
    w += "  (export \"g0\" (func $g0))\n  (export \"ft\" (table $ft))\n  (export \"a2\" (global $ga2))\n";
    w += "  (export \"t0\" (tag $t0))\n  (export \"t1\" (tag $t1))\n";
    for shape in &SHAPES {
        let name = shape.name;
        writeln!(w, "  (func (export \"{name}\") (result (ref null ${name})) (ref.null ${name}))")
            .expect("a string takes everything");
    }
    w + ")\n"
}

/// What a program imports instead of having it inside.
pub fn imports() -> String {
    let mut w = String::new();
    let sees = [("begin", "(param i32)"), ("any", "(param anyref)"), ("extern", "(param externref)")];
    let more = [("func", "(param funcref)"), ("exn", "(param exnref)"), ("finish", "(result i64)")];
    for (name, ty) in sees.into_iter().chain(more) {
        writeln!(w, "  (import \"kit\" \"{name}\" (func $see_{name} {ty}))").expect("a string takes everything");
    }
    for f in 0..FUNCS {
        writeln!(w, "  (import \"kit\" \"f{f}\" (func $f{f} (type $fn)))").expect("a string takes everything");
    }
    w += "  (import \"kit\" \"g0\" (func $g0 (type $gn)))\n";
    w += "  (import \"kit\" \"ft\" (table $ft 18 funcref))\n";
    w += "  (import \"kit\" \"a2\" (global $ga2 (mut anyref)))\n";
    w += "  (import \"kit\" \"t0\" (tag $t0 (param anyref externref)))\n";
    w += "  (import \"kit\" \"t1\" (tag $t1 (param i64 (ref null $pair))))\n";
    for (name, ty) in HOST {
        writeln!(w, "  (import \"host\" \"{name}\" (func ${name} {ty}))").expect("a string takes everything");
    }
    w
}

/// The host's functions that programs call by name.
pub const HOST: [(&str, &str); 6] = [
    ("gc", "(param i32)"),
    ("make", "(result externref)"),
    ("check", "(param i64)"),
    ("see", "(param anyref)"),
    ("hold", "(param i32 anyref)"),
    ("held", "(param i32) (result anyref)"),
];

/// The kit and what stands for the host, for a program that is to run alone. `expected` are the numbers that it checks.
pub fn inside(expected: &[u64]) -> String {
    let bytes: String =
        expected.iter().flat_map(|n| n.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect::<String>();
    let pages = expected.len() * 8 / 65536 + 1;
    format!(
        r#"  (memory {pages}) (data (i32.const 0) "{bytes}")
  (global $next (mut i32) (i32.const 0)) (global $made (mut i32) (i32.const 0))
  (table $holds 4 anyref)
  (func $check (param $seen i64)
    (if (i64.ne (i64.load (global.get $next)) (local.get $seen)) (then (unreachable)))
    (global.set $next (i32.add (global.get $next) (i32.const 8))))
  (func $gc (param i32) (drop (struct.new_default $num)) (drop (struct.new_default $num)))
  (func $number_of (param externref) (result i32) (unreachable))
  (func $make (result externref)
    (global.set $made (i32.add (global.get $made) (i32.const 1)))
    (extern.convert_any (struct.new $host (i32.sub (global.get $made) (i32.const 1)))))
  (func $see (param anyref)
    (call $see_begin (i32.const 40)) (call $see_any (local.get 0)) (call $check (call $see_finish)))
  (func $hold (param i32 anyref) (table.set $holds (local.get 0) (local.get 1)))
  (func $held (param i32) (result anyref) (table.get $holds (local.get 0)))
  (func $f11 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 11)) (ref.null extern))))
    (struct.new $pair (local.get $a) (ref.i31 (local.get $n))) (local.get $e))
  (func $f12 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 12)) (ref.null extern))))
    (throw $t0 (local.get $a) (local.get $e)))
  (func $f13 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 13)) (ref.null extern))))
    (call $f3 (local.get $a) (local.get $e) (local.get $n)) (call $gc (i32.const 0)))
  (func $f14 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 14)) (ref.null extern))))
    (array.new_fixed $refs 3 (local.get $a) (any.convert_extern (local.get $e)) (ref.i31 (local.get $n))) (local.get $e))
  (func $f15 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 15)) (ref.null extern))))
    (if (ref.test (ref $pair) (local.get $a))
      (then (struct.set $pair 1 (ref.cast (ref $pair) (local.get $a)) (any.convert_extern (local.get $e)))))
    (local.get $a) (local.get $e))
{}"#,
        definitions()
    )
    .replace("FN", SIGNATURE)
}

fn definitions() -> String {
    let mut w = FIXED.replace("FN", SIGNATURE);
    let elements: String = (0..FUNCS).map(|f| format!(" (ref.func $f{f})")).collect();
    writeln!(w, "  (table $ft funcref (elem{elements} (ref.func $g0) (ref.null func)))").expect("a string takes it");
    // The walk takes the objects in the order in which it met them.
    w += "  (func $see_finish (result i64)\n    (local $i i32) (local $k i32) (local $o (ref null eq))\n";
    for shape in &SHAPES {
        writeln!(w, "    (local ${0} (ref null ${0}))", shape.name).expect("a string takes everything");
    }
    w += "    (block $end (loop $objects\n";
    w += "      (br_if $end (i32.ge_u (local.get $i) (global.get $count)))\n";
    w += "      (local.set $o (array.get $met (global.get $met) (local.get $i)))\n";
    w += "      (local.set $i (i32.add (local.get $i) (i32.const 1)))\n";
    // Subtypes first.
    for (number, shape) in SHAPES.iter().enumerate().rev() {
        let name = shape.name;
        let hash = code::SHAPE | (number as u64) << 8;
        writeln!(
            w,
            "      (if (ref.test (ref ${name}) (local.get $o)) (then\n        \
                   (local.set ${name} (ref.cast (ref ${name}) (local.get $o)))\n        \
                   (call $mix (i64.const {hash}))"
        )
        .expect("a string takes everything");
        match shape.body {
            Body::Struct(fields) => {
                for (field, storage) in fields.iter().enumerate() {
                    let get = format!("(struct.{} ${name} {field} (local.get ${name}))", storage.get());
                    writeln!(w, "        {}", see(*storage, &get)).expect("a string takes everything");
                }
            }
            Body::Array(storage) => {
                let get = format!("(array.{} ${name} (local.get ${name}) (local.get $k))", storage.get());
                writeln!(
                    w,
                    "        (call $mix (i64.extend_i32_u (array.len (local.get ${name}))))\n        \
                             (local.set $k (i32.const 0))\n        \
                             (block $done (loop $elements\n          \
                               (br_if $done (i32.ge_u (local.get $k) (array.len (local.get ${name}))))\n          \
                               {}\n          \
                               (local.set $k (i32.add (local.get $k) (i32.const 1)))\n          \
                               (br $elements)))",
                    see(storage, &get)
                )
                .expect("a string takes everything");
            }
        }
        w += "        (br $objects)))\n";
    }
    w += "      (unreachable)))\n    (global.set $met (ref.null $met))\n    (global.get $hash))\n";
    w
}

/// Adds what `get` leaves to the hash.
fn see(storage: Storage, get: &str) -> String {
    match storage {
        Storage::Ref(kind) => format!("(call $see_{} {get})", super::text::see(kind)),
        _ => format!("(call $mix {})", storage.bits(get)),
    }
}

/// What `FN` stands for below: a function of type `$fn`, whose parameters have names.
const SIGNATURE: &str = "(type $fn) (param $a anyref) (param $e externref) (param $n i32) (result anyref externref)";

/// `$see_begin` with the number of objects to tell apart, then the values to start from, then `$see_finish`: the hash of
/// all that can be reached, in which objects are the numbers of their places among those met.
const FIXED: &str = r#"  (tag $t0 (param anyref externref))
  (tag $t1 (param i64 (ref null $pair)))
  (global $ga2 (mut anyref) (ref.null any))
  (global $met (mut (ref null $met)) (ref.null $met))
  (global $count (mut i32) (i32.const 0))
  (global $hash (mut i64) (i64.const 0))
  (func $mix (param $with i64)
    (global.set $hash (i64.mul (i64.rotl (i64.xor (global.get $hash) (local.get $with)) (i64.const 25))
                               (i64.const 0x9e3779b97f4a7c15))))
  (func $see_begin (param $places i32)
    (global.set $met (array.new_default $met (local.get $places)))
    (global.set $count (i32.const 0))
    (global.set $hash (i64.const 0)))
  (func $tagged (param $n i32) (param $tag i64)
    (call $mix (i64.or (i64.shl (i64.extend_i32_u (local.get $n)) (i64.const 8)) (local.get $tag))))
  (func $see_object (param $o (ref eq)) (local $i i32)
    (block $new (loop $next
      (br_if $new (i32.ge_u (local.get $i) (global.get $count)))
      (if (ref.eq (array.get $met (global.get $met) (local.get $i)) (local.get $o))
        (then (call $tagged (local.get $i) (i64.const 3)) (return)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next)))
    (if (i32.ge_u (local.get $i) (array.len (global.get $met))) (then (call $mix (i64.const 4)) (return)))
    (array.set $met (global.get $met) (local.get $i) (local.get $o))
    (global.set $count (i32.add (local.get $i) (i32.const 1)))
    (call $tagged (local.get $i) (i64.const 3)))
  (func $see_any (param $a anyref)
    (if (ref.is_null (local.get $a)) (then (call $mix (i64.const 0)) (return)))
    (if (ref.test (ref i31) (local.get $a))
      (then (call $tagged (i31.get_s (ref.cast (ref i31) (local.get $a))) (i64.const 1)) (return)))
    (if (ref.test (ref $host) (local.get $a))
      (then (call $tagged (struct.get $host 0 (ref.cast (ref $host) (local.get $a))) (i64.const 2)) (return)))
    (if (ref.test (ref eq) (local.get $a)) (then (call $see_object (ref.cast (ref eq) (local.get $a))) (return)))
    (call $tagged (call $number_of (extern.convert_any (local.get $a))) (i64.const 2)))
  (func $see_extern (param $e externref) (call $see_any (any.convert_extern (local.get $e))))
  (func $see_func (param $f funcref)
    (if (ref.is_null (local.get $f)) (then (call $mix (i64.const 0)) (return)))
    (if (ref.test (ref $fn) (local.get $f))
      (then
        (call_ref $fn (ref.null any) (ref.null extern) (i32.const -1) (ref.cast (ref $fn) (local.get $f)))
        (drop)
        (ref.cast (ref i31)) (i31.get_u) (i64.const 5) (call $tagged) (return)))
    (call $tagged (call_ref $gn (i32.const 0) (ref.cast (ref $gn) (local.get $f))) (i64.const 5)))
  (func $see_exn (param $x exnref) (local $e externref) (local $p (ref null $pair))
    (if (ref.is_null (local.get $x)) (then (call $mix (i64.const 0)) (return)))
    (block $caught1 (result i64 (ref null $pair))
      (block $caught0 (result anyref externref)
        (try_table (catch $t0 $caught0) (catch $t1 $caught1) (throw_ref (local.get $x)))
        (unreachable))
      (local.set $e)
      (call $mix (i64.const 6))
      (call $see_any)
      (call $see_extern (local.get $e))
      (return))
    (local.set $p)
    (call $mix (i64.const 7))
    (call $mix)
    (call $see_any (local.get $p)))
  (func $f0 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 0)) (ref.null extern))))
    (drop (struct.new_default $num))
    (local.get $a) (local.get $e))
  (func $f1 FN (local $p (ref null $pair))
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 1)) (ref.null extern))))
    (if (i32.eqz (local.get $n)) (then (call $gc (i32.const 1)) (return (local.get $a) (local.get $e))))
    (local.set $p (struct.new $pair (local.get $a) (any.convert_extern (local.get $e))))
    (call $f1 (ref.null any) (ref.null extern) (i32.sub (local.get $n) (i32.const 1))) (drop) (drop)
    (struct.get $pair 0 (local.get $p)) (extern.convert_any (struct.get $pair 1 (local.get $p))))
  (func $f2 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 2)) (ref.null extern))))
    (struct.new $pair (local.get $a) (any.convert_extern (local.get $e))) (local.get $e))
  (func $f3 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 3)) (ref.null extern))))
    (if (i32.eqz (local.get $n)) (then (return (local.get $a) (local.get $e))))
    (return_call $f3 (struct.new $pair (local.get $a) (ref.i31 (local.get $n))) (local.get $e)
      (i32.sub (local.get $n) (i32.const 1))))
  (func $f4 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 4)) (ref.null extern))))
    (if (i32.eqz (local.get $n)) (then (return (local.get $a) (local.get $e))))
    (return_call_indirect $ft (type $fn)
      (struct.new $node (local.get $a) (ref.null any) (local.get $n) (local.get $e) (ref.null $pair)) (local.get $e)
      (i32.sub (local.get $n) (i32.const 1)) (i32.const 4)))
  (func $f5 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 5)) (ref.null extern))))
    (if (i32.eqz (local.get $n)) (then (return (local.get $a) (local.get $e))))
    (return_call_ref $fn (struct.new $box (local.get $a) (ref.null $pair)) (local.get $e)
      (i32.sub (local.get $n) (i32.const 1)) (ref.func $f5)))
  (func $f6 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 6)) (ref.null extern))))
    (any.convert_extern (local.get $e)) (extern.convert_any (local.get $a)))
  (func $f7 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 7)) (ref.null extern))))
    (throw $t0 (local.get $a) (local.get $e)))
  (func $f8 FN (local $x exnref) (local $p (ref null $pair))
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 8)) (ref.null extern))))
    (if (i32.eqz (local.get $n)) (then (throw $t0 (local.get $a) (local.get $e))))
    (local.set $p (struct.new $pair (local.get $a) (ref.i31 (local.get $n))))
    (block $caught (result exnref)
      (try_table (catch_all_ref $caught) (call $f8 (local.get $a) (local.get $e) (i32.sub (local.get $n) (i32.const 1))) (drop) (drop))
      (unreachable))
    (local.set $x)
    (drop (struct.new $pair (local.get $a) (local.get $p)))
    (throw_ref (local.get $x)))
  (func $f9 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 9)) (ref.null extern))))
    (block $caught (result anyref externref)
      (try_table (catch $t0 $caught) (call $f8 (local.get $a) (local.get $e) (local.get $n)) (drop) (drop))
      (unreachable)))
  (func $f10 FN
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (ref.i31 (i32.const 10)) (ref.null extern))))
    (return_call $f11 (local.get $a) (local.get $e) (local.get $n)))
  (func $g0 (type $gn) (i32.const 16))
"#;
