use super::*;
use gc_api::{EXCEPTION_TAG_OFFSET, EXTERN_TYPE, Shape};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

fn registry() -> TypeRegistry {
    TypeRegistry::new().unwrap()
}

/// Registers a module both ways that there are, which must agree, and returns its canonical indices.
fn register(registry: &TypeRegistry, wat: &str) -> Vec<TypeIndex> {
    let wasm = wat::parse_str(wat).unwrap();
    let types = Validator::new_with_features(WasmFeatures::all()).validate_all(&wasm).unwrap();
    let by_ids = registry.register_module(types.as_ref()).unwrap();
    let groups: Vec<_> = Parser::new(0)
        .parse_all(&wasm)
        .filter_map(|payload| match payload.unwrap() {
            Payload::TypeSection(section) => Some(section.into_iter().map(Result::unwrap)),
            _ => None,
        })
        .flatten()
        .collect();
    let by_indices = registry.register_rec_groups(groups).unwrap();
    assert_eq!(by_ids.indices(), by_indices.indices());
    by_ids.indices().to_vec()
}

#[test]
fn equal_types_of_two_modules_have_one_index() {
    let registry = registry();
    let a = register(
        &registry,
        "(module (type $pair (sub (struct (field i32 (ref null 0)))))
            (rec (type $f (func (param (ref $g)))) (type $g (func (param (ref $f) (ref $pair))))))",
    );
    let b = register(
        &registry,
        "(module (type (array i8)) (type $x (struct)) (type $pair (sub (struct (field i32 (ref null 2)))))
            (rec (type $f (func (param (ref $g)))) (type $g (func (param (ref $f) (ref $pair)))))
            (rec (type $h (func (param (ref $i)))) (type $i (func (param (ref $h) (ref $pair))))))",
    );
    assert_eq!([a[0], a[1], a[2]], [b[2], b[3], b[4]]);
    assert_eq!([b[5], b[6]], [b[3], b[4]], "equal groups of one module");
    let mut distinct = b[..5].to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 5);
    assert!(!distinct.contains(&EXTERN_TYPE));
}

#[test]
fn finality_order_supertypes_mutability_and_group_tell_types_apart() {
    let registry = registry();
    let types = register(
        &registry,
        "(module
            (type (struct (field i32)))
            (type (sub (struct (field i32))))
            (type (struct (field (mut i32))))
            (type (struct (field i8)))
            (type (sub final 1 (struct (field i32))))
            (rec (type (struct (field i32))) (type (func)))
            (rec (type (func)) (type (struct (field i32))))
            (type (func (param i32)))
            (type (func (result i32)))
            (type (array i32))
            (type (struct (field (ref null 0))))
            (type (struct (field (ref 0))))
            (type (struct (field (ref 1)))))",
    );
    let mut distinct = types.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), types.len());
    assert_eq!(registry.get(types[4]).supertype, Some(types[1]));
    assert!(registry.is_subtype(types[4], types[1]) && !registry.is_subtype(types[1], types[4]));
}

#[test]
fn a_groups_relative_references_are_not_absolute_ones() {
    let registry = registry();
    // The second module's group would be the first's if a reference out of the group looked like one into it.
    let a = register(&registry, "(module (rec (type (struct (field (ref null 0)))) (type (struct))))");
    let b = register(
        &registry,
        "(module (rec (type (struct (field (ref null 0)))) (type (struct)))
            (rec (type (struct (field (ref null 0)))) (type (struct))))",
    );
    assert_eq!(a, b[..2]);
    assert_ne!(b[0], b[2]);
    let field = |ty: TypeIndex| registry.struct_type(ty).fields[0].storage;
    let to = |ty| StorageType::Val(ValType::Ref(RefType::nullable(HeapType::ConcreteStruct(ty))));
    assert_eq!((field(b[0]), field(b[2])), (to(b[0]), to(b[0])));
}

