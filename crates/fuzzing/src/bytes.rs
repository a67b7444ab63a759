//! Any bytes to the parser, the validator and the compiler.
//!
//! What must hold:
//! 1. nothing panics, and nothing takes time or memory out of proportion (whoever calls the body watches these);
//! 2. what `wasmparser` finds valid with Gleaner's features is compiled, or refused for a limit; what it finds invalid is refused;
//! 3. an error says what is wrong in a few lines;
//! 4. what is accepted can be looked at: its imports, exports and names.

use crate::finding::{check_input, hex};
use crate::pool::{Engines, Level};
use arbitrary::{Arbitrary, Unstructured};
use engine::{ErrorKind, FEATURES, Module};
use std::borrow::Cow;
use wasmparser::Validator;

/// Characters that an error may have: enough for each sentence there is, with two names of the longest kind quoted in it.
const LONGEST_MESSAGE: usize = 1_000 + 2 * 100_000;

/// What stands in an input.
///
/// An even first byte (that of a binary is zero, that of text is `(`) says that the input is taken as it is. An odd one says that
/// the rest decides over a module of `wasm-smith`'s, in which as many bytes are then changed as the next three bits say.
pub fn module_of(input: &[u8]) -> Cow<'_, [u8]> {
    match input.split_first() {
        Some((first, rest)) if first & 1 == 1 => Cow::Owned(mutant(*first >> 1, rest).unwrap_or_default()),
        _ => Cow::Borrowed(input),
    }
}

/// A module with `changes & 7` changes; an error when there are no bytes to decide over one.
fn mutant(changes: u8, decisions: &[u8]) -> arbitrary::Result<Vec<u8>> {
    let mut u = Unstructured::new(decisions);
    let changes: Vec<(u16, u8)> = (0..changes & 7).map(|_| u.arbitrary()).collect::<Result<_, _>>()?;
    let config = wasm_smith::Config::arbitrary(&mut u)?;
    let mut binary = wasm_smith::Module::new(config, &mut u)?.to_bytes();
    for (at, change) in changes {
        let at = at as usize % binary.len();
        binary[at] ^= change;
    }
    Ok(binary)
}

/// Gives what stands in `input` to an engine with one of the collectors, and checks what becomes of it.
///
/// # Panics
/// When anything does not hold that must: the message has the module as text, or in hexadecimal digits, and a command that runs it again.
pub fn bytes(input: &[u8], engines: &Engines) {
    let source = module_of(input);
    // One collector and one level an input: they differ in code, which is most of an input's time.
    let choice: usize = input.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(*byte as usize));
    let level = if choice.is_multiple_of(4) { Level::Optimised } else { Level::Plain };
    let engines = engines.get(level);
    let ((spec, _), engine) = &engines[choice / 4 % engines.len()];
    check_input("bytes", input, &format!("`{spec}` ({level:?})"), || shown(&source), || check(&source, engine));
}

/// A module as it is printed: as text, if it is.
fn shown(source: &[u8]) -> String {
    match std::str::from_utf8(source) {
        Ok(text) if !text.starts_with('\0') => format!(";; bytes.wat\n{text}"),
        _ => format!("the module, in hexadecimal digits\n{}", hex(source)),
    }
}

fn check(source: &[u8], engine: &engine::Engine) {
    let result = Module::new(engine, source);
    // Text is `wat`'s business; what it makes of it is ours.
    let binary = wat::parse_bytes(source);
    let valid = binary.as_ref().map_err(|error| error.to_string()).and_then(|binary| {
        Validator::new_with_features(FEATURES).validate_all(binary).map(|_| ()).map_err(|error| error.to_string())
    });
    match (valid, result) {
        (Ok(()), Ok(module)) => look(&module),
        (Err(_), Err(error)) => check_message(&error),
        (Ok(()), Err(error)) => {
            check_message(&error);
            assert!(error.to_string().contains("too large"), "a valid module was refused: {error}");
        }
        (Err(error), Ok(_)) => panic!("a module was compiled that is not valid: {error}"),
    }
}

/// Whether the error is one of a module's, and says what is wrong.
fn check_message(error: &engine::Error) {
    assert!(matches!(error.kind(), ErrorKind::Module(_)), "a module can only be refused as one: {error}");
    let message = error.to_string();
    assert!((10..=LONGEST_MESSAGE).contains(&message.len()), "{} bytes: {message}", message.len());
    assert!(error.unsupported_feature().is_none_or(|feature| !feature.is_empty()), "{message}");
}

/// Looks at everything that a module tells of itself.
fn look(module: &Module) {
    let engine = module.engine();
    let mut length = module.name().map_or(0, str::len);
    for import in module.imports() {
        length += import.module().len() + import.name().len() + import.ty().describe(engine).len();
    }
    for export in module.exports() {
        length += export.name().len() + export.ty().describe(engine).len();
        assert_eq!(module.export(export.name()), Some(export.ty()), "the names of exports are unique");
    }
    for func in 0..module.func_count() as u32 {
        length += module.func_name(func).map_or(0, str::len);
    }
    std::hint::black_box(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_and_text_stand_for_themselves() {
        for source in [&b"\0asm\x01\0\0\0"[..], b"(module)", b""] {
            assert_eq!(module_of(source), source);
        }
    }

    #[test]
    fn an_odd_byte_makes_a_module_and_says_how_many_bytes_of_it_change() {
        let decisions: Vec<u8> = (0..400u32).map(|i| (i * 7 + i / 3) as u8).collect();
        let whole = mutant(0, &decisions).unwrap();
        assert_eq!(whole[..4], *b"\0asm");
        let input: Vec<u8> = [0b11].into_iter().chain([3, 0, 0x80]).chain(decisions.iter().copied()).collect();
        let changed = module_of(&input);
        assert_eq!(changed.len(), whole.len());
        let differences: Vec<usize> = (0..whole.len()).filter(|i| whole[*i] != changed[*i]).collect();
        assert_eq!(differences, [3]);
    }
}
