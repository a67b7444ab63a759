//! The conformance kit: costs change nothing else.

use gc_api::{Collector, CollectorOptions, GcRuntime, OptionError};
use std::sync::Arc;

const COLLECTOR: Collector = Collector { info: gc_semispace::COLLECTOR.info, make };

fn make(options: &CollectorOptions) -> Result<Arc<dyn GcRuntime>, OptionError> {
    let costs = "barrier=3,pause=1us".parse()?;
    Ok(gc_inject::inject(gc_semispace::COLLECTOR.with(options)?, costs))
}

gc_testkit::conformance!(COLLECTOR);
