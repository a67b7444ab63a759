//! Random functions do the same with and without the pass, and its traps stand where they stood.

use super::*;
use crate::compile::random::{Random, random_function, same};
use cranelift_codegen::ir::SourceLoc;

#[test]
fn functions_do_what_they_did() {
    let (mut changed, mut returned) = (0, 0);
    for seed in 1..1_500 {
        let before = random_function(&mut Random::of(seed));
        let mut after = before.clone();
        branches_to_traps(&mut after);
        changed += usize::from(before.display().to_string() != after.display().to_string());
        returned += same(&before, &after, &format!("seed {seed}"));
    }
    assert!(changed > 200 && returned > 800, "{changed} changed, {returned} returned");
}

/// Each code stands for the block that it was in.
#[test]
fn traps_are_where_they_were() {
    let mut conditional = 0;
    for seed in 1..200 {
        let mut func = random_function(&mut Random::of(seed));
        for inst in insts(&func) {
            func.set_srcloc(inst, SourceLoc::new(func.dfg.insts[inst].trap_code().map_or(0, number)));
        }
        branches_to_traps(&mut func);
        for inst in insts(&func) {
            let code = func.dfg.insts[inst].trap_code();
            assert_eq!(func.srcloc(inst).bits(), code.map_or(0, number), "{func}");
            conditional += usize::from(matches!(func.dfg.insts[inst], InstructionData::CondTrap { .. }));
        }
        for block in func.layout.blocks() {
            let Some(last) = func.layout.last_inst(block) else { continue };
            let InstructionData::Brif { blocks, .. } = func.dfg.insts[last] else { continue };
            assert!(blocks.iter().all(|to| just_traps(&func, to.block(&func.dfg.value_lists)).is_none()), "{func}");
        }
    }
    assert!(conditional > 100, "{conditional}");
}

fn number(code: TrapCode) -> u32 {
    u32::from(code.as_raw().get())
}

fn insts(func: &Function) -> Vec<Inst> {
    func.layout.blocks().flat_map(|block| func.layout.block_insts(block)).collect()
}
