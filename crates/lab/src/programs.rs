//! The benchmark programs, as the lists beside them name them, and any others.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A program, as a job runs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// Its name, with its size unless that is the listed one, and its parameters: `splay`, `splay=500`,
    /// `survive=1200000,50`.
    pub name: String,
    /// The module, in either format.
    pub file: PathBuf,
    /// The function to call; `_start` for a whole program.
    pub function: String,
    /// What it gets.
    pub args: Vec<String>,
    /// What its parameters mean: of the arguments behind the first, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
    /// What must come of it.
    pub expected: Expected,
    /// Whether it serves requests: exports `setup: (i32) -> ()` and `request: (i32) -> i32` beside its function.
    #[serde(default)]
    pub serves: bool,
    /// How many requests a second it is sent, whether or not it has answered those before; its name ends with `@` and this. `None` when it
    /// makes them itself, one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
}

impl Program {
    /// Sends it so many requests a second.
    ///
    /// # Errors
    /// A program that serves none, and a rate of zero.
    pub fn at_rate(mut self, rate: u64) -> anyhow::Result<Program> {
        if !self.serves || rate == 0 {
            bail!(
                "`{}@{rate}`: a rate of one and more goes behind the `@` of a program that serves requests",
                self.name
            );
        }
        self.name += &format!("@{rate}");
        self.rate = Some(rate);
        Ok(self)
    }
}

/// What a program must give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// Nobody knows: all invocations must agree.
    #[default]
    Unknown,
    /// This result.
    Result(i32),
    /// This on standard output.
    Output(String),
}

/// Which of two sizes of a listed program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Milliseconds: to try an experiment out.
    Small,
    /// Half a second or so.
    #[default]
    Default,
}

/// A program of a set, with what its list says of it beside how it runs.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Its name, without a size.
    pub name: String,
    /// How it runs.
    pub program: Program,
    /// Whether it makes objects.
    pub heap: bool,
    /// Whether it also exports `run_with: (i32, i32) -> i32`, whose second argument is its parameter.
    pub has_parameter: bool,
}

/// The programs of a folder such as `benches`.
#[derive(Debug)]
pub struct Set {
    folder: PathBuf,
    listed: Vec<Listed>,
    moonbit: BTreeMap<String, (Results, i32)>,
    ocaml: BTreeMap<String, Sizes>,
}