#[test]
fn a_hosts_types_are_a_modules() {
    let registry = registry();
    let types = register(
        &registry,
        "(module (type (func (param i32 eqref) (result f64 externref))) (type (struct (field (mut i16) v128)))
            (type (array (mut (ref 1)))) (type (sub (func))) (type (sub final 3 (func))))",
    );
    let func = FuncType::new([ValType::I32, ValType::Ref(RefType::EQREF)], [ValType::F64, ValType::EXTERNREF]);
    assert_eq!(registry.register_func(func), Ok(types[0]));
    let fields = [
        FieldType { storage: StorageType::I16, mutable: true },
        FieldType { storage: ValType::V128.into(), mutable: false },
    ];
    assert_eq!(registry.register_struct(StructType { fields: fields.into() }), Ok(types[1]));
    let reference = ValType::Ref(RefType::non_null(registry.heap_type(types[1])));
    let element = FieldType { storage: reference.into(), mutable: true };
    assert_eq!(registry.register_array(ArrayType { element }), Ok(types[2]));
    let mut sub = registry.get(types[4]).clone();
    assert_eq!(registry.register(sub.clone()), Ok(types[4]));
    sub.supertype = Some(types[4]);
    assert!(matches!(registry.register(sub.clone()), Err(TypeError::NoSubtype { .. })), "its supertype is final");
    sub.supertype = Some(types[3]);
    sub.composite = CompositeType::Func(FuncType::new([ValType::I32], []));
    let error = registry.register(sub).unwrap_err().to_string();
    let expected = format!(
        "(sub final ${} (func (param i32))) is no subtype of (sub (func)), which it declares as its supertype",
        types[3]
    );
    assert_eq!(error, expected);
}

#[test]
fn limits_are_errors() {
    let registry = registry();
    let many = |count| FuncType::new(vec![ValType::I32; count], []);
    assert!(registry.register_func(many(1000)).is_ok());
    assert_eq!(registry.register_func(many(1001)), Err(TypeError::TooManyParams { count: 1001 }));
    let wide =
        |count| StructType { fields: vec![FieldType { storage: ValType::V128.into(), mutable: false }; count].into() };
    let widest = registry.register_struct(wide(10_000)).unwrap();
    assert_eq!(registry.struct_layout(widest).size, 160_008);
    assert_eq!(registry.register_struct(wide(10_001)), Err(TypeError::TooManyFields { count: 10_001 }));
    let mut ty = SubType { is_final: false, supertype: None, composite: CompositeType::Func(many(1)) };
    for _ in 0..=MAX_SUBTYPE_DEPTH {
        ty.supertype = Some(registry.register(ty.clone()).unwrap());
    }
    assert_eq!(registry.register(ty), Err(TypeError::TooDeep));
}

#[test]
fn displays_hold_the_path_from_the_root() {
    let registry = registry();
    let mut wat = String::from("(module (type (sub (struct)))");
    (0..MAX_SUBTYPE_DEPTH).for_each(|sup| write!(wat, "(type (sub {sup} (struct)))").unwrap());
    wat.push_str("(type (sub 5 (struct (field i32)))))");
    let types = register(&registry, &wat);
    let (chain, side) = (&types[..64], types[64]);
    // SAFETY: a display is 64 words at its type's place in the table, which is mapped while the registry lives; no other
    // thread writes.
    let display = |ty: TypeIndex| unsafe { *registry.displays().add(ty as usize * DISPLAY_BYTES).cast::<[u32; 64]>() };
    assert_eq!(display(chain[63]), chain);
    assert_eq!(display(EXTERN_TYPE), [0; 64]);
    assert_eq!(display(side)[..7], [chain[0], chain[1], chain[2], chain[3], chain[4], chain[5], side]);
    assert_eq!(display(side)[7..], [0; 57]);
    for (depth, &sup) in chain.iter().enumerate() {
        assert_eq!(registry.depth(sup) as usize, depth);
        assert!(registry.is_subtype(chain[63], sup));
        assert_eq!(registry.is_subtype(sup, chain[63]), depth == 63);
        assert_eq!(registry.is_subtype(side, sup), depth <= 5);
    }
}

#[test]
fn large_groups_take_linear_time() {
    let registry = registry();
    let types = 9_156;
    let mut wat = String::from("(module (rec");
    for ty in 0..types {
        let next = (ty + 1) % types;
        write!(wat, "(type (sub (struct (field (mut (ref null {next})) i64 (ref null {})))))", types - 1 - ty).unwrap();
    }
    wat.push_str("))");
    let wasm = wat::parse_str(&wat).unwrap();
    let validated = Validator::new_with_features(WasmFeatures::all()).validate_all(&wasm).unwrap();
    let start = Instant::now();
    let first = registry.register_module(validated.as_ref()).unwrap();
    let again = registry.register_module(validated.as_ref()).unwrap();
    // A few milliseconds; anything quadratic takes a hundred times as long.
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(first.indices(), again.indices());
    assert_eq!(first.indices().len(), types);
    let to = registry.struct_type(first.get(types as u32 - 1)).fields[0].storage.unpack();
    assert_eq!(to, ValType::Ref(RefType::nullable(first.heap(0))));
}

