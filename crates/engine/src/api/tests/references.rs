//! Types that the host defines, and references of all kinds.

use super::*;
use crate::types::{ArrayType, CompositeType, HeapType, SubType};

fn plain(composite: impl Into<CompositeType>) -> SubType {
    SubType::plain(composite.into())
}

#[test]
fn the_hosts_types_are_those_of_modules() {
    each::<()>(|store, linker| {
        let engine = store.engine().clone();
        let base = StructType::new([FieldType::new(ValType::I32, true)]);
        let base = SubType::with_finality_and_supertype(Finality::NonFinal, None, base);
        let base = engine.define_type(base).unwrap();
        let fields = [
            FieldType::new(ValType::I32, true),
            FieldType::new(RefType::nullable(HeapType::ConcreteStruct(base)), true),
        ];
        let derived = SubType::with_finality_and_supertype(Finality::Final, Some(base), StructType::new(fields));
        let derived = engine.define_type(derived).unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (type $base (sub (struct (field (mut i32)))))
              (type $derived (sub final $base (struct (field (mut i32)) (field (mut (ref null $base))))))
              (func (export "is") (param anyref) (result i32)
                (i32.add (ref.test (ref $base) (local.get 0)) (ref.test (ref $derived) (local.get 0)))))"#,
        );
        let pre = StructRefPre::new(&engine, derived).unwrap();
        let one = StructRef::new(&mut *store, base, &[Val::I32(1)]).unwrap();
        let two = pre.alloc(&mut *store, &[Val::I32(2), one.clone().into()]).unwrap();
        let mut is = |value: Val| call(store, instance, "is", &[value]).unwrap()[0].i32().unwrap();
        assert_eq!((is(one.into()), is(two.clone().into()), is(Val::AnyRef(None))), (1, 2, 0));
        store.gc(CollectionKind::Major);
        let inner = two.field(&mut *store, 1).unwrap();
        let Val::AnyRef(Some(inner)) = inner else { panic!("a reference") };
        assert_eq!(inner.as_struct(&*store).unwrap().field(&mut *store, 0).unwrap().i32(), Some(1));
        assert!(pre.alloc(&mut *store, &[Val::I32(2)]).unwrap_err().to_string().contains("1 values were given for 2"));
        assert!(pre.alloc(&mut *store, &[Val::I32(2), Val::I64(2)]).is_err());
    });
}

#[test]
fn definitions_that_make_no_sense_are_errors() {
    let engine = engine(&COLLECTORS[0]);
    let refused = |ty: SubType, reason: &str| {
        let error = engine.define_type(ty).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    };
    let int = StructType::new([FieldType::new(ValType::I32, false)]);
    let array = engine.define_type(plain(ArrayType::new(FieldType::new(StorageType::I8, true)))).unwrap();
    let last = engine.define_type(plain(int.clone())).unwrap();
    refused(SubType::with_finality_and_supertype(Finality::Final, Some(last), int.clone()), "no subtype");
    refused(
        SubType::with_finality_and_supertype(Finality::Final, Some(999_999), int.clone()),
        "no type of this engine",
    );
    refused(SubType::with_finality_and_supertype(Finality::Final, Some(u32::MAX), int), "no type of this engine");
    for heap in [HeapType::ConcreteStruct(array), HeapType::ConcreteFunc(last), HeapType::ConcreteArray(1 << 19)] {
        let field = FieldType::new(RefType::nullable(heap), false);
        refused(plain(StructType::new([field])), "no such type");
        refused(plain(ArrayType::new(field)), "no such type");
        refused(plain(FuncType::new([ValType::Ref(RefType::nullable(heap))], [])), "no such type");
    }
    assert!(StructRefPre::new(&engine, array).is_err());
    assert!(StructRefPre::new(&engine, 1 << 19).is_err());
    let open = StructType::new([FieldType::new(ValType::I32, true)]);
    let open = engine.define_type(SubType::with_finality_and_supertype(Finality::NonFinal, None, open)).unwrap();
    let other = StructType::new([FieldType::new(ValType::I64, true)]);
    refused(SubType::with_finality_and_supertype(Finality::Final, Some(open), other), "no subtype");
}

