//! The conformance kit.

gc_testkit::conformance!(
    gc_null::COLLECTOR,
    "",
    "barrier=object",
    "barrier=field",
    "barrier=card",
    "barrier=satb",
    "barrier=count",
);
