//! Large modules in the manner of dart2wasm's, to measure compilation with.
//!
//! What such modules have, and what makes them hard: thousands of struct types, most of them in one recursion group, in
//! class hierarchies up to nine deep; receivers of a top type, hence a cast in most methods; virtual calls through one
//! dispatch table, indexed by an object's class; closures as structs with a table of functions; constants as globals
//! whose initialisers allocate; statics that are initialised when first used; and some functions of thousands of blocks.
//!
//! A module is valid, instantiates, and imports nothing. It is made for its code to be compiled and not to be run: called
//! with arbitrary arguments, most functions soon trap at a null or a cast. The same [`Shape`] always gives the same bytes.

mod body;

use body::Body;
use wasm_encoder::{
    ArrayType, CodeSection, CompositeInnerType, CompositeType, ConstExpr, ElementSection, Elements, ExportKind,
    ExportSection, FieldType, FuncType, FunctionSection, GlobalSection, GlobalType, HeapType, Instruction, Module,
    RefType, StorageType, StructType, SubType, TableSection, TableType, TagKind, TagSection, TagType, TypeSection,
    ValType,
};

/// How much of everything a module has.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Types, at least 64.
    pub types: u32,
    /// How many of the types are in the first recursion group, at least 32; the others are in groups of one.
    pub group: u32,
    /// Functions.
    pub functions: u32,
    /// Globals.
    pub globals: u32,
    /// How many of the globals are constants that `struct.new` makes.
    pub constants: u32,
    /// How many of the functions are huge.
    pub huge: u32,
    /// Bytes of a huge function: one basic block to ten bytes, roughly.
    pub huge_bytes: usize,
    /// Bytes of all functions.
    pub code_bytes: usize,
}

impl Shape {
    /// 1.5 MB: a program of medium size.
    pub const MEDIUM: Shape = Shape {
        types: 3_000,
        group: 2_000,
        functions: 6_000,
        globals: 5_000,
        constants: 4_000,
        huge: 6,
        huge_bytes: 40_000,
        code_bytes: 990_000,
    };
    /// 8 MB: an application with a graphical toolkit.
    pub const LARGE: Shape = Shape {
        types: 14_000,
        group: 9_000,
        functions: 37_000,
        globals: 90_000,
        constants: 74_000,
        huge: 20,
        huge_bytes: 60_000,
        code_bytes: 2_500_000,
    };
    /// 45 kB: everything once, for tests.
    pub const SMALL: Shape = Shape {
        types: 200,
        group: 150,
        functions: 80,
        globals: 120,
        constants: 90,
        huge: 1,
        huge_bytes: 8_000,
        code_bytes: 30_000,
    };

    /// The module, encoded.
    pub fn module(&self) -> Vec<u8> {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let types = Types::new(self, &mut random);
        let functions: Vec<usize> = (0..self.functions).map(|_| random.below(types.signatures.len())).collect();
        let globals = Globals::new(self, &types, &mut random);

        let mut section = FunctionSection::new();
        functions.iter().for_each(|signature| {
            section.function(types.signatures[*signature].index);
        });
        let mut tables = TableSection::new();
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: self.functions.into(),
            maximum: Some(self.functions.into()),
            shared: false,
        });
        let mut tags = TagSection::new();
        tags.tag(TagType { kind: TagKind::Exception, func_type_idx: THROWN });
        let mut exports = ExportSection::new();
        (0..self.functions).step_by(16).for_each(|function| {
            exports.export(&format!("f{function}"), ExportKind::Func, function);
        });
        let mut elements = ElementSection::new();
        let all: Vec<u32> = (0..self.functions).collect();
        elements.active(Some(0), &ConstExpr::i32_const(0), Elements::Functions(all.into()));

        let code = self.code(&Program { types: &types, globals: &globals, functions: &functions }, random);
        let mut module = Module::new();
        module.section(&types.section).section(&section).section(&tables).section(&tags).section(&globals.section);
        module.section(&exports).section(&elements).section(&code);
        module.finish()
    }

    /// All functions: huge ones at regular distances, and the others from a few bytes to ten times the mean.
    fn code(&self, program: &Program<'_>, mut random: Random) -> CodeSection {
        let mut code = CodeSection::new();
        let mean = (self.code_bytes - self.huge as usize * self.huge_bytes) / self.functions as usize;
        for function in 0..self.functions {
            let bytes = match function % (self.functions / self.huge.max(1)) {
                1 => self.huge_bytes,
                // The mean of these is 1.
                _ => match random.below(20) {
                    0 => mean * 5,
                    1..=3 => mean * 2,
                    4..=9 => mean,
                    _ => mean * 3 / 10,
                },
            };
            let signature = &program.types.signatures[program.functions[function as usize]];
            code.function(&Body::new(program, &mut random, signature, bytes).finish());
        }
        code
    }
}