#[test]
fn references_are_cast_by_what_they_are() {
    each::<()>(|store, _| {
        let engine = store.engine().clone();
        let empty = engine.define_type(plain(StructType::new([]))).unwrap();
        let bytes = engine.define_type(plain(ArrayType::new(FieldType::new(StorageType::I8, true)))).unwrap();
        let record = StructRef::new(&mut *store, empty, &[]).unwrap();
        let array = ArrayRef::new(&mut *store, bytes, &Val::I32(0), 3).unwrap();
        let number = I31Ref::from_i32(&mut *store, -7).unwrap();
        let host = ExternRef::new(&mut *store, 1u8).unwrap().to_any();
        let casts = |any: Rooted<AnyRef>| {
            let store = &*store;
            [
                any.as_eq(store).is_some(),
                any.as_i31(store).is_some(),
                any.as_struct(store).is_some(),
                any.as_array(store).is_some(),
            ]
        };
        assert_eq!(casts(record.clone().into()), [true, false, true, false]);
        assert_eq!(casts(array.into()), [true, false, false, true]);
        assert_eq!(casts(number.clone().into()), [true, true, false, false]);
        assert_eq!(casts(host), [false; 4]);
        let eq: Rooted<EqRef> = record.clone().into();
        assert!(eq.to_any().as_struct(&*store).unwrap().ref_eq(&*store, &record));
        assert_eq!((number.i32(&*store), number.u32(&*store)), (-7, (-7i32 as u32) & 0x7fff_ffff));
        for wrong in [1 << 30, i32::MIN, i32::MAX] {
            assert!(I31Ref::from_i32(&mut *store, wrong).is_err());
        }
        assert_eq!(I31Ref::from_i32(&mut *store, -(1 << 30)).unwrap().i32(&*store), -(1 << 30));
    });
}

const FOREST: &str = r#"(module
    (rec
      (type $node (sub (struct (field (mut i32)) (field (mut (ref null $nodes))) (field (ref null $visit)))))
      (type $nodes (array (mut (ref null $node))))
      (type $visit (func (param (ref $node)) (result (ref null $nodes))))
      (type $leaf (sub final $node
        (struct (field (mut i32)) (field (mut (ref null $nodes))) (field (ref $visit)) (field (mut i8))))))
    (func $children (export "children") (type $visit) (struct.get $node 1 (local.get 0)))
    (func (export "is") (param anyref) (result i32)
      (i32.add (i32.add (ref.test (ref $node) (local.get 0)) (ref.test (ref $leaf) (local.get 0)))
        (i32.mul (i32.const 4) (ref.test (ref $nodes) (local.get 0)))))
    (func (export "leaf") (result anyref)
      (struct.new $leaf (i32.const 9) (ref.null $nodes) (ref.func $children) (i32.const 3))))"#;

/// The group of [`FOREST`], and its members in order.
fn forest() -> (RecGroup, [Member; 4]) {
    let mut group = RecGroup::new();
    let (node, nodes) = (group.declare_struct("node"), group.declare_array("nodes"));
    let (visit, leaf) = (group.declare_func("visit"), group.declare_struct("leaf"));
    let fields = |visit: RefType| {
        [FieldType::new(ValType::I32, true), FieldType::new(nodes.nullable(), true), FieldType::new(visit, false)]
    };
    let own = StructType::new(fields(visit.nullable()));
    group.define(node, SubType::with_finality_and_supertype(Finality::NonFinal, None, own)).unwrap();
    group.define(nodes, plain(ArrayType::new(FieldType::new(node.nullable(), true)))).unwrap();
    group.define(visit, plain(FuncType::new([node.non_null().into()], [nodes.nullable().into()]))).unwrap();
    let own = StructType::new(fields(visit.non_null()).into_iter().chain([FieldType::new(StorageType::I8, true)]));
    group.define(leaf, SubType::with_finality_and_supertype(Finality::Final, Some(node.index()), own)).unwrap();
    (group, [node, nodes, visit, leaf])
}

