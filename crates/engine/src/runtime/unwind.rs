//! Walks the stack of compiled code: for backtraces, for roots, and for exception handlers.
//!
//! Compiled code keeps frame pointers, so a frame is a link in a list: `[fp]` is the caller's frame pointer and `[fp + 8]` the
//! address in the caller to return to. The frames between an entry from the host and the place where compiled code
//! was left again are one *activation*:
//!
//! ```text
//!   entry trampoline   fp = entry_fp           ← the walk ends here, exclusively
//!   function           fp
//!   …
//!   function           fp = [exit_fp], return address exit_pc   ← and starts here
//!   exit trampoline    fp = exit_fp
//! ```
//!
//! There may be no function at all: it may have left by a tail call. References live across a call are in stack slots,
//! which the call's stack map names by their distance from the stack pointer, `fp − frame_size`.

use super::code::{CodeMap, CodeObject};
use crate::vm::VMStoreContext;
use std::cell::Cell;
use std::mem::MaybeUninit;

/// The bounds of an activation's frames, as [`VMStoreContext`] records them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Frame pointer of the trampoline by which compiled code was left; 0 when it has not been left yet.
    pub exit_fp: usize,
    /// Return address into compiled code.
    pub exit_pc: usize,
    /// Frame pointer of the trampoline by which it was entered.
    pub entry_fp: usize,
}

impl Bounds {
    /// Those of the store's newest activation, which has been left for the host.
    pub fn of(store: &VMStoreContext) -> Self {
        Bounds { exit_fp: store.exit_fp, exit_pc: store.exit_pc, entry_fp: store.entry_fp }
    }
}

/// A frame of a compiled function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it goes on: a return address, except in the frame that faulted.
    pub pc: usize,
    /// Its frame pointer.
    pub fp: usize,
}

/// The frames of an activation, newest first.
#[derive(Clone, Debug)]
pub struct Frames {
    next: Frame,
    entry_fp: usize,
}

/// The frames of an activation that was left for the host; none if it has not been left yet.
///
/// # Safety
/// The bounds are those of an activation whose frames all still exist for as long as the iterator is used.
pub unsafe fn frames(Bounds { exit_fp, exit_pc, entry_fp }: Bounds) -> Frames {
    if exit_fp == 0 {
        return Frames { next: Frame { pc: 0, fp: entry_fp }, entry_fp };
    }
    // SAFETY: an exit trampoline's frame, like all, begins with the caller's frame pointer.
    let fp = unsafe { *(exit_fp as *const usize) };
    Frames { next: Frame { pc: exit_pc, fp }, entry_fp }
}

/// The frames of an activation from `newest` on: for one that was stopped by a fault.
///
/// # Safety
/// As for [`frames`].
pub unsafe fn frames_from(newest: Frame, entry_fp: usize) -> Frames {
    Frames { next: newest, entry_fp }
}

impl Frames {
    /// Whether the walk is over because the list of frames does not lead to the entry: the stack is corrupt.
    pub fn is_broken(&self) -> bool {
        // Without an entry there is no frame: the host called a function of its own.
        self.entry_fp != 0 && (self.next.fp > self.entry_fp || self.next.fp == 0)
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let frame = self.next;
        // Frames are ever higher up. A link to anywhere else is not followed; it leaves the walk broken.
        if frame.fp == 0 || frame.fp >= self.entry_fp {
            return None;
        }
        // SAFETY: `frame.fp` is the frame pointer of a live frame of compiled code, by the promise to `frames`.
        let (fp, pc) = unsafe { (*(frame.fp as *const usize), *(frame.fp as *const usize).add(1)) };
        self.next = Frame { pc, fp: if fp > frame.fp { fp } else { 0 } };
        Some(frame)
    }
}

/// Looks objects up by program counter; neighbouring frames are mostly in the same one.
struct Lookup<'a> {
    code: &'a CodeMap,
    last: Option<&'a CodeObject>,
}

impl<'a> Lookup<'a> {
    fn get(&mut self, pc: usize) -> &'a CodeObject {
        if let Some(object) = self.last.filter(|o| o.range().contains(&pc)) {
            return object;
        }
        let (object, _) = self.code.lookup(pc).unwrap_or_else(|| panic!("frame at {pc:#x} is not compiled code"));
        self.last = Some(object);
        object
    }
}

/// Where to go on after an exception: arguments for [`super::arch::resume`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The handler.
    pub pc: usize,
    /// Its frame's stack pointer.
    pub sp: usize,
    /// Its frame's frame pointer.
    pub fp: usize,
}

