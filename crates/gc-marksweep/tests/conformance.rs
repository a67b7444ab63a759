//! The conformance kit.

gc_testkit::conformance!(gc_marksweep::COLLECTOR, "", "stack=2");