/// What the functions of a module refer to.
struct Program<'a> {
    types: &'a Types,
    globals: &'a Globals,
    /// Position of each function's signature.
    functions: &'a [usize],
}

/// A sequence of numbers that is the same everywhere: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

// The types that every module begins with.

/// `(struct i32)`: the class of whatever it is.
const TOP: u32 = 0;
/// `(struct i32 (mut i32))`, below [`TOP`]: class and hash.
const OBJECT: u32 = 1;
/// `(array (mut i8))`.
const BYTES: u32 = 2;
/// `(array (mut (ref null TOP)))`.
const OBJECTS: u32 = 3;
/// `(array (mut i64))`.
const LONGS: u32 = 4;
/// Below [`OBJECT`], with [`BYTES`].
const STRING: u32 = 5;
/// The parameters of an exception.
const THROWN: u32 = 6;
/// Below [`OBJECT`]: a closure, with its captured variables and its [`VTABLE`].
const CLOSURE: u32 = 7;
/// Types of functions of 0 to 3 parameters that a closure has, first of four.
const CLOSURE_FUNC: u32 = 8;
/// Structs with references to functions of up to 0 to 3 parameters, each below the one before; first of four.
const VTABLE: u32 = 12;
/// Where the other types begin.
const FIXED: u32 = 16;

/// A struct type in the class hierarchy.
struct Class {
    index: u32,
    /// Position of the superclass.
    parent: Option<usize>,
    depth: u32,
    fields: Vec<FieldType>,
}

/// A function type.
struct Signature {
    index: u32,
    params: Vec<ValType>,
    result: Option<ValType>,
}

struct Types {
    section: TypeSection,
    /// The first is [`OBJECT`].
    classes: Vec<Class>,
    /// Those with a receiver (a non-null [`TOP`]) first: `methods` of them.
    signatures: Vec<Signature>,
    methods: usize,
}

/// A reference that may be null.
fn nullable(index: u32) -> ValType {
    ValType::Ref(RefType { nullable: true, heap_type: HeapType::Concrete(index) })
}

/// A reference that may not.
fn non_null(index: u32) -> ValType {
    ValType::Ref(RefType { nullable: false, heap_type: HeapType::Concrete(index) })
}

fn constant(ty: ValType) -> FieldType {
    FieldType { element_type: StorageType::Val(ty), mutable: false }
}

fn variable(ty: ValType) -> FieldType {
    FieldType { element_type: StorageType::Val(ty), mutable: true }
}

fn sub_type(inner: CompositeInnerType, parent: Option<u32>) -> SubType {
    let composite_type = CompositeType { inner, shared: false, descriptor: None, describes: None };
    SubType { is_final: false, supertype_idxs: parent.into_iter().collect(), composite_type }
}

fn struct_type(fields: Vec<FieldType>, parent: Option<u32>) -> SubType {
    sub_type(CompositeInnerType::Struct(StructType { fields: fields.into() }), parent)
}

fn array_type(element_type: StorageType) -> SubType {
    sub_type(CompositeInnerType::Array(ArrayType(FieldType { element_type, mutable: true })), None)
}

fn func_type(params: &[ValType], result: Option<ValType>) -> SubType {
    sub_type(CompositeInnerType::Func(FuncType::new(params.iter().copied(), result)), None)
}

