//! The conformance kit.

gc_testkit::conformance!(gc_semispace::COLLECTOR);
