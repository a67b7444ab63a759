//! What makes numbers doubtful: it is said beside them.

use super::study::Level;
use super::text::{escaped, list, plural};
use crate::compare::FEW;
use crate::record::{Outcome, Record};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be kept in mind about numbers from `records`, as HTML: what makes them unsound first.
pub(super) fn of(records: &[&Record]) -> Vec<String> {
    let mut notes = Vec::new();
    mixtures(records, &mut notes);
    circumstances(records, &mut notes);
    numbers(records, &mut notes);
    notes
}

/// How many different values there are of something that should be one for each key.
fn differing<'a, K: Ord, V: Ord>(
    records: &[&'a Record],
    key: impl Fn(&'a Record) -> K,
    value: impl Fn(&'a Record) -> V,
) -> Vec<K> {
    let mut values: BTreeMap<K, BTreeSet<V>> = BTreeMap::new();
    for record in records {
        values.entry(key(record)).or_default().insert(value(record));
    }
    values.into_iter().filter(|(_, values)| values.len() > 1).map(|(key, _)| key).collect()
}

fn named(names: &[&str]) -> String {
    escaped(&list(names, 8))
}

/// What was measured together and is not the same.
fn mixtures(records: &[&Record], notes: &mut Vec<String>) {
    let mut unsound = |names: Vec<&str>, what: &str| {
        if !names.is_empty() {
            notes.push(format!("<b>Unsound</b>: {what}: {}.", named(&names)));
        }
    };
    unsound(
        differing(records, |record| record.cell.program.as_str(), |record| &record.program.sha256),
        "files of different content under one program's name",
    );
    unsound(
        differing(
            records,
            |record| record.cell.program.as_str(),
            |record| (&record.program.function, &record.program.args),
        ),
        "a program was given different arguments",
    );
    unsound(
        differing(records, |record| record.cell.program.as_str(), |record| &record.heap.policy),
        "heaps of different policies",
    );
    let options = |record: &Record| {
        let options = &record.options;
        format!("{:?} {} {} {:?}", options.warmup, options.iterations, options.count_objects, options.rate)
    };
    unsound(
        differing(records, |record| record.cell.program.as_str(), options),
        "different iterations, warm-up, rates or counts of objects",
    );
    unsound(
        differing(records, |record| record.cell.config.as_str(), |record| (&record.heap.gc, &record.options.inject)),
        "one label stands for different collectors or added costs",
    );
    unsound(
        differing(records, |record| record.cell.config.as_str(), |record| &record.build.sha256),
        "a configuration was run by different builds of Gleaner",
    );
    let machines: BTreeSet<(&str, usize)> =
        records.iter().map(|record| (record.host.cpu.as_str(), record.host.cores)).collect();
    if machines.len() > 1 {
        notes.push(format!("<b>Unsound</b>: {} are mixed.", plural(machines.len(), "machine")));
    }
    let builds: BTreeSet<&str> = records.iter().map(|record| record.build.sha256.as_str()).collect();
    if builds.len() > 1 {
        notes.push(format!("{} of Gleaner are compared.", plural(builds.len(), "build")));
    }
}

/// On what, and how.
fn circumstances(records: &[&Record], notes: &mut Vec<String>) {
    let profiles: BTreeSet<&str> =
        records.iter().map(|record| record.build.profile.as_str()).filter(|profile| *profile != "release").collect();
    if !profiles.is_empty() {
        let profiles: Vec<&str> = profiles.into_iter().collect();
        notes.push(format!(
            "<b>Unsound</b>: Gleaner was not built for release, but as {}: times say little.",
            named(&profiles)
        ));
    }
    let busy: Vec<f64> = records
        .iter()
        .filter(|record| record.host.load > record.host.cores as f64)
        .map(|record| record.host.load)
        .collect();
    if busy.len() * 2 > records.len() {
        let most = busy.iter().copied().fold(0.0, f64::max);
        notes.push(format!(
            "The machine was busy with other work during {} of {} invocations (load up to {most:.1} on {}).",
            busy.len(),
            records.len(),
            plural(records[0].host.cores, "processor")
        ));
    }
    let injected: BTreeSet<(&str, &str)> = records
        .iter()
        .filter_map(|record| Some((record.cell.config.as_str(), record.options.inject.as_deref()?)))
        .collect();
    for (config, costs) in injected {
        notes.push(format!("A cost was added on purpose to {}: {}.", escaped(config), escaped(costs)));
    }
}

/// How much was measured.
fn numbers(records: &[&Record], notes: &mut Vec<String>) {
    let mut cells: BTreeMap<(&str, &str, Level), (usize, usize)> = BTreeMap::new();
    for record in records {
        let key = (record.cell.program.as_str(), record.cell.config.as_str(), Level::of(record));
        let counts = cells.entry(key).or_default();
        *(if record.outcome == Outcome::Ok { &mut counts.0 } else { &mut counts.1 }) += 1;
    }
    let few: Vec<usize> = cells.values().map(|(ok, _)| *ok).filter(|ok| (1..FEW).contains(ok)).collect();
    if let Some(least) = few.iter().min() {
        notes.push(format!(
            "Few invocations: {} of {} with less than {FEW}, the fewest {least}.",
            few.len(),
            plural(cells.len(), "point")
        ));
    }
    let failing = cells.values().filter(|(ok, failed)| *ok == 0 && *failed > 0).count();
    let partly: Vec<String> = cells
        .iter()
        .filter(|(_, (ok, failed))| *ok > 0 && *failed > 0)
        .map(|((program, config, level), (_, failed))| format!("{program} under {config} at {level} ({failed})"))
        .collect();
    if failing > 0 {
        notes.push(format!("{failing} of {} failed in every invocation.", plural(cells.len(), "point")));
    }
    if !partly.is_empty() {
        let partly: Vec<&str> = partly.iter().map(String::as_str).collect();
        notes.push(format!("Means leave out failed invocations of {}.", named(&partly)));
    }
    let dropped: BTreeSet<&str> = records
        .iter()
        .filter(|record| record.timed().any(|iteration| iteration.collections.dropped > 0))
        .map(|record| record.cell.config.as_str())
        .collect();
    if !dropped.is_empty() {
        let dropped: Vec<&str> = dropped.into_iter().collect();
        notes.push(format!(
            "More collections than were remembered, of which the first are missing in pauses and utilisation: {}.",
            named(&dropped)
        ));
    }
    let never: BTreeSet<&str> = records
        .iter()
        .filter(|record| record.outcome == Outcome::Ok && Level::of(record) != Level::Largest)
        .filter(|record| record.timed().all(|iteration| iteration.collections.pause_ns.is_empty()))
        .map(|record| record.cell.config.as_str())
        .collect();
    if !never.is_empty() {
        let never: Vec<&str> = never.into_iter().collect();
        notes.push(format!("At some heap size there was no collection at all under {}.", named(&never)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::study::samples::*;
    use super::*;

    fn notes(change: impl Fn(&mut Record)) -> String {
        let mut records: Vec<Record> = (0..5).map(|i| run("p", "a", Some(2.0), i, 10, 1)).collect();
        change(&mut records[0]);
        of(&records.iter().collect::<Vec<_>>()).join("\n")
    }

    #[test]
    fn what_is_sound_needs_no_word() {
        assert_eq!(notes(|_| {}), "");
    }

    #[test]
    fn what_is_unsound_is_named() {
        let named = |change: fn(&mut Record), what: &str| {
            let notes = notes(change);
            assert!(notes.contains(what), "{what}: {notes}");
        };
        named(|record| record.program.sha256 = "22".into(), "different content");
        named(|record| record.program.args = vec!["9".into()], "different arguments");
        named(|record| record.heap.policy = "sqrt".into(), "different policies");
        named(|record| record.options.iterations = 9, "different iterations");
        named(|record| record.heap.gc = "b".into(), "one label");
        named(|record| record.build.sha256 = "22".into(), "different builds");
        named(|record| record.host.cpu = "another".into(), "2 machines");
        named(|record| record.build.profile = "debug".into(), "not built for release");
        named(|record| record.options.inject = Some("pause=5ms".into()), "added on purpose to a: pause=5ms");
        named(|record| record.outcome = Outcome::Oom, "leave out failed invocations of p under a at 2× (1)");
        named(|record| record.outcome = Outcome::Oom, "the fewest 4");
        named(|record| record.iterations[0].collections.dropped = 1, "More collections");
        named(|record| record.iterations[0].collections.pause_ns.clear(), "no collection at all under a");
    }

    #[test]
    fn a_busy_machine_and_failures_are_named() {
        let mut records: Vec<Record> = (0..5).map(|i| run("p", "a", Some(2.0), i, 10, 1)).collect();
        records.iter_mut().for_each(|record| record.host.load = 3.5);
        records.push(failed("p", "b", 1.0, 0, Outcome::Timeout));
        let notes = of(&records.iter().collect::<Vec<_>>()).join("\n");
        assert!(notes.contains("load up to 3.5 on 2 processors"), "{notes}");
        assert!(notes.contains("1 of 2 points failed in every invocation"), "{notes}");
    }
}
