//! What each barrier emits: valid for every slot and type, and no more than the store where nothing is to be noted.

use gc_api::{AccessSite, Freshness, StaticRef};
use gc_parts::barrier::Barrier;
use gc_testkit::{clif, field, for_each_site};

const I31: StaticRef = StaticRef { null: true, i31: true, object: false };

/// What a write to a field becomes.
fn write(barrier: Barrier, change: impl FnOnce(AccessSite) -> AccessSite) -> String {
    clif(|e, object, value| barrier.write(e, &change(field(object, StaticRef::UNKNOWN)), value))
}

fn count(text: &str, what: &str) -> usize {
    text.lines().filter(|line| line.contains(what)).count()
}

#[test]
fn barriers_are_valid_for_every_slot_and_type() {
    for (_, barrier) in Barrier::ALL {
        for_each_site(|e, site, value| {
            barrier.write(e, site, value);
            barrier.init(e, site, value);
        });
    }
}

#[test]
fn what_cannot_matter_is_not_noted() {
    let plain = write(Barrier::None, |site| site);
    assert_eq!((count(&plain, "store"), count(&plain, "load"), count(&plain, "call")), (1, 0, 0), "{plain}");
    for barrier in [Barrier::ObjectLog, Barrier::FieldLog, Barrier::Cards] {
        let fresh = |site| AccessSite { freshness: Freshness::Newest, ..site };
        assert_eq!(write(barrier, fresh), plain, "{barrier:?}: the newest object is young");
        let null = |site| AccessSite { new: StaticRef::NULL, ..site };
        let number = |site| AccessSite { new: I31, ..site };
        assert_eq!((write(barrier, null), write(barrier, number)), (plain.clone(), plain.clone()), "{barrier:?}");
        assert_ne!(write(barrier, |site| site), plain, "{barrier:?}");
    }
    // These look at what was there.
    for barrier in [Barrier::Satb, Barrier::Count] {
        assert_ne!(write(barrier, |site| AccessSite { new: StaticRef::NULL, ..site }), plain, "{barrier:?}");
    }
    assert_eq!(write(Barrier::Satb, |site| AccessSite { old: StaticRef::NULL, ..site }), plain);
}

#[test]
fn logs_are_pushed_onto_inline_and_flushed_by_a_call() {
    for (barrier, calls) in [
        (Barrier::None, 0),
        (Barrier::ObjectLog, 1),
        (Barrier::FieldLog, 1),
        (Barrier::Cards, 0),
        (Barrier::Satb, 1),
        (Barrier::Count, 0),
    ] {
        let text = write(barrier, |site| site);
        assert_eq!(count(&text, "= call "), calls, "{barrier:?}: {text}");
    }
}
