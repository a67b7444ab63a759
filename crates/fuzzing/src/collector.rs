//! Collectors without the engine: the kit's scripts, mutated as scripts, under every collector. See `crates/gc-testkit/README.md`
//! for what must hold.

use gc_api::Collector;
use gc_testkit::{Kit, Script, crossed, mutated, random};
use std::cell::RefCell;

/// The command that replays a script under every collector.
const REPLAY: &str = "cargo test --test fuzz_bodies collector";

thread_local! {
    static KITS: RefCell<Vec<((&'static str, &'static str), Kit)>> = const { RefCell::new(Vec::new()) };
}

/// The script that an input is, if it is one: inputs are text, so that what a fuzzer keeps can be read.
pub fn script_of(input: &[u8]) -> Option<Script> {
    std::str::from_utf8(input).ok()?.parse().ok()
}

/// Runs `script` under each of `collectors`, and under one of their variants, which the script chooses.
///
/// # Panics
/// When a collector is wrong: the message has a short script that shows it, and a command that replays it.
pub fn collector(script: &Script, collectors: &[Collector]) {
    let plain = collectors.iter().map(|collector| (collector, ""));
    let variants = collectors.iter().flat_map(|collector| collector.info.variants.iter().map(move |v| (collector, *v)));
    let sum: usize = script.to_string().bytes().map(usize::from).sum();
    let variant = variants.clone().nth(sum % variants.count().max(1));
    KITS.with_borrow_mut(|kits| {
        for (collector, options) in plain.chain(variant) {
            let key = (collector.info.name, options);
            let at = kits.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                kits.push((key, Kit::new(collector, options)));
                kits.len() - 1
            });
            let kit = &mut kits[at].1;
            if let Err(stopped) = kit.run(script) {
                panic!("{}", kit.shrink("a fuzzer's script", script, stopped).with_command(REPLAY));
            }
        }
    });
}

/// Changes the script in `data[..size]`, or makes one if none is there, for a fuzzer; gives its size, which is not above `most`.
pub fn mutate_script(data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let seed = seed as u64;
    let script = script_of(&data[..size]).map_or_else(|| random(seed), |script| mutated(&script, seed));
    write(script, data, most)
}

/// Puts a script of the start of `first` and the end of `second` into `out`; gives its size.
pub fn cross_scripts(first: &[u8], second: &[u8], out: &mut [u8], seed: u32) -> usize {
    let script = match (script_of(first), script_of(second)) {
        (Some(first), Some(second)) => crossed(&first, &second, seed as u64),
        (first, second) => first.or(second).unwrap_or_else(|| random(seed as u64)),
    };
    let most = out.len();
    write(script, out, most)
}

/// Writes as many of the operations as there is room for.
fn write(mut script: Script, out: &mut [u8], most: usize) -> usize {
    loop {
        let text = script.to_string();
        if text.len() <= most.min(out.len()) {
            out[..text.len()].copy_from_slice(text.as_bytes());
            return text.len();
        }
        if script.ops.is_empty() {
            return 0;
        }
        script.ops.truncate(script.ops.len() * 3 / 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_any_bytes_is_a_script_that_fits() {
        let mut data = vec![b'x'; 4096];
        let mut size = 7;
        for seed in 0..300 {
            let most = 100 + seed as usize * 13;
            size = mutate_script(&mut data, size, most, seed);
            assert!(size <= most);
            let script = script_of(&data[..size]).expect("it is a script");
            let mut out = vec![0; most];
            let crossed = cross_scripts(&data[..size], b"", &mut out, seed);
            assert!(crossed <= size && script_of(&out[..crossed]).is_some());
            assert_eq!(script.to_string().as_bytes(), &data[..size]);
        }
        assert_eq!(mutate_script(&mut data, size, 3, 1), 0);
    }
}
