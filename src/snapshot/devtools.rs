//! The format of Chrome's DevTools: one JSON object with two long arrays of numbers.
//!
//! ```text
//! snapshot   what the numbers mean, and how many nodes and edges there are
//! nodes      per node: type, name, id, self_size, edge_count, detachedness; the edges of a node follow those of the node before it
//! edges      per edge: type, name_or_index, to_node (where the node begins in `nodes`)
//! strings    the names
//! ```
//!
//! Node 0 is the root. DevTools counts distances from those of its children that are not synthetic, and wants to find the others below a
//! node `(GC roots)`. So each holder of roots (a frame, a table, …) stands below both:
//!
//! ```text
//! (root) ── shortcut ──────────────────────────────▶ frame 0: $f ──▶ objects
//!    └────▶ (GC roots) ──▶ (Stack frames) ──────────────┘
//! ```
//!
//! Objects have the type `object`, under the name of their WebAssembly type, by which DevTools groups them. It adds what is of the type
//! `array` or `hidden` to the size of the owner: neither is used. i31 values and functions are nodes without a size, one for each value. So is
//! what stands in an array that looks like text, or behind a host value: a string that the object refers to.
//!
//! Nothing is kept of an object but its number: the graph is gone through once to count, once for the nodes and once for the edges.

use engine::{HeapGraph, Referent};
use gc_api::{GcKind, RootKind};
use serde_json::json;
use std::collections::HashMap;
use std::io::{self, Write};
use std::rc::Rc;

/// What a node is made of, and how many numbers that are.
const NODE_FIELDS: [&str; 6] = ["type", "name", "id", "self_size", "edge_count", "detachedness"];
const NODE_TYPES: [&str; 15] = [
    "hidden",
    "array",
    "string",
    "object",
    "code",
    "closure",
    "regexp",
    "number",
    "native",
    "synthetic",
    "concatenated string",
    "sliced string",
    "symbol",
    "bigint",
    "object shape",
];
const EDGE_FIELDS: [&str; 3] = ["type", "name_or_index", "to_node"];
const EDGE_TYPES: [&str; 7] = ["context", "element", "property", "internal", "hidden", "shortcut", "weak"];

/// The kinds of roots, as DevTools shows them.
const CATEGORIES: [(RootKind, &str); 6] = [
    (RootKind::Stack, "(Stack frames)"),
    (RootKind::Global, "(Globals)"),
    (RootKind::Table, "(Tables)"),
    (RootKind::Segment, "(Element segments)"),
    (RootKind::Host, "(Host handles)"),
    (RootKind::Exception, "(Exception)"),
];

/// Where the nodes of holders begin, behind the root, `(GC roots)` and the categories.
const HOLDERS: usize = 2 + CATEGORIES.len();

/// Units of text that are shown, at most.
const MOST_TEXT: usize = 256;

/// A node's type, by its place in [`NODE_TYPES`].
#[derive(Clone, Copy)]
enum Node {
    String = 2,
    Object = 3,
    Code = 4,
    Closure = 5,
    Number = 7,
    Synthetic = 9,
}

/// An edge's type, by its place in [`EDGE_TYPES`].
#[derive(Clone, Copy)]
enum Edge {
    Element = 1,
    Property = 2,
    Internal = 3,
    Shortcut = 5,
}

/// Writes a graph.
///
/// # Errors
/// Those of `to`.
pub fn write(graph: &HeapGraph<'_>, to: &mut dyn Write) -> io::Result<()> {
    let mut writer = Writer::count(graph);
    writer.header(to)?;
    writer.nodes(to)?;
    writer.edges(to)?;
    to.write_all(
        b"\"trace_function_infos\":[],\n\"trace_tree\":[],\n\"samples\":[],\n\"locations\":[],\n\"strings\":[",
    )?;
    for (i, string) in writer.strings.list.iter().enumerate() {
        to.write_all(if i == 0 { b"" } else { b",\n" })?;
        serde_json::to_writer(&mut *to, &**string)?;
    }
    to.write_all(b"]}\n")
}

/// Names, each once.
#[derive(Default)]
struct Strings {
    list: Vec<Rc<str>>,
    known: HashMap<Rc<str>, u32>,
}

impl Strings {
    fn get(&mut self, text: &str) -> u32 {
        if let Some(known) = self.known.get(text) {
            return *known;
        }
        let (text, number): (Rc<str>, u32) = (text.into(), self.list.len() as u32);
        self.list.push(text.clone());
        self.known.insert(text, number);
        number
    }
}

/// Values that stand in references, each once, in the order in which they are met.
#[derive(Default)]
struct Values {
    list: Vec<Referent>,
    known: HashMap<u32, u32>,
}