impl Types {
    fn new(shape: &Shape, random: &mut Random) -> Types {
        assert!(shape.types >= 64 && (32..=shape.types).contains(&shape.group), "a module has that many types");
        // Two of five are function types; which, is known before what they refer to.
        let is_func: Vec<bool> = (FIXED..shape.types).map(|_| random.below(5) < 2).collect();
        let class_indices = |end: u32| {
            let classes = (FIXED..end).filter(|index| !is_func[(index - FIXED) as usize]);
            [OBJECT, STRING].into_iter().chain(classes).collect::<Vec<u32>>()
        };
        let in_group = class_indices(shape.group);
        let all = class_indices(shape.types);
        let root = Class {
            index: OBJECT,
            parent: None,
            depth: 1,
            fields: vec![constant(ValType::I32), variable(ValType::I32)],
        };
        let mut types = Types { section: TypeSection::new(), classes: vec![root], signatures: Vec::new(), methods: 0 };
        let (mut members, mut statics) = (Types::fixed(), Vec::new());
        for index in FIXED..shape.types {
            // Inside of the group a type may refer to later ones.
            let known = match index < shape.group {
                true => &in_group[..],
                false => &all[..all.partition_point(|class| *class < index)],
            };
            let ty = match is_func[(index - FIXED) as usize] {
                true => {
                    let is_method = random.below(4) > 0;
                    let (signature, ty) = Types::signature(index, is_method, known, random);
                    if is_method { &mut types.signatures } else { &mut statics }.push(signature);
                    ty
                }
                false => types.class(index, known, random),
            };
            if index < shape.group {
                members.push(ty);
            } else {
                if index == shape.group {
                    types.section.ty().rec(std::mem::take(&mut members));
                }
                types.section.ty().subtype(&ty);
            }
        }
        if !members.is_empty() {
            types.section.ty().rec(members);
        }
        types.methods = types.signatures.len();
        types.signatures.extend(statics);
        types
    }

    fn fixed() -> Vec<SubType> {
        let top = nullable(TOP);
        let header = || vec![constant(ValType::I32), variable(ValType::I32)];
        let with = |fields: &[FieldType]| [&header()[..], fields].concat();
        let mut fixed = vec![
            struct_type(vec![constant(ValType::I32)], None),
            struct_type(header(), Some(TOP)),
            array_type(StorageType::I8),
            array_type(StorageType::Val(top)),
            array_type(StorageType::Val(ValType::I64)),
            struct_type(with(&[constant(nullable(BYTES))]), Some(OBJECT)),
            func_type(&[top, top], None),
            struct_type(with(&[constant(top), constant(nullable(VTABLE))]), Some(OBJECT)),
        ];
        fixed.extend((0..4).map(|params| func_type(&vec![top; params + 1], Some(top))));
        fixed.extend((0..4).map(|last| {
            let functions = (0..=last).map(|params| constant(nullable(CLOSURE_FUNC + params))).collect();
            struct_type(functions, last.checked_sub(1).map(|before| VTABLE + before))
        }));
        fixed
    }

    /// A class below a random one, with up to six fields of its own.
    fn class(&mut self, index: u32, known: &[u32], random: &mut Random) -> SubType {
        // The youngest of the old are more often parents: hierarchies get deep.
        let mut parent = random.below(self.classes.len());
        while self.classes[parent].depth >= 8 {
            parent = self.classes[parent].parent.expect("a class this deep has a superclass");
        }
        let mut fields = self.classes[parent].fields.clone();
        if fields.len() < 24 {
            for _ in 0..random.below(7) {
                fields.push(variable(match random.below(10) {
                    0 => ValType::I32,
                    1..=2 => ValType::I64,
                    3 => ValType::F64,
                    4 => nullable(TOP),
                    5 => nullable(STRING),
                    6 => nullable(OBJECTS),
                    _ => nullable(random.pick(known)),
                }));
            }
        }
        let depth = self.classes[parent].depth + 1;
        let ty = struct_type(fields.clone(), Some(self.classes[parent].index));
        self.classes.push(Class { index, parent: Some(parent), depth, fields });
        ty
    }

    fn signature(index: u32, is_method: bool, known: &[u32], random: &mut Random) -> (Signature, SubType) {
        let mut params: Vec<ValType> = is_method.then_some(non_null(TOP)).into_iter().collect();
        for _ in 0..random.below(5) {
            params.push(match random.below(6) {
                0 => ValType::I64,
                1 => ValType::I32,
                2 => ValType::F64,
                3 => nullable(random.pick(known)),
                _ => nullable(TOP),
            });
        }
        let result = match random.below(8) {
            0 => None,
            1 => Some(ValType::I32),
            2..=3 => Some(ValType::I64),
            4 => Some(ValType::F64),
            _ => Some(nullable(TOP)),
        };
        let ty = func_type(&params, result);
        (Signature { index, params, result }, ty)
    }

    /// Whether a class is another or below it, by position.
    fn is_below(&self, mut class: usize, other: usize) -> bool {
        while self.classes[class].depth > self.classes[other].depth {
            class = self.classes[class].parent.expect("a class that is not the root has a superclass");
        }
        class == other
    }
}