/// The newest frame of the activation that catches exceptions; `None` when none does, and the exception leaves by the
/// entry trampoline.
///
/// # Panics
/// When the stack is corrupt.
///
/// # Safety
/// As for [`frames`]; `code` knows all code of the activation.
pub unsafe fn find_handler(code: &CodeMap, bounds: Bounds) -> Option<Target> {
    let mut lookup = Lookup { code, last: None };
    // SAFETY: passed on.
    let mut frames = unsafe { frames(bounds) };
    for frame in &mut frames {
        if let Some((pc, frame_size)) = lookup.get(frame.pc).handler(frame.pc) {
            return Some(Target { pc, sp: frame.fp - frame_size as usize, fp: frame.fp });
        }
    }
    assert!(!frames.is_broken(), "the stack of compiled code is corrupt");
    None
}

/// Shows `visit` every slot of the activation's frames that holds a live reference; null and unboxed ones too. The visitor may
/// change it. A call without a stack map has no live references.
///
/// # Panics
/// When the stack is corrupt: then roots would be missed.
///
/// # Safety
/// As for [`frames`]; `code` knows all code of the activation.
pub unsafe fn visit_stack_roots(code: &CodeMap, bounds: Bounds, visit: &mut dyn FnMut(&Cell<u32>)) {
    // SAFETY: passed on.
    unsafe { visit_frames(code, bounds, |_, slots| slots.for_each(&mut *visit)) }
}

/// As [`visit_stack_roots`], frame by frame: also those without live references.
///
/// # Panics
/// As [`visit_stack_roots`].
///
/// # Safety
/// As for [`visit_stack_roots`].
pub unsafe fn visit_frames(code: &CodeMap, bounds: Bounds, mut visit: impl FnMut(Frame, Slots<'_>)) {
    let mut lookup = Lookup { code, last: None };
    // SAFETY: passed on.
    let mut frames = unsafe { frames(bounds) };
    for frame in &mut frames {
        let (sp, offsets) = match lookup.get(frame.pc).stack_map(frame.pc) {
            Some(map) => {
                debug_assert!(map.slots.iter().all(|slot| slot + 4 <= map.frame_size), "slots are inside the frame");
                (frame.fp - map.frame_size as usize, &*map.slots)
            }
            None => (frame.fp, &[] as &[u32]),
        };
        visit(frame, Slots { sp, offsets: offsets.iter() });
    }
    assert!(!frames.is_broken(), "the stack of compiled code is corrupt");
}

/// The slots of a live frame that hold references.
pub struct Slots<'a> {
    sp: usize,
    offsets: std::slice::Iter<'a, u32>,
}

impl<'a> Iterator for Slots<'a> {
    type Item = &'a Cell<u32>;

    #[inline]
    fn next(&mut self) -> Option<&'a Cell<u32>> {
        let slot = *self.offsets.next()?;
        // SAFETY: a 4-byte slot in a live frame, by the stack map; its owner waits for a call to return. Only `visit_frames` makes
        // these, for as long as its visitor looks at the frame.
        Some(unsafe { &*((self.sp + slot as usize) as *const Cell<u32>) })
    }
}

/// Program counters kept from the newest frames on.
const FIRST: usize = 64;
/// Program counters kept from the oldest frames.
const LAST: usize = 16;

/// Different program counters that are told apart between these.
const BETWEEN: usize = 128;

/// The program counters of an activation, newest first: of a deep recursion the first 64 and the last 16, and how often each of
/// up to 128 was there between them, which are all that there are in any but the strangest recursion. Recording one allocates
/// nothing, so that the signal handler can.
#[derive(Clone, Copy)]
pub struct Backtrace {
    /// Frames there were.
    count: usize,
    /// Entries below `count` are initialised.
    first: [MaybeUninit<usize>; FIRST],
    /// A ring: frame `i` ≥ `FIRST` is at `(i - FIRST) % LAST`.
    last: [MaybeUninit<usize>; LAST],
    /// Program counters between those, and how often each; the first `told_apart` are initialised.
    between: [MaybeUninit<(usize, usize)>; BETWEEN],
    told_apart: usize,
}

impl Backtrace {
    /// An empty one; costs no initialisation of its buffers.
    pub const fn new() -> Self {
        Backtrace {
            count: 0,
            first: [MaybeUninit::uninit(); FIRST],
            last: [MaybeUninit::uninit(); LAST],
            between: [MaybeUninit::uninit(); BETWEEN],
            told_apart: 0,
        }
    }

    /// Replaces the contents by the given frames.
    pub fn record(&mut self, frames: Frames) {
        (self.count, self.told_apart) = (0, 0);
        for frame in frames {
            match self.first.get_mut(self.count) {
                Some(entry) => _ = entry.write(frame.pc),
                None => {
                    let entry = &mut self.last[(self.count - FIRST) % LAST];
                    let before = std::mem::replace(entry, MaybeUninit::new(frame.pc));
                    if self.count >= FIRST + LAST {
                        // SAFETY: the ring has been round once.
                        self.leave_out(unsafe { before.assume_init() });
                    }
                }
            }
            self.count += 1;
        }
    }

