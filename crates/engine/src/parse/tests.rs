use super::refusal::truncated_part;
use super::*;
use crate::types::{HeapType, RefType, ValType};
use wasmparser::{BinaryReader, FunctionBody};

const SAMPLE: &str = r#"
    (module $sample
      (rec (type $node (sub (struct (field (mut (ref null $node))) (field i32)))))
      (type $bytes (array (mut i8)))
      (type $unary (func (param i32) (result i32)))
      (type $thrown (func (param i32)))
      (import "env" "f" (func $imported (type $unary)))
      (import "env" "g" (global $base i32))
      (import "env" "t" (table 1 10 funcref))
      (import "env" "m" (memory 1))
      (import "env" "e" (tag $foreign (type $thrown)))
      (table $own 2 4 (ref null $unary) (ref.func $in_table))
      (table $plain 3 anyref)
      (memory $second 1 2)
      (tag $own_tag (type $thrown))
      (global $number (mut i64) (i64.mul (i64.const 6) (i64.const 7)))
      (global $float f32 (f32.const -1.5))
      (global $list (ref $node) (struct.new $node (ref.null none) (i32.add (global.get $base) (i32.const 1))))
      (global $array (ref $bytes) (array.new_fixed $bytes 2 (i32.const 1) (i32.const 2)))
      (global $boxed anyref (any.convert_extern (ref.null extern)))
      (global $function funcref (ref.func $in_global))
      (export "call" (func $exported))
      (export "again" (func $exported))
      (export "imported" (func $imported))
      (export "memory" (memory $second))
      (export "table" (table $own))
      (export "global" (global $list))
      (export "tag" (tag $own_tag))
      (start $started)
      (elem (table 0) (i32.const 0) func $in_segment)
      (elem declare func $declared)
      (elem (ref null $unary) (ref.func $in_expression) (ref.null nofunc))
      (data (memory $second) (i32.const 8) "active")
      (data "passive")
      (func $never (type $unary) (local.get 0))
      (func $exported (type $unary) (local.get 0))
      (func $in_table (type $unary) (local.get 0))
      (func $in_global)
      (func $in_segment)
      (func $declared)
      (func $in_expression (type $unary) (call $exported (local.get 0)))
      (func $started (drop (ref.func $declared))))"#;

fn parse_text(text: &str) -> Result<Parsed, ParseError> {
    parse(&wat::parse_str(text).unwrap(), &TypeRegistry::new().unwrap())
}

fn refusal(text: &str) -> String {
    parse_text(text).expect_err("the module is refused").to_string()
}

