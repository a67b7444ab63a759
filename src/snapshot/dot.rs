//! Graphviz's format, for heaps that fit a drawing.

use engine::{HeapGraph, Referent};
use gc_api::GcKind;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Objects of a drawing, at most.
pub const MOST_OBJECTS: usize = 1000;

/// Values that are written into an object, at most; and units of text.
const MOST_VALUES: usize = 8;
const MOST_TEXT: usize = 40;

/// Writes a graph. What refers into the heap is a box, an object a rounded one with its type, bytes, and the values that are no objects.
///
/// # Errors
/// Those of `to`.
pub fn write(graph: &HeapGraph<'_>, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "digraph heap {{")?;
    writeln!(to, "  rankdir=LR; node [shape=box, fontname=\"sans-serif\", fontsize=10]; edge [fontsize=9];")?;
    for (i, holder) in graph.holders().iter().enumerate() {
        writeln!(to, "  r{i} [label={}, style=filled, fillcolor=\"#dddddd\"];", quoted(holder.name()))?;
        for reference in holder.references() {
            let label = reference.name().map_or_else(|| reference.slot().to_string(), str::to_string);
            match reference.to() {
                Referent::Object(number) => writeln!(to, "  r{i} -> o{number} [label={}];", quoted(&label))?,
                value => {
                    let node = format!("r{i}_{}", reference.slot());
                    writeln!(to, "  {node} [label={}, shape=plaintext];", quoted(&value_name(graph, value)))?;
                    writeln!(to, "  r{i} -> {node} [label={}];", quoted(&label))?;
                }
            }
        }
    }
    for number in 0..graph.len() {
        let object = graph.object(number);
        let ty = &graph.types()[object.ty];
        let mut label = ty.name().to_string();
        if let Some(length) = object.length {
            write!(label, "[{length}]").expect("a string takes everything");
        }
        write!(label, "\n{} B", object.bytes).expect("a string takes everything");
        if let Some(text) = graph.text(number, MOST_TEXT).or_else(|| graph.host_value(number)) {
            write!(label, "\n{text:?}").expect("a string takes everything");
        }
        let (mut values, mut edges) = (0, Vec::new());
        graph.visit_references(number, |slot, referent| {
            let name = match ty.slot_name(slot) {
                Some(name) => name.to_string(),
                None if ty.kind() == GcKind::ARRAY => format!("[{slot}]"),
                None => slot.to_string(),
            };
            match referent {
                Referent::Object(other) => edges.push((other, name)),
                value => {
                    values += 1;
                    if values <= MOST_VALUES {
                        write!(label, "\n{name} = {}", value_name(graph, value)).expect("a string takes everything");
                    }
                }
            }
        });
        if values > MOST_VALUES {
            write!(label, "\n… {} more", values - MOST_VALUES).expect("a string takes everything");
        }
        writeln!(to, "  o{number} [label={}, style=rounded];", quoted(&label))?;
        for (other, name) in edges {
            writeln!(to, "  o{number} -> o{other} [label={}];", quoted(&name))?;
        }
    }
    writeln!(to, "}}")
}

fn value_name(graph: &HeapGraph<'_>, value: Referent) -> String {
    match value {
        Referent::I31(value) => format!("i31 {value}"),
        Referent::Function(id) => graph.function_name(id),
        Referent::Object(number) => format!("object {number}"),
    }
}

/// A quoted string: lines end where they end.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
