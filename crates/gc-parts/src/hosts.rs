//! Objects that stand for host values: the host drops a value when its object dies.

use gc_api::{EXTERN_ID_OFFSET, HeapMemory, HostId};

/// The objects that stand for host values, in the order of allocation, so that those of the young are the last.
///
/// Cost: each collection looks at those of the objects that it may free.
#[derive(Default, Debug)]
pub struct Hosts {
    objects: Vec<u32>,
    /// So many of them are old.
    old: usize,
    dead: Vec<HostId>,
}

impl Hosts {
    /// A new one is at `index`.
    pub fn add(&mut self, index: u32) {
        self.objects.push(index);
    }

    /// After a trace: `fate` says where an object is now, or that it is dead. Those that live are old.
    pub fn sweep(&mut self, memory: &HeapMemory, fate: impl FnMut(u32) -> Option<u32>) {
        self.old = 0;
        self.sweep_young(memory, fate);
    }

    /// As [`sweep`](Self::sweep), of those that are not old.
    pub fn sweep_young(&mut self, memory: &HeapMemory, mut fate: impl FnMut(u32) -> Option<u32>) {
        let mut kept = self.old;
        for i in self.old..self.objects.len() {
            let index = self.objects[i];
            match fate(index) {
                Some(now) => {
                    self.objects[kept] = now;
                    kept += 1;
                }
                None => self.dead.push(memory.load_u32(index, EXTERN_ID_OFFSET)),
            }
        }
        self.objects.truncate(kept);
        self.old = kept;
    }

    /// The ids of the values of those that died, since the last call.
    pub fn take_dead(&mut self) -> Vec<HostId> {
        std::mem::take(&mut self.dead)
    }

    /// Bytes of the lists.
    pub fn bytes(&self) -> u64 {
        (self.objects.capacity() + self.dead.capacity()) as u64 * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gc_api::FIRST_INDEX;

    #[test]
    fn the_dead_are_reported_once_and_the_moved_followed() {
        let memory = HeapMemory::reserve(1 << 20).unwrap();
        memory.grow(1 << 16).unwrap();
        let mut hosts = Hosts::default();
        let indices: Vec<u32> = (0..6).map(|i| FIRST_INDEX + i * 16).collect();
        for (id, index) in indices.iter().enumerate() {
            memory.store_u32(*index, EXTERN_ID_OFFSET, id as u32);
            hosts.add(*index);
        }
        hosts.sweep(&memory, |index| (index != indices[2]).then_some(index));
        assert_eq!((hosts.take_dead(), hosts.take_dead()), (vec![2], vec![]));
        let young = FIRST_INDEX + 160;
        memory.store_u32(young, EXTERN_ID_OFFSET, 9);
        hosts.add(young);
        hosts.sweep_young(&memory, |index| (index != young).then(|| unreachable!("{index:#x} is old")));
        assert_eq!(hosts.take_dead(), [9]);
        let moved = FIRST_INDEX + 320;
        memory.store_u32(moved, EXTERN_ID_OFFSET, 5);
        hosts.sweep(&memory, |index| (index == indices[5]).then_some(moved));
        assert_eq!(hosts.take_dead(), [0, 1, 3, 4]);
        hosts.sweep(&memory, |_| None);
        assert_eq!(hosts.take_dead(), [5]);
    }
}