/// What a whole compilation reports: declarations first, then bodies in order.
fn check_all(bytes: &[u8]) -> Result<(), ParseError> {
    let parsed = parse(bytes, &TypeRegistry::new().unwrap())?;
    for (func, range) in parsed.funcs.into_iter().zip(&parsed.info.bodies) {
        let mut validator = func.into_validator(FuncValidatorAllocations::default());
        let reader = BinaryReader::new_features(&bytes[range.clone()], range.start as u64, FEATURES);
        let body = FunctionBody::new(reader);
        validator.validate(&body).map_err(|error| classify(bytes, error))?;
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), ParseError> {
    check_all(&wat::parse_str(text).unwrap())
}

#[test]
fn index_spaces_begin_with_the_imports() {
    let info = parse_text(SAMPLE).unwrap().info;
    assert_eq!(info.name.as_deref(), Some("sample"));
    let imports: Vec<_> = info.imports.iter().map(|i| (i.module.as_str(), i.name.as_str(), i.kind, i.index)).collect();
    use ExternKind::*;
    let expected = [("f", Func), ("g", Global), ("t", Table), ("m", Memory), ("e", Tag)];
    assert_eq!(imports, expected.map(|(name, kind)| ("env", name, kind, 0)));
    assert_eq!((info.imported_funcs, info.funcs.len()), (1, 9));
    assert_eq!((info.imported_tables, info.tables.len()), (1, 3));
    assert_eq!((info.imported_memories, info.memories.len()), (1, 2));
    assert_eq!((info.imported_globals, info.globals.len()), (1, 7));
    assert_eq!((info.imported_tags, info.tags.len()), (1, 2));
    let [node, bytes, unary, thrown] = [0, 1, 2, 3].map(|index| info.types.get(index));
    assert_eq!(info.funcs[..3], [unary; 3]);
    assert_eq!(info.tags, [thrown; 2]);
    assert_eq!(info.tables[1].element, RefType { nullable: true, heap: HeapType::ConcreteFunc(unary) });
    assert_eq!((info.tables[1].min, info.tables[1].max), (2, Some(4)));
    assert_eq!((info.memories[1].min, info.memories[1].max), (1, Some(2)));
    assert_eq!((info.globals[1].content, info.globals[1].mutable), (ValType::I64, true));
    assert_eq!(info.start, Some(8));
    assert_eq!(info.extern_type(Func, 1), ExternType::Func(unary));
    assert_eq!(info.extern_type(Global, 3), ExternType::Global(info.globals[3]));
    assert_eq!(info.extern_type(Table, 2), ExternType::Table(info.tables[2]));
    assert_eq!(info.extern_type(Memory, 0), ExternType::Memory(info.memories[0]));
    assert_eq!(info.extern_type(Tag, 1), ExternType::Tag(TagType { func: thrown }));

    use ConstOp::*;
    let expected: [&[ConstOp]; 6] = [
        &[I64(6), I64(7), I64Mul],
        &[F32((-1.5f32).to_bits())],
        &[RefNull, GlobalGet(0), I32(1), I32Add, StructNew(node)],
        &[I32(1), I32(2), ArrayNewFixed(bytes, 2)],
        &[RefNull, AnyConvertExtern],
        &[RefFunc(4)],
    ];
    assert!(info.global_inits.iter().map(|init| &init[..]).eq(expected));
    assert_eq!(info.table_inits.len(), 2);
    assert_eq!(info.table_inits[0].as_deref(), Some(&[RefFunc(3)][..]));
    assert_eq!(info.table_inits[1], None);
}

#[test]
fn exports_and_names() {
    let info = parse_text(SAMPLE).unwrap().info;
    let exports: Vec<_> = info.exports.iter().map(|e| (e.name.as_str(), e.kind, e.index)).collect();
    use ExternKind::*;
    let expected = [
        ("call", Func, 2),
        ("again", Func, 2),
        ("imported", Func, 0),
        ("memory", Memory, 1),
        ("table", Table, 1),
        ("global", Global, 3),
        ("tag", Tag, 1),
    ];
    assert_eq!(exports, expected);
    assert_eq!(info.func_name(0), Some("imported"));
    assert_eq!(info.func_name(8), Some("started"));
}

#[test]
fn segments() {
    let bytes = wat::parse_str(SAMPLE).unwrap();
    let info = parse(&bytes, &TypeRegistry::new().unwrap()).unwrap().info;
    let [active, declared, passive] = &info.elements[..] else { panic!("three element segments") };
    assert!(matches!(&active.mode, SegmentMode::Active { target: 0, offset } if **offset == [ConstOp::I32(0)]));
    assert!(matches!(&active.items, ElementItems::Funcs(funcs) if **funcs == [5]));
    assert_eq!(active.ty, RefType { nullable: false, heap: HeapType::Func });
    assert!(matches!(declared.mode, SegmentMode::Declared));
    assert!(matches!(passive.mode, SegmentMode::Passive));
    let ElementItems::Exprs(exprs) = &passive.items else { panic!("expressions") };
    assert!(exprs.iter().map(|expr| &expr[..]).eq([[ConstOp::RefFunc(7)], [ConstOp::RefNull]]));
    let [active, passive] = &info.data[..] else { panic!("two data segments") };
    assert!(matches!(&active.mode, SegmentMode::Active { target: 1, offset } if **offset == [ConstOp::I32(8)]));
    assert_eq!(&bytes[active.bytes.clone()], b"active");
    assert!(matches!(passive.mode, SegmentMode::Passive));
    assert_eq!(&bytes[passive.bytes.clone()], b"passive");
}

#[test]
fn functions_that_escape_are_numbered_in_order() {
    let info = parse_text(SAMPLE).unwrap().info;
    let mut escaping: Vec<_> = info.escaping.iter().map(|(function, position)| (*function, *position)).collect();
    escaping.sort_unstable();
    // Neither the import, nor the function that is only called or not even that.
    assert_eq!(escaping, [(2, 0), (3, 1), (4, 2), (5, 3), (6, 4), (7, 5), (8, 6)]);
    assert!(info.offsets.size >= info.offsets.func_refs + 7 * crate::vm::VMFuncRef::SIZE as u32);
}

#[test]
fn bodies_validate_apart_from_the_rest() {
    let bytes = wat::parse_str(SAMPLE).unwrap();
    let parsed = parse(&bytes, &TypeRegistry::new().unwrap()).unwrap();
    assert_eq!((parsed.funcs.len(), parsed.info.bodies.len()), (8, 8));
    assert_eq!(check_all(&bytes), Ok(()));
    let error = check_text("(module (func) (func (result i32) (i64.const 1)))").unwrap_err();
    assert!(matches!(error, ParseError::Invalid { .. }), "{error}");
}

#[test]
fn unsupported_features_are_named() {
    let cases = [
        ("stack switching", "(module (func (param contref)))"),
        ("stack switching", "(module (global contref (ref.null cont)))"),
        ("stack switching", "(module (tag $t) (func (suspend $t)))"),
        ("stack switching", "(module (type (struct (field contref))))"),
        ("memory control", "(module (memory 1) (func (memory.discard (i32.const 0) (i32.const 0))))"),
        ("the compact import section", "(module (import \"m\" (item \"f\" (func)) (item \"g\" (func))))"),
        (
            "the acquire-release atomics proposal",
            "(module (memory 1 1 shared) (func (drop (i32.atomic.load acqrel (i32.const 0)))))",
        ),
        ("stack switching", "(module (type $f (func)) (type $k (cont $f)))"),
        ("the shared-everything threads proposal", "(module (global (shared i32) (i32.const 1)))"),
        ("the custom descriptors proposal", "(module (func (param (ref (exact 0)))) (type (struct)))"),
    ];
    for (feature, text) in cases {
        let error = check_text(text).expect_err(text);
        assert!(matches!(error, ParseError::Unsupported { .. }), "{text}: {error:?}");
        let message = error.to_string();
        assert!(message.starts_with(feature), "{text}: {message}");
        assert!(message.contains(" is not supported yet (at offset 0x"), "{text}: {message}");
    }
}

#[test]
fn modules_that_mix_unsupported_features_name_one() {
    for text in [
        "(module (memory 1) (func (param contref) (memory.discard (i32.const 0) (i32.const 0))))",
        // Each alone leaves an error in the same place, about the other.
        "(module (type $f (func)) (type (shared (cont $f))))",
    ] {
        let error = check_text(text).unwrap_err();
        assert!(matches!(error, ParseError::Unsupported { .. }), "{text}: {error:?}");
    }
}

#[test]
fn what_no_feature_would_make_valid_is_invalid() {
    for text in [
        "(module (func (result i32)))",
        "(module (type $f (func)) (type (cont $f)) (func (result i32)))",
        "(module (func (export \"a\")) (func (export \"a\")))",
        "(module (memory 65537))",
        "(module (global i32 (i64.const 0)))",
        // Custom descriptors would allow the cast to a type that is no subtype.
        "(module (func (result anyref) (br_on_cast 0 eqref anyref (unreachable))))",
    ] {
        let error = check_text(text).expect_err(text);
        assert!(matches!(error, ParseError::Invalid { .. }), "{text}: {error:?}");
    }
}

#[test]
fn legacy_exceptions_are_refused_before_compilation() {
    for text in [
        "(module (tag $t) (func try catch $t end))",
        "(module (func) (func try catch_all rethrow 0 end))",
        "(module (func try delegate 0))",
        "(module (func (drop (i32.const 6)) try end))",
    ] {
        let bytes = wat::parse_str(text).unwrap();
        let error = parse(&bytes, &TypeRegistry::new().unwrap()).expect_err(text);
        assert!(matches!(error, ParseError::LegacyExceptions { .. }), "{text}: {error:?}");
        let message = error.to_string();
        assert!(message.contains("legacy exception handling") && message.contains("--translate-to-exnref"));
    }
    // The byte of `try` as an operand, and the instructions of today.
    check_text("(module (func (drop (i32.const 6))) (func (block (try_table (catch_all 0)))))").unwrap();
}

#[test]
fn components_are_refused() {
    let message = refusal("(component)");
    assert!(message.contains("component"), "{message}");
}

#[test]
fn truncated_modules_are_refused() {
    let bytes = wat::parse_str(SAMPLE).unwrap();
    let boundaries: Vec<usize> = (8..=bytes.len()).filter(|len| truncated_part(&bytes[..*len]).is_none()).collect();
    assert_eq!(boundaries.len(), 14, "the header and thirteen sections");
    for len in 0..bytes.len() {
        let result = check_all(&bytes[..len]);
        if boundaries.contains(&len) {
            // A module may end after any section; this one's needs its code, and its declarations need its functions.
            assert!(!matches!(result, Err(ParseError::Truncated { .. })), "{len}: {result:?}");
        } else {
            let expected = matches!(result, Err(ParseError::Truncated { offset, .. }) if offset == len);
            assert!(expected, "{len}: {result:?}");
        }
    }
    let message = parse(&bytes[..40], &TypeRegistry::new().unwrap()).unwrap_err().to_string();
    assert_eq!(message, "the module is truncated: it ends at offset 0x28, in the middle of the import section");
}

#[test]
fn flipped_bits_do_not_panic() {
    let bytes = wat::parse_str(SAMPLE).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            let _ = check_all(&bytes);
        }
    }
}

