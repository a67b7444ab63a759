//! The conformance kit.

gc_testkit::conformance!(gc_drc::COLLECTOR, "", "young=16", "young=1024");
