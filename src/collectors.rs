//! The list of collectors: one line each. Nothing else in Gleaner names one.

use gc_api::{Collector, CollectorOptions, GcRuntime, OptionError};
use std::sync::Arc;

/// Every collector.
pub const COLLECTORS: &[Collector] = &[
    gc_null::COLLECTOR,
    gc_drc::COLLECTOR,
    gc_semispace::COLLECTOR,
    gc_marksweep::COLLECTOR,
    gc_immix::COLLECTOR,
    gc_generational::COLLECTOR,
];

/// The one that is used when none is named.
pub const DEFAULT: &Collector = &gc_semispace::COLLECTOR;

/// What measures programs in a collector's place: `gleaner characterise`. It is none, and not in the list.
pub use gc_census as census;
/// What adds known costs to one of them, to see whether `gleaner bench` finds them. It is none either.
pub use gc_inject as inject;

/// Their names, in the order of the list.
///
/// ```
/// assert!(gleaner::collectors::names().any(|name| name == "null"));
/// ```
pub fn names() -> impl Iterator<Item = &'static str> {
    COLLECTORS.iter().map(|collector| collector.info.name)
}

/// The specifications of the [variants](gc_api::CollectorInfo::variants) of all collectors.
pub fn variants() -> impl Iterator<Item = String> {
    let infos = COLLECTORS.iter().map(|collector| collector.info);
    infos.flat_map(|info| info.variants.iter().map(|options| format!("{}:{options}", info.name)))
}

/// The specifications of all collectors: their names, and then their [variants].
///
/// ```
/// assert!(gleaner::collectors::specs().all(|spec| gleaner::collectors::by_spec(&spec).is_ok()));
/// ```
pub fn specs() -> impl Iterator<Item = String> {
    names().map(String::from).chain(variants())
}

/// All collectors and their [variants], with the specifications that name them.
pub fn all() -> Vec<(String, Arc<dyn GcRuntime>)> {
    let make = |spec: String| {
        let gc = by_spec(&spec).expect("the lists are right");
        (spec, gc)
    };
    specs().map(make).collect()
}

/// The collector of this name.
///
/// # Errors
/// When there is none: which ones there are.
pub fn by_name(name: &str) -> Result<&'static Collector, OptionError> {
    COLLECTORS.iter().find(|collector| collector.info.name == name).ok_or_else(|| {
        let known = crate::text::list(names());
        OptionError(format!("there is no collector `{name}`: there are {known}; `gleaner collectors` describes them"))
    })
}

/// The collector of a specification as `--gc` takes it, `NAME[:key=value]…`, with its options.
///
/// # Errors
/// An unknown name, option or value, with what there is.
///
/// ```
/// use gleaner::collectors::by_spec;
/// assert_eq!(by_spec("null").unwrap().info().name, "null");
/// assert!(by_spec("nil").unwrap_err().to_string().contains("`null`"));
/// assert!(by_spec("null:size=4").unwrap_err().to_string().contains("no option `size`"));
/// ```
pub fn by_spec(spec: &str) -> Result<Arc<dyn GcRuntime>, OptionError> {
    let (name, options) = CollectorOptions::parse(spec)?;
    by_name(name)?.with(&options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_the_command_line() {
        let mut seen = Vec::new();
        for name in names() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(!name.is_empty() && name.chars().all(plain), "{name}");
            assert!(!seen.contains(&name), "{name} stands twice");
            seen.push(name);
        }
    }

    #[test]
    fn every_collector_is_made_without_options() {
        for name in names() {
            assert_eq!(by_spec(name).unwrap().info().name, name);
        }
    }
}