/// One of `programs.json`.
#[derive(Clone, Debug, Deserialize)]
struct Listed {
    name: String,
    #[serde(default = "makes_objects")]
    heap: bool,
    file: String,
    small: i32,
    small_result: i32,
    default: i32,
    default_result: i32,
    /// `run_with`'s.
    parameter: Option<Parameter>,
    /// `run_with_both`'s, beside that one.
    second: Option<Parameter>,
    #[serde(default)]
    serves: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Parameter {
    means: String,
}

fn makes_objects() -> bool {
    true
}

/// One of MoonBit's `expected.json`: results by size.
#[derive(Debug, Deserialize)]
struct Results {
    run: BTreeMap<i32, i32>,
}

/// One of OCaml's `sizes.json`: how it is run.
#[derive(Debug, Deserialize)]
struct Sizes {
    small: WholeSize,
    default: WholeSize,
}

#[derive(Debug, Deserialize)]
struct WholeSize {
    args: Vec<String>,
    output: String,
}

/// The programs that `core` stands for: each of the classics' and compilers' ways to use a heap once, and none that hardly allocates.
const CORE: [&str; 13] = [
    "binary_trees",
    "gcbench",
    "splay",
    "quads",
    "gcold",
    "lru_cache",
    "mutate_old",
    "frag",
    "str_build",
    "moonbit/deltablue",
    "moonbit/havlak",
    "moonbit/json",
    "requests@200000",
];

impl Set {
    /// Reads a folder's lists.
    ///
    /// # Errors
    /// A file that is not there or not right.
    pub fn open(folder: &Path) -> anyhow::Result<Set> {
        let listed = json(&folder.join("programs/programs.json")).with_context(|| {
            format!("{} holds no benchmark programs: name the folder that does with `--set`", folder.display())
        })?;
        let results: BTreeMap<String, Results> = json(&folder.join("moonbit/expected.json"))?;
        let sizes: BTreeMap<String, i32> = json(&folder.join("moonbit/sizes.json"))?;
        let size = |name: &str| sizes.get(name).copied().with_context(|| format!("moonbit/sizes.json lacks {name}"));
        let moonbit = results
            .into_iter()
            .map(|(name, results)| {
                let size = size(&name)?;
                Ok((name, (results, size)))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Set { folder: folder.into(), listed, moonbit, ocaml: json(&folder.join("ocaml/sizes.json"))? })
    }

    /// All programs, those that make no objects among them.
    ///
    /// # Errors
    /// Lists that contradict themselves.
    pub fn listings(&self, size: Size) -> anyhow::Result<Vec<Listing>> {
        let written = self.listed.iter().map(|listed| (listed.name.clone(), listed.heap, listed.parameter.is_some()));
        let moonbit = self.moonbit.keys().map(|name| (format!("moonbit/{name}"), true, false));
        let ocaml = self.ocaml.keys().map(|name| (format!("ocaml/{name}"), true, false));
        let listing = |(name, heap, has_parameter): (String, bool, bool)| {
            Ok(Listing { program: self.program(&name, None, size)?, name, heap, has_parameter })
        };
        written.chain(moonbit).chain(ocaml).map(listing).collect()
    }

    /// The names of all programs that make objects.
    pub fn names(&self) -> Vec<String> {
        let written = self.listed.iter().filter(|program| program.heap).map(|program| program.name.clone());
        let moonbit = self.moonbit.keys().map(|name| format!("moonbit/{name}"));
        let ocaml = self.ocaml.keys().map(|name| format!("ocaml/{name}"));
        written.chain(moonbit).chain(ocaml).collect()
    }

    /// The programs that a specification names: `all`, `core`, a name, a name with a size as in `splay=500` or with a rate of requests as in
    /// `requests@20000`, or a file with a function and its arguments as in `prog.wasm:run:500`.
    ///
    /// # Errors
    /// A name that is not in the set, with what is.
    pub fn select(&self, spec: &str, size: Size) -> anyhow::Result<Vec<Program>> {
        match spec {
            "all" => self.names().iter().map(|name| self.program(name, None, size)).collect(),
            "core" => CORE.iter().map(|spec| self.one(spec, size)).collect(),
            _ if is_file(spec) => Ok(vec![file(spec)?]),
            _ => Ok(vec![self.one(spec, size)?]),
        }
    }

    /// `NAME[=SIZE][@RATE]`.
    fn one(&self, spec: &str, size: Size) -> anyhow::Result<Program> {
        let (sized, rate) = spec.split_once('@').map_or((spec, None), |(sized, rate)| (sized, Some(rate)));
        let (name, n) = sized.split_once('=').map_or((sized, None), |(name, n)| (name, Some(n)));
        let program = self.program(name, n, size)?;
        match rate {
            Some(rate) => program.at_rate(rate.parse().with_context(|| format!("`{spec}`: `{rate}` is no rate"))?),
            None => Ok(program),
        }
    }

    fn program(&self, name: &str, n: Option<&str>, size: Size) -> anyhow::Result<Program> {
        let found = match name.split_once('/') {
            Some(("moonbit", name)) => self.moonbit(name, n, size),
            Some(("ocaml", name)) => self.ocaml(name, n, size),
            _ => self.written(name, n, size),
        };
        found.with_context(|| {
            let folder = self.folder.display();
            let names = self.names().join(", ");
            format!("`{name}` is none of the programs in {folder}: {names}; `core` and `all` name many, and a path with `.wat` or `.wasm` a file")
        })?
    }

    fn written(&self, name: &str, n: Option<&str>, size: Size) -> Option<anyhow::Result<Program>> {
        let listed = self.listed.iter().find(|program| program.name == name)?;
        let file = self.folder.join("programs").join(&listed.file);
        let parameters: Vec<&Parameter> = listed.parameter.iter().chain(&listed.second).collect();
        let program = |name: &str, function: &str, args: Vec<String>, expected| Program {
            name: name.into(),
            file,
            function: function.into(),
            parameters: parameters.iter().take(args.len() - 1).map(|parameter| parameter.means.clone()).collect(),
            args,
            expected,
            serves: listed.serves,
            rate: None,
        };
        let Some(n) = n else {
            return Some(Ok(match size {
                Size::Default => {
                    program(name, "run", vec![listed.default.to_string()], Expected::Result(listed.default_result))
                }
                Size::Small => {
                    let label = format!("{name}={}", listed.small);
                    program(&label, "run", vec![listed.small.to_string()], Expected::Result(listed.small_result))
                }
            }));
        };
        let args: Vec<String> = n.split(',').map(str::to_string).collect();
        let label = format!("{name}={n}");
        Some(match args.len() {
            1 => {
                let sizes = [(listed.small, listed.small_result), (listed.default, listed.default_result)];
                let known = sizes.iter().find(|(size, _)| size.to_string() == n);
                let expected = known.map_or(Expected::Unknown, |(_, result)| Expected::Result(*result));
                Ok(program(&label, "run", args, expected))
            }
            2 if !parameters.is_empty() => Ok(program(&label, "run_with", args, Expected::Unknown)),
            3 if parameters.len() == 2 => Ok(program(&label, "run_with_both", args, Expected::Unknown)),
            _ => Err(anyhow::anyhow!(
                "`{label}`: a size goes behind `{name}=`, and {}",
                match parameters.len() {
                    0 => "no parameter, since it has none",
                    1 => "its parameter if need be",
                    _ => "one or both of its parameters if need be",
                }
            )),
        })
    }

    fn moonbit(&self, name: &str, n: Option<&str>, size: Size) -> Option<anyhow::Result<Program>> {
        let (results, default) = self.moonbit.get(name)?;
        let least = *results.run.keys().next_back()?;
        let (label, n) = match (n, size) {
            (Some(n), _) => (format!("moonbit/{name}={n}"), n.to_string()),
            (None, Size::Default) => (format!("moonbit/{name}"), default.to_string()),
            (None, Size::Small) => (format!("moonbit/{name}={least}"), least.to_string()),
        };
        let known = n.parse().ok().and_then(|n: i32| results.run.get(&n));
        let expected = known.map_or(Expected::Unknown, |result| Expected::Result(*result));
        let file = self.folder.join("moonbit/wasm").join(format!("{name}.wasm"));
        Some(Ok(Program {
            name: label,
            file,
            function: "run".into(),
            args: vec![n],
            parameters: Vec::new(),
            expected,
            serves: false,
            rate: None,
        }))
    }

    fn ocaml(&self, name: &str, n: Option<&str>, size: Size) -> Option<anyhow::Result<Program>> {
        let sizes = self.ocaml.get(name)?;
        let file = self.folder.join("ocaml/wasm").join(format!("{name}.wasm"));
        let program = |label, args: &[String], expected| Program {
            name: label,
            file,
            function: "_start".into(),
            args: args.to_vec(),
            parameters: Vec::new(),
            expected,
            serves: false,
            rate: None,
        };
        let output = |size: &WholeSize| Expected::Output(size.output.clone());
        Some(Ok(match (n, size) {
            (Some(n), _) => {
                let args: Vec<String> = n.split(',').map(str::to_string).collect();
                program(format!("ocaml/{name}={n}"), &args, Expected::Unknown)
            }
            (None, Size::Default) => program(format!("ocaml/{name}"), &sizes.default.args, output(&sizes.default)),
            (None, Size::Small) => {
                let label = format!("ocaml/{name}={}", sizes.small.args.join(","));
                program(label, &sizes.small.args, output(&sizes.small))
            }
        }))
    }
}

/// Whether a specification names a file and no program of a set.
fn is_file(spec: &str) -> bool {
    let path = spec.split(':').next().unwrap_or(spec);
    path.ends_with(".wat") || path.ends_with(".wasm")
}

/// `FILE[:FUNCTION[:ARG[,ARG]…]]`.
fn file(spec: &str) -> anyhow::Result<Program> {
    let mut parts = spec.splitn(3, ':');
    let file = PathBuf::from(parts.next().unwrap_or_default());
    let function = parts.next().unwrap_or("_start").to_string();
    let args = parts.next().map(|args| args.split(',').map(str::to_string).collect()).unwrap_or_default();
    if !file.is_file() {
        bail!("there is no file {}", file.display());
    }
    Ok(Program {
        name: spec.into(),
        file,
        function,
        args,
        parameters: Vec::new(),
        expected: Expected::Unknown,
        serves: false,
        rate: None,
    })
}

/// SHA-256 of a file, in hexadecimal digits.
///
/// # Errors
/// A file that cannot be read.
pub fn sha256(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(hex(&Sha256::digest(&bytes)))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Set {
        Set::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches"))).unwrap()
    }

    #[test]
    fn every_program_of_the_set_is_there() {
        let set = set();
        for size in [Size::Small, Size::Default] {
            let programs = set.select("all", size).unwrap();
            assert!(programs.len() > 40);
            for program in programs {
                assert!(program.file.is_file(), "{program:?}");
            }
            assert_eq!(set.select("core", size).unwrap().len(), CORE.len());
        }
    }

    #[test]
    fn sizes_and_parameters_stand_behind_names() {
        let set = set();
        let one = |spec: &str| set.select(spec, Size::Default).unwrap().remove(0);
        assert_eq!(one("splay").name, "splay");
        assert_eq!(one("splay=500").args, ["500"]);
        assert!(matches!(one("splay=500").expected, Expected::Result(_)), "the small size is listed");
        assert_eq!(one("splay=501").expected, Expected::Unknown);
        let survive = one("survive=1000,50");
        assert_eq!((survive.function.as_str(), survive.args.len()), ("run_with", 2));
        assert_eq!(survive.parameters, ["how many of 100 objects are kept"]);
        let both = one("survive_mutate=1000,50,400");
        assert_eq!((both.name.as_str(), both.function.as_str()), ("survive_mutate=1000,50,400", "run_with_both"));
        assert_eq!((both.args.join(" ").as_str(), both.parameters.len()), ("1000 50 400", 2));
        assert_eq!(one("survive_mutate=1000,50").function, "run_with");
        let requests = one("requests=2000@50");
        assert_eq!(
            (requests.name.as_str(), requests.rate, requests.args[0].as_str()),
            ("requests=2000@50", Some(50), "2000")
        );
        assert!(matches!(requests.expected, Expected::Result(_)), "the rate changes nothing in what comes of it");
        let wrong = [
            "splay=1,2",
            "nothing",
            "moonbit/nothing",
            "splay=1,2,3",
            "survive=1,2,3",
            "survive_mutate=1,2,3,4",
            "nothing.wasm",
            "splay@5",
            "requests@",
            "requests@0",
        ];
        for wrong in wrong {
            let error = format!("{:#}", set.select(wrong, Size::Default).unwrap_err());
            assert!(error.contains(wrong.split('=').next().unwrap()), "{error}");
        }
    }
}
