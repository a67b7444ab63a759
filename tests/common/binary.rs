//! Modules as bytes: what no text could say, or not so briefly.

#![allow(dead_code, reason = "each test uses its share")]

/// A binary, section by section.
#[derive(Clone)]
pub struct Binary(pub Vec<u8>);

pub fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// `count`, then `items`.
pub fn vector(count: u64, items: impl IntoIterator<Item = u8>) -> Vec<u8> {
    leb(count).into_iter().chain(items).collect()
}

pub fn repeat(count: u64, item: &[u8]) -> Vec<u8> {
    vector(count, item.repeat(count as usize))
}

impl Binary {
    pub fn new() -> Binary {
        Binary(b"\0asm\x01\0\0\0".to_vec())
    }

    pub fn section(mut self, id: u8, contents: &[u8]) -> Binary {
        self.0.push(id);
        self.0.extend(leb(contents.len() as u64));
        self.0.extend(contents);
        self
    }

    /// One function without parameters or results: its locals, and its body without the `end`.
    pub fn func(self, locals: &[u8], body: &[u8]) -> Binary {
        let code: Vec<u8> = [locals, body, &[END]].concat();
        let bodies = vector(1, [leb(code.len() as u64), code].concat());
        self.section(FUNCTIONS, &[1, 0]).section(CODE, &bodies)
    }
}

pub const TYPES: u8 = 1;
pub const IMPORTS: u8 = 2;
pub const FUNCTIONS: u8 = 3;
pub const TABLES: u8 = 4;
pub const MEMORIES: u8 = 5;
pub const GLOBALS: u8 = 6;
pub const EXPORTS: u8 = 7;
pub const ELEMENTS: u8 = 9;
pub const CODE: u8 = 10;
pub const DATA: u8 = 11;
pub const DATA_COUNT: u8 = 12;
pub const TAGS: u8 = 13;

pub const I32: u8 = 0x7f;
pub const EXTERNREF: u8 = 0x6f;
pub const EMPTY: u8 = 0x40;
pub const END: u8 = 0x0b;

/// The module type section with one function type, `(func)`.
pub fn with_type() -> Binary {
    Binary::new().section(TYPES, &[1, 0x60, 0, 0])
}

/// A function of `count` blocks in each other, each opened by `open`.
pub fn nested(open: &[u8], count: u64) -> Binary {
    let mut body = open.repeat(count as usize);
    body.extend(vec![END; count as usize]);
    with_type().func(&[0], &body)
}
