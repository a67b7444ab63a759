//! The conformance kit.

gc_testkit::conformance!(
    gc_drc::COLLECTOR,
    "",
    "young=16",
    "young=16:cycles=trial:candidates=4",
    "young=16:counting=deferred",
    "young=16:counting=deferred:cycles=trial:candidates=4",
    "young=16:counting=eager:cycles=trial",
    "young=16:cycles=none",
    "young=16:width=1:chunk=64",
    "young=16:width=2:counting=deferred:cycles=trial:candidates=4:chunk=64",
    "young=16:barriers=call",
    "young=16:barriers=call:counting=eager:chunk=64",
    "young=16:budget=1us:cycles=trial:candidates=4",
);