#[test]
fn the_hosts_groups_are_those_of_modules() {
    for host_first in [true, false] {
        each::<()>(|store, linker| {
            let engine = store.engine().clone();
            let define = || {
                let (group, members) = forest();
                let types = engine.define_group(&group).unwrap();
                members.map(|member| (types.get(member), types.heap(member)))
            };
            let before = host_first.then(define);
            let instance = instance(store, linker, FOREST);
            let [node, nodes, visit, leaf] = define();
            assert!(before.is_none_or(|before| before == [node, nodes, visit, leaf]));
            assert!(engine.is_subtype(leaf.0, node.0) && !engine.is_subtype(node.0, leaf.0));
            let children = instance.get_func(&mut *store, "children").unwrap();
            assert_eq!(children.type_index(&*store), visit.0);
            let made = call(store, instance, "leaf", &[]).unwrap().remove(0);
            let Val::AnyRef(Some(made)) = made else { panic!("a reference") };
            assert_eq!(made.heap_type(&*store), leaf.1);

            let node = StructRefPre::new(&engine, node.0).unwrap();
            let nodes = ArrayRefPre::new(&engine, nodes.0).unwrap();
            let list = nodes.alloc_elements(&mut *store, &[Val::AnyRef(None), made.clone().into()]).unwrap();
            let root = node.alloc(&mut *store, &[Val::I32(1), list.clone().into(), children.into()]).unwrap();
            store.gc(CollectionKind::Major);
            let inner = children.call(&mut *store, &[root.clone().into()]).unwrap().remove(0);
            let Val::AnyRef(Some(inner)) = inner else { panic!("a reference") };
            assert!(inner.ref_eq(&*store, &list.to_any()));
            let mut is = |value: Val| call(store, instance, "is", &[value]).unwrap()[0].i32().unwrap();
            assert_eq!((is(root.into()), is(made.into()), is(list.into())), (1, 2, 4));
        });
    }
}

/// A group of two open structs with one field each, of which the second declares the first as its supertype.
fn pair(first: FieldType, second: FieldType) -> RecGroup {
    let mut group = RecGroup::new();
    let (a, b) = (group.declare_struct("a"), group.declare_struct("b"));
    let open = |supertype, field| {
        SubType::with_finality_and_supertype(Finality::NonFinal, supertype, StructType::new([field]))
    };
    group.define(a, open(None, first)).unwrap();
    group.define(b, open(Some(a.index()), second)).unwrap();
    group
}

#[test]
fn groups_that_make_no_sense_are_errors_that_name_the_place() {
    let engine = engine(&COLLECTORS[0]);
    let refused = |group: &RecGroup, message: &str| {
        assert_eq!(engine.define_group(group).unwrap_err().to_string(), message);
    };
    let says = |result: Result<&mut RecGroup>, part: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    let int = FieldType::new(ValType::I32, false);
    assert!(engine.define_group(&pair(int, int)).is_ok());
    refused(&RecGroup::new(), "a recursion group without types");
    let variable = FieldType::new(ValType::I32, true);
    refused(&pair(variable, int), "type `b`, field 0: no subtype of `a`: i32 does not match (mut i32)");
    let wide = FieldType::new(RefType::ANYREF, false);
    let narrow = FieldType::new(RefType::EQREF, false);
    assert!(engine.define_group(&pair(wide, narrow)).is_ok());
    refused(&pair(narrow, wide), "type `b`, field 0: no subtype of `a`: (ref null any) does not match (ref null eq)");
    let unknown = FieldType::new(RefType::nullable(HeapType::ConcreteStruct(1 << 19)), false);
    refused(&pair(int, unknown), "type `b`, field 0: `$524288` is no such type of this engine's");

    let mut group = RecGroup::new();
    let (first, last) = (group.declare_struct("first"), group.declare_array("last"));
    let elements = |ty: RefType| plain(ArrayType::new(FieldType::new(ty, true)));
    says(group.define(first, elements(first.nullable())), "type `first` was declared to be of another kind");
    group.define(first, plain(StructType::new([int, FieldType::new(last.non_null(), false)]))).unwrap();
    says(group.define(first, plain(StructType::new([]))), "type `first` is defined already");
    refused(&group, "type `last` is declared, but not defined");
    let stranger = RecGroup::new().declare_struct("stranger");
    says(group.define(stranger, plain(StructType::new([]))), "another group's");
    group.define(last, elements(stranger.nullable())).unwrap();
    refused(&group, "type `last`, element: it refers to a member of another group");
    let error = engine.define_type(elements(first.nullable())).unwrap_err();
    assert!(error.to_string().contains("the type, element: it refers to a member of another group"), "{error}");

    let mut group = RecGroup::new();
    let (first, second) = (group.declare_func("first"), group.declare_func("second"));
    let func = |supertype: Option<Member>, params: &[ValType], results: &[ValType]| {
        let ty = FuncType::new(params.iter().copied(), results.iter().copied());
        SubType::with_finality_and_supertype(Finality::NonFinal, supertype.map(Member::index), ty)
    };
    let pointer = |member: Member| ValType::Ref(member.nullable());
    group.define(first, func(Some(second), &[], &[])).unwrap();
    group.define(second, func(None, &[], &[])).unwrap();
    refused(&group, "type `first`, supertype: `second` comes only afterwards");
    let (mut group, [node, nodes, ..]) = forest();
    let (visit, wrong) = (group.declare_func("any visit"), group.declare_func("wrong"));
    group.define(visit, func(None, &[ValType::I32, pointer(node)], &[ValType::ANYREF])).unwrap();
    group.define(wrong, func(Some(visit), &[ValType::I32, pointer(nodes)], &[ValType::ANYREF])).unwrap();
    let reason = "(ref null `node`) does not match (ref null `nodes`)";
    refused(&group, &format!("type `wrong`, parameter 1: no subtype of `any visit`: {reason}"));
    let (mut group, [.., leaf]) = forest();
    let under = group.declare_struct("under");
    let fields = plain(StructType::new([]));
    group.define(under, SubType { supertype: Some(leaf.index()), ..fields }).unwrap();
    refused(&group, "type `under`, supertype: `leaf` is final and can have no subtype");
    let mut group = RecGroup::new();
    let mut above = None;
    for i in 0..65 {
        let member = group.declare_func(&i.to_string());
        group.define(member, func(above.replace(member), &[], &[])).unwrap();
    }
    let error = engine.define_group(&group).unwrap_err().to_string();
    assert!(error.starts_with("type `64`, supertype: ") && error.contains("too deeply"), "{error}");
    let mut group = RecGroup::new();
    let wide = group.declare_struct("wide");
    group.define(wide, plain(StructType::new(std::iter::repeat_n(int, 10_001)))).unwrap();
    refused(&group, "type `wide`: a struct type has 10001 fields; at most 10000 are supported");
}

