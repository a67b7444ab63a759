//! The conformance kit.

gc_testkit::conformance!(gc_census::COLLECTOR);
