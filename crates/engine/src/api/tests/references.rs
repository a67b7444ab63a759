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