#[test]
fn layouts_are_packed_aligned_and_prefixes_of_subtypes() {
    let registry = registry();
    let types = register(
        &registry,
        "(module
            (type (struct (field anyref (ref null 0))))
            (type (sub (struct (field i8 i64 i16 funcref i31ref v128 i8))))
            (type (sub 1 (struct (field i8 i64 i16 nullfuncref (ref i31) v128 i8 externref))))
            (type (struct))
            (type (array i8)) (type (array i64)) (type (array v128)) (type (array funcref)) (type (array exnref)))",
    );
    let offsets = |ty: TypeIndex| {
        let layout = registry.struct_layout(ty);
        (layout.size, layout.fields.iter().map(|field| field.offset).collect::<Vec<_>>())
    };
    let refs = |ty: TypeIndex| match registry.shapes().get(ty) {
        Some(Shape::Fixed { size, refs }) => {
            assert_eq!(*size, registry.struct_layout(ty).size);
            refs.to_vec()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!((offsets(types[0]), refs(types[0])), ((16, vec![8, 12]), vec![8, 12]));
    assert_eq!((offsets(types[1]), refs(types[1])), ((64, vec![8, 16, 24, 28, 32, 40, 56]), vec![32]));
    assert_eq!((offsets(types[2]), refs(types[2])), ((64, vec![8, 16, 24, 28, 32, 40, 56, 60]), vec![32, 60]));
    assert_eq!((offsets(types[3]), refs(types[3])), ((8, vec![]), vec![]));
    let arrays: Vec<_> = types[4..]
        .iter()
        .map(|ty| {
            let ArrayLayout { base, element_log2, refs } = registry.array_layout(*ty);
            assert_eq!(registry.shapes().get(*ty), Some(&Shape::Array { base, element_log2, refs }));
            (base, element_log2, refs)
        })
        .collect();
    assert_eq!(arrays, [(12, 0, false), (16, 3, false), (16, 4, false), (12, 2, false), (12, 2, true)]);
}

#[test]
fn exceptions_are_laid_out_behind_their_tag() {
    let registry = registry();
    let func = registry.register_func(FuncType::new([ValType::EXTERNREF, ValType::F64, ValType::FUNCREF], [])).unwrap();
    let exception = registry.exception_type(func).unwrap();
    assert_eq!(registry.exception_type(func), Ok(exception));
    assert_ne!(exception, func);
    let layout = registry.exception_layout(exception);
    assert_eq!(layout.fields.iter().map(|field| field.offset).collect::<Vec<_>>(), [EXCEPTION_TAG_OFFSET + 4, 16, 24]);
    assert_eq!(registry.shapes().get(exception), Some(&Shape::Fixed { size: 32, refs: Box::new([12]) }));
    assert_eq!((registry.heap_type(exception), registry.exception_func(exception)), (HeapType::Exn, func));
    assert!(registry.is_subtype(exception, exception) && !registry.is_subtype(exception, func));
    let empty = registry.register_func(FuncType::new([], [])).unwrap();
    assert_eq!(registry.exception_layout(registry.exception_type(empty).unwrap()).size, 16);
}

/// The whole relation on heap types, with two concrete types of each kind, the second a subtype of the first.
#[test]
fn heap_types_form_four_lattices() {
    use HeapType::*;
    let registry = registry();
    let types = register(
        &registry,
        "(module (type (sub (func))) (type (sub 0 (func))) (type (sub (struct))) (type (sub 2 (struct)))
            (type (sub (array i8))) (type (sub 4 (array i8))))",
    );
    let [f, g] = [ConcreteFunc(types[0]), ConcreteFunc(types[1])];
    let [s, t] = [ConcreteStruct(types[2]), ConcreteStruct(types[3])];
    let [a, b] = [ConcreteArray(types[4]), ConcreteArray(types[5])];
    // Every type, and all its proper supertypes.
    let table: &[(HeapType, &[HeapType])] = &[
        (Func, &[]),
        (f, &[Func]),
        (g, &[f, Func]),
        (NoFunc, &[f, g, Func]),
        (Extern, &[]),
        (NoExtern, &[Extern]),
        (Exn, &[]),
        (NoExn, &[Exn]),
        (Any, &[]),
        (Eq, &[Any]),
        (I31, &[Eq, Any]),
        (Struct, &[Eq, Any]),
        (Array, &[Eq, Any]),
        (s, &[Struct, Eq, Any]),
        (t, &[s, Struct, Eq, Any]),
        (a, &[Array, Eq, Any]),
        (b, &[a, Array, Eq, Any]),
        (None, &[s, t, a, b, I31, Struct, Array, Eq, Any]),
    ];
    for (sub, supertypes) in table {
        for (sup, _) in table {
            let expected = sub == sup || supertypes.contains(sup);
            assert_eq!(registry.heap_matches(*sub, *sup), expected, "{sub} <: {sup}");
            let matches = |a: RefType, b: RefType| registry.val_matches(&a.into(), &b.into());
            assert_eq!(matches(RefType::non_null(*sub), RefType::nullable(*sup)), expected);
            assert_eq!(matches(RefType::nullable(*sub), RefType::nullable(*sup)), expected);
            assert_eq!(matches(RefType::non_null(*sub), RefType::non_null(*sup)), expected);
            assert!(!matches(RefType::nullable(*sub), RefType::non_null(*sup)));
        }
        assert!(registry.heap_matches(*sub, sub.top()) && registry.heap_matches(sub.bottom(), *sub));
    }
    assert!(registry.val_matches(&ValType::I32, &ValType::I32));
    assert!(
        !registry.val_matches(&ValType::I32, &ValType::I64) && !registry.val_matches(&ValType::I32, &ValType::ANYREF)
    );
}

