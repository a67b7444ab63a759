//! The emitted CLIF: Cranelift's verifier accepts it, and it has what the site needs and no more.

use super::*;
use crate::compiler::DrcCompiler;
use gc_testkit::{clif, field, for_each_site};

fn deferred() -> DrcCompiler {
    DrcCompiler::new(&options("drc:counting=deferred:cycles=none"))
}

fn calls(clif: &str) -> usize {
    clif.matches("= call ").count()
}

const OBJECT: StaticRef = StaticRef { null: false, i31: false, object: true };
const I31: StaticRef = StaticRef { null: true, i31: true, object: false };

#[test]
fn barriers_are_valid_for_every_slot_and_type() {
    for_each_site(|e, site, value| {
        deferred().write(e, site, value);
        deferred().read(e, site);
    });
}

#[test]
fn a_load_that_may_collect_keeps_what_it_loaded() {
    let text = clif(|e, object, _| {
        let site = field(object, StaticRef::UNKNOWN);
        let value = deferred().read(e, &site);
        e.store(&site, value);
    });
    assert_eq!(calls(&text), 1);
    let call = text.lines().find(|line| line.contains("= call ")).unwrap();
    assert_eq!(call.matches("i32 @").count(), 2, "the object and the value: {call}");
}

#[test]
fn what_is_known_statically_is_not_tested() {
    let write = |known| clif(|e, object, value| deferred().write(e, &field(object, known), value));
    assert_eq!(calls(&write(StaticRef::UNKNOWN)), 2);
    assert_eq!(calls(&write(I31)), 0);
    assert!(write(OBJECT).matches("brif").count() < write(StaticRef::UNKNOWN).matches("brif").count());
    let fresh = clif(|e, object, value| {
        let site = AccessSite { freshness: Freshness::Newest, null_check: false, ..field(object, StaticRef::UNKNOWN) };
        deferred().write(e, &site, value);
    });
    assert_eq!((fresh.matches("store").count(), fresh.matches("load").count()), (1, 0));
}

#[test]
fn objects_are_born_new() {
    let text = clif(|e, _, _| {
        let site = AllocSite { kind: GcKind::STRUCT, ty: 1, size: AllocSize::Fixed(24) };
        deferred().alloc(e, &site);
    });
    let header = VMGcHeader::new(GcKind::STRUCT, 1, NEW).to_u64();
    let constant = header.to_string();
    let hex = format!("{header:x}");
    let text = text.replace('_', "");
    assert!(text.contains(&constant) || text.contains(&hex), "{text}");
}