impl Values {
    fn add(&mut self, bits: u32, value: Referent) {
        let next = self.list.len() as u32;
        let list = &mut self.list;
        self.known.entry(bits).or_insert_with(|| {
            list.push(value);
            next
        });
    }
}

struct Writer<'g> {
    graph: &'g HeapGraph<'g>,
    i31s: Values,
    functions: Values,
    /// The objects that refer to a string, by number.
    texts: Vec<u32>,
    edge_count: usize,
    strings: Strings,
    /// The names of the slots that were met, by type.
    slot_names: Vec<HashMap<u32, u32>>,
    /// How many nodes were written.
    written: usize,
}

impl<'g> Writer<'g> {
    /// Looks at everything once.
    fn count(graph: &'g HeapGraph<'g>) -> Writer<'g> {
        let mut writer = Writer {
            graph,
            i31s: Values::default(),
            functions: Values::default(),
            texts: Vec::new(),
            edge_count: 1 + 2 * graph.holders().len() + CATEGORIES.len(),
            strings: Strings::default(),
            slot_names: vec![HashMap::new(); graph.types().len()],
            written: 0,
        };
        for reference in graph.holders().iter().flat_map(|holder| holder.references()) {
            writer.meet(reference.to());
        }
        for number in 0..graph.len() {
            graph.visit_references(number, |_, to| writer.meet(to));
            if text(graph, number).is_some() {
                writer.texts.push(number as u32);
                writer.edge_count += 1;
            }
        }
        writer
    }

    fn meet(&mut self, to: Referent) {
        self.edge_count += 1;
        match to {
            Referent::Object(_) => {}
            Referent::I31(value) => self.i31s.add(value as u32, to),
            Referent::Function(id) => self.functions.add(id, to),
        }
    }

    // Which node is where.

    fn first_object(&self) -> usize {
        HOLDERS + self.graph.holders().len()
    }

    fn first_i31(&self) -> usize {
        self.first_object() + self.graph.len()
    }

    fn first_function(&self) -> usize {
        self.first_i31() + self.i31s.list.len()
    }

    fn first_text(&self) -> usize {
        self.first_function() + self.functions.list.len()
    }

    fn node_count(&self) -> usize {
        self.first_text() + self.texts.len()
    }

    fn node_of(&self, to: Referent) -> usize {
        match to {
            Referent::Object(number) => self.first_object() + number,
            Referent::I31(value) => self.first_i31() + self.i31s.known[&(value as u32)] as usize,
            Referent::Function(id) => self.first_function() + self.functions.known[&id] as usize,
        }
    }

    /// The holders of a kind, with their nodes.
    fn holders_of(&self, kind: RootKind) -> impl Iterator<Item = usize> + use<'g> {
        let all = self.graph.holders().iter().enumerate();
        all.filter(move |(_, holder)| holder.kind() == kind).map(|(i, _)| HOLDERS + i)
    }

    fn header(&self, to: &mut dyn Write) -> io::Result<()> {
        let (string, number) = (json!("string"), json!("number"));
        let snapshot = json!({
            "meta": {
                "node_fields": NODE_FIELDS,
                "node_types": [json!(NODE_TYPES), string, number, number, number, number],
                "edge_fields": EDGE_FIELDS,
                "edge_types": [json!(EDGE_TYPES), json!("string_or_number"), json!("node")],
                "trace_function_info_fields": ["function_id", "name", "script_name", "script_id", "line", "column"],
                "trace_node_fields": ["id", "function_info_index", "count", "size", "children"],
                "sample_fields": ["timestamp_us", "last_assigned_id"],
                "location_fields": ["object_index", "script_id", "line", "column"],
            },
            "node_count": self.node_count(),
            "edge_count": self.edge_count,
            "trace_function_count": 0,
            "extra_native_bytes": 0,
        });
        writeln!(to, "{{\"snapshot\":{snapshot},")
    }

    // Nodes.

    fn nodes(&mut self, to: &mut dyn Write) -> io::Result<()> {
        let graph = self.graph;
        to.write_all(b"\"nodes\":[")?;
        let holders = graph.holders();
        self.node(to, Node::Synthetic, "", None, 0, 1 + holders.len())?;
        self.node(to, Node::Synthetic, "(GC roots)", None, 0, CATEGORIES.len())?;
        for (kind, name) in CATEGORIES {
            let count = self.holders_of(kind).count();
            self.node(to, Node::Synthetic, name, None, 0, count)?;
        }
        for holder in holders {
            let ty = if holder.kind() == RootKind::Stack { Node::Code } else { Node::Object };
            self.node(to, ty, holder.name(), None, 0, holder.references().len())?;
        }
        let mut texts = std::mem::take(&mut self.texts);
        let mut next_text = texts.iter().peekable();
        for number in 0..graph.len() {
            let object = graph.object(number);
            let mut edges = next_text.next_if(|text| **text == number as u32).is_some() as usize;
            graph.visit_references(number, |_, _| edges += 1);
            let name = graph.types()[object.ty].name();
            self.node(to, Node::Object, name, Some(object.index), object.bytes, edges)?;
        }
        for value in std::mem::take(&mut self.i31s.list) {
            let Referent::I31(number) = value else { unreachable!("there are i31s only") };
            self.i31s.list.push(value);
            self.node(to, Node::Number, &format!("i31 {number}"), None, 0, 0)?;
        }
        for value in std::mem::take(&mut self.functions.list) {
            let Referent::Function(id) = value else { unreachable!("there are functions only") };
            self.functions.list.push(value);
            self.node(to, Node::Closure, &graph.function_name(id), None, 0, 0)?;
        }
        for number in &texts {
            let text = text(graph, *number as usize).unwrap_or_default();
            self.node(to, Node::String, &text, None, 0, 0)?;
        }
        std::mem::swap(&mut self.texts, &mut texts);
        to.write_all(b"],\n")
    }

    /// Objects have their place in the heap as an id, which is even; what is no object has an odd one.
    fn node(
        &mut self,
        to: &mut dyn Write,
        ty: Node,
        name: &str,
        index: Option<u32>,
        bytes: u64,
        edges: usize,
    ) -> io::Result<()> {
        let id = index.map_or(2 * self.written as u64 + 1, u64::from);
        let name = self.strings.get(name);
        let comma = if self.written == 0 { "" } else { ",\n" };
        self.written += 1;
        write!(to, "{comma}{},{name},{id},{bytes},{edges},0", ty as u32)
    }

    // Edges.

    fn edges(&mut self, to: &mut dyn Write) -> io::Result<()> {
        let graph = self.graph;
        let holders = graph.holders();
        write!(to, "\"edges\":[{},1,{}", Edge::Element as u32, NODE_FIELDS.len())?;
        for (i, holder) in holders.iter().enumerate() {
            let name = self.strings.get(holder.name());
            edge(to, Edge::Shortcut, name, HOLDERS + i)?;
        }
        for i in 0..CATEGORIES.len() {
            edge(to, Edge::Element, i as u32 + 1, 2 + i)?;
        }
        for (kind, _) in CATEGORIES {
            for (i, holder) in self.holders_of(kind).enumerate() {
                edge(to, Edge::Element, i as u32 + 1, holder)?;
            }
        }
        for reference in holders.iter().flat_map(|holder| holder.references()) {
            let node = self.node_of(reference.to());
            match reference.name() {
                Some(name) => edge(to, Edge::Property, self.strings.get(name), node)?,
                None => edge(to, Edge::Element, reference.slot(), node)?,
            }
        }
        let (first_text, mut text) = (self.first_text(), 0);
        for number in 0..graph.len() {
            let ty = graph.object(number).ty;
            let mut outcome = Ok(());
            graph.visit_references(number, |slot, referent| {
                let node = self.node_of(referent);
                if outcome.is_ok() {
                    outcome = match graph.types()[ty].kind() {
                        GcKind::ARRAY => edge(to, Edge::Element, slot, node),
                        _ => edge(to, Edge::Property, self.slot_name(ty, slot), node),
                    };
                }
            });
            outcome?;
            if self.texts.get(text) == Some(&(number as u32)) {
                let name = self.strings.get(if graph.types()[ty].kind() == GcKind::EXTERN { "value" } else { "text" });
                edge(to, Edge::Internal, name, first_text + text)?;
                text += 1;
            }
        }
        to.write_all(b"],\n")
    }

    fn slot_name(&mut self, ty: usize, slot: u32) -> u32 {
        let strings = &mut self.strings;
        let of = &self.graph.types()[ty];
        *self.slot_names[ty].entry(slot).or_insert_with(|| match of.slot_name(slot) {
            Some(name) => strings.get(name),
            None if of.kind() == GcKind::EXN => strings.get(&format!("value {slot}")),
            None => strings.get(&format!("field {slot}")),
        })
    }
}

/// Writes one of the edges behind the first.
fn edge(to: &mut dyn Write, ty: Edge, name: u32, node: usize) -> io::Result<()> {
    write!(to, ",\n{},{name},{}", ty as u32, node * NODE_FIELDS.len())
}

/// The string that an object refers to in a snapshot.
fn text(graph: &HeapGraph<'_>, number: usize) -> Option<String> {
    graph.text(number, MOST_TEXT).or_else(|| graph.host_value(number))
}
