//! `gleaner snapshot`: what a program can reach, in a file.

use super::run::Run;
use clap::Args;
use std::process::ExitCode;

/// Run a program, and write what it can reach at its end: a heap snapshot
#[derive(Args)]
#[command(after_help = "\
The program runs as with `gleaner run`, with all of its options. The snapshot goes to the file that `--snapshot` names, and if none is
named to one called like the program, here, that ends in .heapsnapshot: Chrome opens it (DevTools, Memory, Load profile). A .dot is for
Graphviz, and for 1,000 objects at most.

Moments for `--snapshot-at`:
  end           the program returns, exits, traps or lets an exception out. If its heap is full, that is where the snapshot is
                taken, with the frames it is in; when it ends in another way its frames are gone, and what only they referred to
  full          at the allocation for which a full heap has no room
  collection:N  when the Nth collection has ended; minor collections count, and so do slices
  bytes:SIZE    before the object is allocated with which SIZE bytes have been: the same one under every collector. The program
                runs slower, since each allocation is looked at")]
pub struct Snapshot {
    #[command(flatten)]
    run: Run,
}

impl Snapshot {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        self.run.with_snapshot().execute()
    }
}
