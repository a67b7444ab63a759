//! The conformance kit.

gc_testkit::conformance!(
    gc_immix::COLLECTOR,
    "",
    "defrag=always",
    "stack=2",
    "threads=2",
    "sticky=16",
    "sticky=16:stack=2:defrag=always"
);