#[test]
fn what_is_no_module_is_invalid() {
    for bytes in [&b"hello, world"[..], b"\0asm\x02\0\0\0", b"PK"] {
        let error = parse(bytes, &TypeRegistry::new().unwrap()).unwrap_err();
        assert!(matches!(error, ParseError::Invalid { .. }), "{error:?}");
    }
}

#[test]
fn malformed_name_sections_are_ignored() {
    let mut bytes = wat::parse_str("(module (func))").unwrap();
    // Custom section "name" whose function subsection says that it has 127 names.
    bytes.extend([0, 8, 4, b'n', b'a', b'm', b'e', 1, 1, 127]);
    let info = parse(&bytes, &TypeRegistry::new().unwrap()).unwrap().info;
    assert!(info.func_names.is_empty());
}

#[test]
fn large_modules_parse_in_linear_time() {
    let mut text = String::from("(module (rec");
    for i in 0..9_000 {
        text += &format!("(type (sub (struct (field (ref null {})) (field i32))))", (i + 1) % 9_000);
    }
    text += ")";
    for i in 0..100_000 {
        text += &format!("(func (export \"f{i}\") (result i32) i32.const {i})");
    }
    text += ")";
    let bytes = wat::parse_str(&text).unwrap();
    let registry = TypeRegistry::new().unwrap();
    let start = std::time::Instant::now();
    let info = parse(&bytes, &registry).unwrap().info;
    println!("{} bytes: {:?}", bytes.len(), start.elapsed());
    assert_eq!((info.types.indices().len(), info.funcs.len()), (9_001, 100_000));
    assert_eq!((info.escaping.len(), info.escaping[&99_999]), (100_000, 99_999));
}

#[test]
fn instances_beyond_1_gib_are_refused() {
    let info = ModuleInfo { tags: vec![0; 300_000_000], ..ModuleInfo::default() };
    let error = Decoder { info, declared: Vec::new() }.finish().unwrap_err();
    assert!(error.to_string().contains("larger than 1 GiB"), "{error}");
}