#[test]
fn a_modules_types_convert_by_index_and_by_id() {
    let registry = registry();
    register(&registry, "(module (type (func (param i64))))");
    let wasm = wat::parse_str(
        "(module (type $s (struct)) (type $f (func (param (ref null $s)))) (type $a (array (mut (ref $f))))
            (table i64 3 9 (ref null $f)) (global (mut (ref null $a)) (ref.null none)) (memory 1 2) (tag (type $f)))",
    )
    .unwrap();
    let validated = Validator::new_with_features(WasmFeatures::all()).validate_all(&wasm).unwrap();
    let validated = validated.as_ref();
    let types = registry.register_module(validated).unwrap();
    let (s, f, a) = (types.get(0), types.get(1), types.get(2));
    let module = |index| wasmparser::HeapType::Concrete(wasmparser::UnpackedIndex::Module(index));
    assert_eq!(types.convert_heap(module(0)), HeapType::ConcreteStruct(s));
    assert_eq!(types.convert_heap(module(1)), HeapType::ConcreteFunc(f));
    assert_eq!(types.convert_heap(module(2)), HeapType::ConcreteArray(a));
    assert_eq!(types.get_id(validated.core_type_at_in_module(2)), a);
    let table = types.convert_table(validated.table_at(0));
    assert_eq!(table.to_string(), format!("(table i64 3 9 (ref null ${f}))"));
    assert_eq!(types.convert_global(validated.global_at(0)).to_string(), format!("(global (mut (ref null ${a})))"));
    assert_eq!(types.convert_memory(validated.memory_at(0)).to_string(), "(memory 1 2)");
    assert_eq!(registry.get(a).to_string(), format!("(array (mut (ref ${f})))"));
    assert_eq!(registry.get(f).to_string(), format!("(func (param (ref null ${s})))"));
    assert_eq!(ValType::Ref(RefType::STRUCTREF).to_string(), "(ref null struct)");
}

#[test]
fn types_beyond_webassembly_3_are_refused() {
    let registry = registry();
    for (wat, what) in [
        ("(module (type (shared (func))))", "shared types and descriptors are not supported"),
        ("(module (type (func)) (type (cont 0)))", "continuation types are not supported"),
        (
            "(module (type (struct)) (type (func (param (ref (exact 0))))))",
            "shared and exact references are not supported",
        ),
    ] {
        let wasm = wat::parse_str(wat).unwrap();
        let types = Validator::new_with_features(WasmFeatures::all()).validate_all(&wasm).unwrap();
        assert_eq!(registry.register_module(types.as_ref()).unwrap_err().to_string(), what, "{wat}");
    }
}

#[test]
fn threads_that_register_the_same_types_get_the_same_indices() {
    let registry = registry();
    let wasm = wat::parse_str(
        "(module (rec (type (sub (struct (field (ref null 1))))) (type (sub 0 (struct (field (ref null 1)))))))",
    )
    .unwrap();
    let validated = Validator::new_with_features(WasmFeatures::all()).validate_all(&wasm).unwrap();
    let all: Vec<Vec<TypeIndex>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| registry.register_module(validated.as_ref()).unwrap().indices().to_vec()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(registry.is_subtype(all[0][1], all[0][0]));
}