#[test]
fn arrays_of_a_prepared_type_are_those_of_the_type() {
    each::<()>(|store, _| {
        let engine = store.engine().clone();
        let define = |element: FieldType| engine.define_type(plain(ArrayType::new(element))).unwrap();
        let anys = define(FieldType::new(RefType::ANYREF, true));
        let pre = ArrayRefPre::new(&engine, anys).unwrap();
        let number = I31Ref::from_u32(&mut *store, 7).unwrap();
        let same = pre.alloc(&mut *store, &number.clone().into(), 3).unwrap();
        let other = pre.alloc_elements(&mut *store, &[same.clone().into(), Val::AnyRef(None)]).unwrap();
        store.gc(CollectionKind::Major);
        assert_eq!((pre.ty(), same.ty(&*store), other.len(&*store)), (anys, anys, 2));
        let Val::AnyRef(Some(inner)) = other.get_element(&mut *store, 0).unwrap() else { panic!("a reference") };
        assert!(inner.ref_eq(&*store, &same.to_any()));
        assert!(other.get_element(&mut *store, 1).unwrap().is_null());
        let funcs = ArrayRefPre::new(&engine, define(FieldType::new(RefType::FUNCREF, true))).unwrap();
        let func = Func::wrap(&mut *store, || 5).unwrap();
        for array in [
            funcs.alloc(&mut *store, &func.into(), 2),
            funcs.alloc_elements(&mut *store, &[Val::from(func), Val::from(func)]),
        ] {
            let Val::FuncRef(Some(found)) = array.unwrap().get_element(&mut *store, 1).unwrap() else { panic!("null") };
            assert_eq!(found, func);
        }
        assert!(pre.alloc(&mut *store, &Val::I32(1), 2).is_err());
        assert!(pre.alloc_elements(&mut *store, &[Val::AnyRef(None), Val::I32(1)]).is_err());
        assert!(pre.alloc(&mut *store, &Val::AnyRef(None), u32::MAX).unwrap_err().trap().is_some());
        let record = engine.define_type(plain(StructType::new([]))).unwrap();
        for wrong in [record, 1 << 19, u32::MAX] {
            assert!(ArrayRefPre::new(&engine, wrong).unwrap_err().to_string().contains("no array type"));
        }
        let mut foreign = Store::new(&super::engine(&COLLECTORS[0]), ()).unwrap();
        assert!(pre.alloc(&mut foreign, &Val::AnyRef(None), 1).unwrap_err().to_string().contains("another engine"));
    });
}