struct Globals {
    section: GlobalSection,
    /// Constants: index and type (never null).
    constants: Vec<(u32, u32)>,
    /// Variables that begin as null: index and type.
    lazy: Vec<(u32, u32)>,
}

impl Globals {
    fn new(shape: &Shape, types: &Types, random: &mut Random) -> Globals {
        let mut globals = Globals { section: GlobalSection::new(), constants: Vec::new(), lazy: Vec::new() };
        for index in 0..shape.globals {
            // Constants are spread evenly among the others.
            let before = u64::from(index) * u64::from(shape.constants) / u64::from(shape.globals);
            let after = u64::from(index + 1) * u64::from(shape.constants) / u64::from(shape.globals);
            if after > before {
                let ty = match random.below(2) {
                    0 => globals.string(random),
                    _ => globals.object(types, random),
                };
                globals.constants.push((index, ty));
            } else {
                let ty = types.classes[random.below(types.classes.len())].index;
                let val_type = nullable(ty);
                let null = ConstExpr::ref_null(HeapType::Concrete(ty));
                globals.section.global(GlobalType { val_type, mutable: true, shared: false }, &null);
                globals.lazy.push((index, ty));
            }
        }
        globals
    }

    fn define(&mut self, ty: u32, init: Vec<Instruction<'_>>) -> u32 {
        let val_type = non_null(ty);
        let ty_of_global = GlobalType { val_type, mutable: false, shared: false };
        self.section.global(ty_of_global, &ConstExpr::extended(init));
        ty
    }

    fn string(&mut self, random: &mut Random) -> u32 {
        let length = random.below(8) as u32;
        let mut init = vec![Instruction::I32Const(STRING as i32), Instruction::I32Const(0)];
        init.extend((0..length).map(|_| Instruction::I32Const(97 + random.below(26) as i32)));
        init.push(Instruction::ArrayNewFixed { array_type_index: BYTES, array_size: length });
        init.push(Instruction::StructNew(STRING));
        self.define(STRING, init)
    }

    /// An object, whose fields hold earlier constants where there are any of their type.
    fn object(&mut self, types: &Types, random: &mut Random) -> u32 {
        // Most constants are of small classes.
        let class = (0..3).map(|_| &types.classes[random.below(types.classes.len())]).min_by_key(|c| c.fields.len());
        let class = class.expect("one of three");
        let mut init = vec![Instruction::I32Const(class.index as i32), Instruction::I32Const(0)];
        for field in &class.fields[2..] {
            init.push(match field.element_type {
                StorageType::Val(ValType::I32) => Instruction::I32Const(random.below(100) as i32),
                StorageType::Val(ValType::I64) => Instruction::I64Const(random.below(100) as i64),
                StorageType::Val(ValType::F64) => Instruction::F64Const(1.5.into()),
                StorageType::Val(ValType::Ref(ty)) => {
                    let earlier = (0..4).find_map(|_| {
                        let (index, constant) = self.constants.get(random.below(self.constants.len().max(1)))?;
                        let fits = [HeapType::Concrete(TOP), HeapType::Concrete(*constant)].contains(&ty.heap_type);
                        fits.then_some(Instruction::GlobalGet(*index))
                    });
                    earlier.unwrap_or(Instruction::RefNull(ty.heap_type))
                }
                _ => unreachable!("classes have no other fields"),
            });
        }
        init.push(Instruction::StructNew(class.index));
        self.define(class.index, init)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_about(shape: &Shape, megabytes: f64) {
        let module = shape.module();
        assert!(module == shape.module(), "the same shape gives the same bytes");
        let mut validator = wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all());
        validator.validate_all(&module).unwrap();
        let size = module.len() as f64 / 1e6;
        assert!((0.9..1.1).contains(&(size / megabytes)), "{size} MB are not about {megabytes} MB");
    }

    #[test]
    fn small_modules_are_valid_and_of_the_size_that_their_shape_says() {
        is_about(&Shape::SMALL, 0.045);
    }

    #[test]
    fn medium_modules_are_valid_and_of_the_size_that_their_shape_says() {
        is_about(&Shape::MEDIUM, 1.5);
    }

    #[test]
    fn large_modules_are_valid_and_of_the_size_that_their_shape_says() {
        is_about(&Shape::LARGE, 8.0);
    }
}