    fn leave_out(&mut self, pc: usize) {
        // SAFETY: as many have been written.
        let known = self.between[..self.told_apart].iter_mut().map(|entry| unsafe { entry.assume_init_mut() });
        if let Some((_, times)) = known.into_iter().find(|(known, _)| *known == pc) {
            *times += 1;
        } else if let Some(entry) = self.between.get_mut(self.told_apart) {
            entry.write((pc, 1));
            self.told_apart += 1;
        }
    }

    /// The program counters of frames that were left out, and how often each was there. Where there were more than 128 different ones, the
    /// times add up to less than [`Backtrace::omitted`].
    pub fn left_out(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        // SAFETY: as many have been written.
        self.between[..self.told_apart].iter().map(|entry| unsafe { entry.assume_init() })
    }

    /// Number of frames that there were.
    pub fn depth(&self) -> usize {
        self.count
    }

    /// Number of frames that were left out; they stood behind the first [`Backtrace::pcs`]' 64.
    pub fn omitted(&self) -> usize {
        self.count.saturating_sub(FIRST + LAST)
    }

    /// The program counters that were kept. All are return addresses, except the first when a fault was the cause.
    pub fn pcs(&self) -> Vec<usize> {
        let kept_last = self.count.saturating_sub(FIRST).min(LAST);
        let first = self.first[..self.count.min(FIRST)].iter();
        let last = (self.count - kept_last..self.count).map(|i| &self.last[(i.wrapping_sub(FIRST)) % LAST]);
        // SAFETY: `record` has written all entries that `count` covers.
        first.chain(last).map(|pc| unsafe { pc.assume_init() }).collect()
    }
}

impl Default for Backtrace {
    fn default() -> Self {
        Backtrace::new()
    }
}

impl std::fmt::Debug for Backtrace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backtrace").field("depth", &self.depth()).field("pcs", &self.pcs()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stack of `n` frames of two words each; frame `i` has the program counter `i`.
    fn stack(n: usize) -> (Box<[usize]>, Bounds) {
        let mut words = vec![0; 2 * n + 4].into_boxed_slice();
        let base = words.as_ptr() as usize;
        // The exit trampoline, then the functions, then the entry trampoline.
        for i in 0..=n {
            words[2 * i] = base + 16 * (i + 1);
            words[2 * i + 1] = i;
        }
        (words, Bounds { exit_fp: base, exit_pc: 0, entry_fp: base + 16 * (n + 1) })
    }

    fn walk(bounds: Bounds) -> Frames {
        // SAFETY: the bounds come from `stack`, whose words the caller holds.
        unsafe { frames(bounds) }
    }

    fn pcs(bounds: Bounds) -> Vec<usize> {
        walk(bounds).map(|f| f.pc).collect()
    }

    #[test]
    fn frames_end_at_the_entry() {
        let (_words, bounds) = stack(3);
        assert_eq!(pcs(bounds), [0, 1, 2]);
        let (_words, bounds) = stack(0);
        assert_eq!(pcs(bounds), [0usize; 0], "a tail call may have left no frame");
        assert_eq!(
            pcs(Bounds { exit_fp: 0, ..bounds }),
            [0usize; 0],
            "an activation that was not left yet has no frames"
        );
    }

    #[test]
    fn a_link_downwards_breaks_the_walk() {
        let (mut words, bounds) = stack(3);
        words[4] = words.as_ptr() as usize;
        let mut frames = walk(bounds);
        assert_eq!(frames.by_ref().count(), 2);
        assert!(frames.is_broken());
    }

    #[test]
    fn what_recurs_is_counted() {
        let (mut words, bounds) = stack(1_000);
        (0..=1_000).for_each(|i| words[2 * i + 1] = i % 3);
        let mut backtrace = Backtrace::new();
        backtrace.record(walk(bounds));
        // 64 to 983: the first of them is a 1.
        assert_eq!(backtrace.left_out().collect::<Vec<_>>(), [(1, 307), (2, 307), (0, 306)]);
        assert_eq!(backtrace.omitted(), 920);
    }

    #[test]
    fn backtraces_keep_both_ends() {
        for n in [0, 1, 64, 65, 80, 81, 1000] {
            let (_words, bounds) = stack(n);
            let mut backtrace = Backtrace::new();
            backtrace.record(walk(bounds));
            let first = 0..n.min(64);
            let last = n.saturating_sub(16).max(first.end)..n;
            assert_eq!(backtrace.pcs(), first.chain(last).collect::<Vec<_>>());
            assert_eq!((backtrace.depth(), backtrace.omitted()), (n, n.saturating_sub(80)));
            // Each frame has a program counter of its own here.
            let between: Vec<_> = (64..n.saturating_sub(16)).take(BETWEEN).map(|pc| (pc, 1)).collect();
            assert_eq!(backtrace.left_out().collect::<Vec<_>>(), between);
        }
    }
}
