//! Objects on both sides: the host defines types, makes objects of them, hands them to a program, and reads what the program
//! made. A value of the host's goes along, and is dropped when nothing refers to it any more.

use engine::types::{ArrayType, FieldType, HeapType, RefType, StructType, SubType, ValType};
use engine::{
    AnyRef, ArrayRef, CollectionKind, Engine, ExternRef, Finality, Instance, Module, Result, Rooted, Store, StructRef,
    Val,
};
use gc_api::GcRuntime;
use std::sync::Arc;

/// Sums what is in a list of points, and makes an array of its `x`s; the types are those of the host.
const PROGRAM: &str = r#"(module
    (type $point (sub (struct (field i32) (field i32))))
    (type $named (sub final $point (struct (field i32) (field i32) (field externref))))
    (type $points (array (mut (ref null $point))))
    (type $numbers (array (mut i32)))
    (func (export "xs") (param $points (ref $points)) (result (ref $numbers))
      (local $i i32) (local $xs (ref $numbers))
      (local.set $xs (array.new_default $numbers (array.len (local.get $points))))
      (loop $next
        (array.set $numbers (local.get $xs) (local.get $i)
          (struct.get $point 0 (array.get $points (local.get $points) (local.get $i))))
        (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
          (array.len (local.get $points)))))
      (local.get $xs))
    (func (export "name") (param anyref) (result externref)
      (struct.get $named 2 (ref.cast (ref $named) (local.get 0)))))"#;

/// Runs the example under a collector.
pub fn run(gc: Arc<dyn GcRuntime>) -> Result<()> {
    let engine = Engine::new(gc)?;
    let number = || FieldType::new(ValType::I32, false);
    let reference = |heap| ValType::Ref(RefType { nullable: true, heap });
    let sub = |finality, supertype, ty: StructType| SubType::with_finality_and_supertype(finality, supertype, ty);

    // Equal definitions are one type, whoever makes them.
    let point = engine.define_type(sub(Finality::NonFinal, None, StructType::new([number(), number()])))?;
    let name = FieldType::new(reference(HeapType::Extern), false);
    let named = engine.define_type(sub(Finality::Final, Some(point), StructType::new([number(), number(), name])))?;
    let element = FieldType::new(reference(HeapType::ConcreteStruct(point)), true);
    let points = engine.define_type(SubType::plain(ArrayType::new(element).into()))?;

    let mut store = Store::new(&engine, ())?;
    let label = Arc::new("the host's own value".to_string());
    let host = ExternRef::new(&mut store, label.clone())?;
    let first = StructRef::new(&mut store, point, &[Val::I32(3), Val::I32(4)])?;
    let second = StructRef::new(&mut store, named, &[Val::I32(5), Val::I32(6), Val::from(host)])?;
    let both = [Val::from(first.to_any()), Val::from(second.to_any())];
    let array = ArrayRef::from_elements(&mut store, points, &both)?;

    let module = Module::new(&engine, PROGRAM)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let xs = instance.get_func(&mut store, "xs")?.call(&mut store, &[Val::from(array.to_any())])?;
    let [Val::AnyRef(Some(xs))] = &xs[..] else { panic!("an array comes back: {xs:?}") };
    assert_eq!(elements(&mut store, xs)?, [3, 5]);

    let name = instance.get_func(&mut store, "name")?.call(&mut store, &[Val::from(second.to_any())])?;
    let [Val::ExternRef(Some(name))] = &name[..] else { panic!("the label comes back: {name:?}") };
    let text = name.data(&store).and_then(|data| data.downcast_ref::<Arc<String>>()).expect("what went in");
    assert_eq!(**text, "the host's own value");
    println!("{text}");

    // The store holds the label as long as something refers to its object: here, handles of the host's.
    assert_eq!(Arc::strong_count(&label), 2);
    drop(store);
    assert_eq!(Arc::strong_count(&label), 1);
    Ok(())
}

/// The numbers in an array.
fn elements(store: &mut Store<()>, array: &Rooted<AnyRef>) -> Result<Vec<i32>> {
    // A collection may move the array, and the handle goes along.
    store.gc(CollectionKind::Major);
    let array = array.as_array(&*store).expect("an array");
    let numbers = (0..array.len(&*store)).map(|i| Ok(array.get_element(&mut *store, i)?.i32().expect("an i32")));
    numbers.collect()
}

fn main() -> Result<()> {
    run(gleaner::collectors::by_spec("drc").expect("a collector"))
}