#[test]
fn roots_end_with_their_scope() {
    each::<()>(|store, linker| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let instance = instance(
            store,
            linker,
            r#"(module
              (global (export "g") (mut externref) (ref.null extern))
              (func (export "id") (param externref) (result externref) (local.get 0)))"#,
        );
        let global = instance.get_global(&mut *store, "g").unwrap();
        let outside = ExternRef::new(&mut *store, 0u8).unwrap();
        let handles = store.stats().handles;
        let mut outer = RootScope::new(&mut *store);
        let first = ExternRef::new(&mut outer, Dropped(dropped.clone())).unwrap();
        let (second, result, kept) = {
            let mut inner = RootScope::new(&mut outer);
            let second = ExternRef::new(&mut inner, Dropped(dropped.clone())).unwrap();
            let id = instance.get_func(&mut inner, "id").unwrap();
            let result = id.call(&mut inner, &[second.clone().into()]).unwrap().remove(0);
            let kept = ExternRef::new(&mut inner, 7u8).unwrap().to_owned_rooted(&mut inner).unwrap();
            inner.as_context_mut().gc(CollectionKind::Major);
            assert!(second.data(&inner).is_some() && first.data(&inner).is_some());
            (second, result, kept)
        };
        outer.as_context_mut().gc(CollectionKind::Major);
        assert!(first.data(&outer).is_some());
        // Their slots are others' now.
        let new: Vec<_> = (0..4).map(|i| ExternRef::new(&mut outer, i).unwrap()).collect();
        let says = |error: Error| assert!(error.to_string().contains("the end of the `RootScope`"), "{error}");
        says(global.set(&mut outer, &second.clone().into()).unwrap_err());
        says(instance.get_func(&mut outer, "id").unwrap().call(&mut outer, &[result]).unwrap_err());
        says(second.to_owned_rooted(&mut outer).unwrap_err());
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| second.data(&outer).is_some()));
        assert!(panics.unwrap_err().downcast_ref::<String>().unwrap().contains("the end of the `RootScope`"));
        global.set(&mut outer, &kept.clone().into()).unwrap();
        drop((new, outer));
        assert_eq!(store.stats().handles, handles + 1, "what was kept");
        says(first.to_owned_rooted(&mut *store).unwrap_err());
        for still in [&outside, &kept] {
            assert!(still.data(&*store).unwrap().is::<u8>());
        }
        store.gc(CollectionKind::Major);
        // The first collector never frees.
        let freed = if store.engine().gc().info().name == COLLECTORS[0].info.name { 0 } else { 2 };
        assert_eq!(dropped.load(SeqCst), freed);
    });
}

#[test]
fn scopes_leave_the_hosts_functions_and_exceptions_alone() {
    each::<Vec<Rooted<ExternRef>>>(|store, linker| {
        let tag = Tag::new(&mut *store, [ValType::EXTERNREF]).unwrap();
        linker.define(&*store, "host", "tag", tag).unwrap();
        linker
            .func_wrap(
                "host",
                "keep",
                |mut caller: Caller<'_, Vec<Rooted<ExternRef>>>, x: Option<Rooted<ExternRef>>| {
                    {
                        let mut scope = RootScope::new(&mut caller);
                        ExternRef::new(&mut scope, 1u8).unwrap();
                    }
                    let own = ExternRef::new(&mut caller, 2u8).unwrap();
                    caller.data_mut().extend(x.into_iter().chain([own]));
                },
            )
            .unwrap();
        let instance = instance(
            store,
            linker,
            r#"(module
              (import "host" "keep" (func $keep (param externref)))
              (import "host" "tag" (tag $tag (param externref)))
              (func (export "run") (param externref) (call $keep (local.get 0)) (throw $tag (local.get 0))))"#,
        );
        let error = {
            let mut scope = RootScope::new(&mut *store);
            let value = ExternRef::new(&mut scope, 3u8).unwrap();
            let run = instance.get_func(&mut scope, "run").unwrap();
            run.call(&mut scope, &[value.into()]).unwrap_err()
        };
        store.gc(CollectionKind::Major);
        let kept = store.data().clone();
        let numbers: Vec<u8> =
            kept.iter().map(|kept| *kept.data(&*store).unwrap().downcast_ref::<u8>().unwrap()).collect();
        assert_eq!(numbers, [3, 2]);
        let carried = error.uncaught().unwrap().values(&mut *store).remove(0);
        let Val::ExternRef(Some(carried)) = carried else { panic!("a reference") };
        assert!(carried.ref_eq(&*store, &kept[0]));
        // A scope that is forgotten ends with the one around it.
        let handles = store.stats().handles;
        let mut outer = RootScope::new(&mut *store);
        let mut inner = RootScope::new(&mut outer);
        ExternRef::new(&mut inner, 4u8).unwrap();
        std::mem::forget(inner);
        drop(outer);
        assert_eq!(store.stats().handles, handles);
        drop(ExternRef::new(&mut *store, 5u8).unwrap());
        store.gc(CollectionKind::Major);
        assert_eq!(store.stats().handles, handles);
    });
}
