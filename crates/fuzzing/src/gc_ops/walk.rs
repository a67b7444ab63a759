//! What the model says of its graph: what a walk gives, what can be reached, and what cycles keep.

use super::kit::{code, mix};
use super::model::{ALL_PLACES, Model, Object, Type, Value};
use super::shapes::SHAPES;

impl Model {
    /// What the program's last walk gives, after it has ended.
    pub fn walk_all(&self) -> u64 {
        let roots = self.cells.iter().flat_map(|cells| cells.globals.iter().chain(&cells.table));
        self.walk(ALL_PLACES, &roots.copied().collect::<Vec<_>>())
    }

    /// The hash that the kit's walk gives.
    pub fn walk(&self, places: usize, from: &[Value]) -> u64 {
        let mut walk = Walk { model: self, places, met: Vec::new(), hash: 0 };
        from.iter().for_each(|value| walk.see(*value));
        let mut next = 0;
        while next < walk.met.len() {
            let Object { ty, values } = &self.objects[walk.met[next]];
            let Type::Shape(shape) = ty else { unreachable!("exceptions have no place") };
            walk.mix(code::SHAPE | (*shape as u64) << 8);
            if SHAPES[*shape].element().is_some() {
                walk.mix(values.len() as u64);
            }
            values.iter().for_each(|value| walk.see(*value));
            next += 1;
        }
        walk.hash
    }

    /// Objects and host values that can be reached, ascending.
    pub fn reachable(&self, mut work: Vec<Value>) -> (Vec<usize>, Vec<usize>) {
        let mut seen = vec![false; self.objects.len()];
        let mut hosts = vec![false; self.hosts];
        while let Some(value) = work.pop() {
            match value {
                Value::Host(h) => hosts[h] = true,
                Value::Object(o) if !seen[o] => {
                    seen[o] = true;
                    work.extend_from_slice(&self.objects[o].values);
                }
                _ => {}
            }
        }
        let those = |marked: Vec<bool>| (0..marked.len()).filter(|i| marked[*i]).collect();
        (those(seen), those(hosts))
    }

    /// The objects and host values that cyclic garbage holds once all roots are gone: what is left when objects that nothing
    /// refers to are taken away for as long as there are any. A collector that only counts may keep these.
    pub fn behind_cycles(&self) -> (Vec<usize>, Vec<usize>) {
        let mut incoming = vec![0usize; self.objects.len()];
        let edges = |o: usize| {
            self.objects[o].values.iter().filter_map(|value| match value {
                Value::Object(target) => Some(*target),
                _ => None,
            })
        };
        (0..self.objects.len()).flat_map(edges).for_each(|target| incoming[target] += 1);
        let mut dead: Vec<usize> = (0..self.objects.len()).filter(|o| incoming[*o] == 0).collect();
        let mut gone = vec![false; self.objects.len()];
        while let Some(o) = dead.pop() {
            gone[o] = true;
            for target in edges(o) {
                incoming[target] -= 1;
                if incoming[target] == 0 {
                    dead.push(target);
                }
            }
        }
        self.reachable((0..self.objects.len()).filter(|o| !gone[*o]).map(Value::Object).collect())
    }
}

struct Walk<'a> {
    model: &'a Model,
    places: usize,
    met: Vec<usize>,
    hash: u64,
}

impl Walk<'_> {
    fn mix(&mut self, with: u64) {
        self.hash = mix(self.hash, with);
    }

    fn see(&mut self, value: Value) {
        match value {
            Value::Null => self.mix(code::NULL),
            Value::I31(n) => self.mix(code::I31 | (n as u32 as u64) << 8),
            Value::Host(n) => self.mix(code::HOST | (n as u64) << 8),
            Value::Func(f) => self.mix(code::FUNC | (f as u64) << 8),
            Value::Bits(n) => self.mix(n),
            Value::Object(o) => match &self.model.objects[o] {
                Object { ty: Type::Exn(tag), values } => {
                    self.mix(code::EXN[*tag]);
                    values.iter().for_each(|value| self.see(*value));
                }
                _ => match self.met.iter().position(|met| *met == o) {
                    Some(place) => self.mix(code::OBJECT | (place as u64) << 8),
                    None if self.met.len() < self.places => {
                        self.mix(code::OBJECT | (self.met.len() as u64) << 8);
                        self.met.push(o);
                    }
                    None => self.mix(code::FAR),
                },
            },
        }
    }
}
