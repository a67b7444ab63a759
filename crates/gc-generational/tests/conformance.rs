//! The conformance kit.

gc_testkit::conformance!(
    gc_generational::COLLECTOR,
    "",
    "nursery=16",
    "nursery=16:remember=field",
    "nursery=16:ageing=1",
    "nursery=16:ageing=1:remember=card",
    "nursery=16:ageing=1:remember=field:defrag=always",
    "nursery=16:remember=card",
    "nursery=16:defrag=always:stack=2",
    "remember=card:defrag=always",
);
