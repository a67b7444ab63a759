//! Known trouble, as scripts.

use crate::script::Script;

/// Heaps that the short ones run in.
const HEAPS: [&str; 3] = [
    "heap limit=67108864 initial=65536 zeal=0 count=1 faults=1 again=1",
    "heap limit=67108864 initial=1048576 zeal=0 count=0 faults=0 again=0",
    "heap limit=67108864 initial=65536 zeal=1 count=1 faults=1 again=0",
];

/// Every scenario with its name, which says what it tries.
///
/// # Panics
/// Never: they are well formed.
pub fn scenarios() -> Vec<(&'static str, Script)> {
    let everywhere = ANYWHERE.iter().flat_map(|(name, text)| HEAPS.map(|heap| (*name, parse(heap, text))));
    everywhere.chain(LARGE.iter().map(|(name, heap, text)| (*name, parse(heap, text)))).collect()
}

/// The short ones, each in one heap.
pub fn short() -> Vec<(&'static str, Script)> {
    ANYWHERE.iter().zip(HEAPS.iter().cycle()).map(|((name, text), heap)| (*name, parse(heap, text))).collect()
}

fn parse(heap: &str, text: &str) -> Script {
    format!("{heap}\n{text}").parse().expect("scenarios are well formed")
}

/// Short ones, which run in several heaps, and with a collection at every allocation.
const ANYWHERE: &[(&str, &str)] = &[
    (
        "every kind of root keeps its object alive",
        "new $0 pair 0 $9 inline\nglobal.set g0 $0 inline\nnew $0 pair 0 $9 inline\ntable.set t0 3 $0 inline
         new $0 pair 0 $9 inline\nelem e0 $0 1\nnew $0 pair 0 $9 inline\nroot h0 $0\nnew $0 error 0 $9 inline\nthrow $0
         new $0 pair 0 $9 inline\nmove $1 $0\nnull $0\ncollect full\ncollect full\nglobal.get $2 g0 inline\ntable.get $3 t0 3 inline
         push $4 h0\ncatch $5\ntable.init t1 0 e0 0 1\nelem.drop e0\ncollect full\ntable.get $6 t1 0 host\ncollect full",
    ),
    (
        "every kind of root lets its object die",
        "extern $0\nglobal.set g0 $0 host\nextern $0\ntable.set t2 300 $0 inline\nextern $0\nelem e3 $0 4\nextern $0\nroot h0 $0
         extern $0\nnew $0 error 0 $0 inline\nthrow $0\nnull $0\ncollect full\nglobal.set g0 $0 inline\ntable.set t2 300 $0 host
         elem.drop e3\nunroot h0\ncatch $0\nnull $0\ncollect full",
    ),
    (
        "an i31 is no object wherever it stands",
        "i31 $0 2147483647\ni31 $1 32768\nnew $2 pair 0 $0 inline\nnew $3 typed 0 $0 inline\nnew $4 refs 20 $1 inline\nnew $5 smalls 5 $0 typed
         set $2 0 $1 typed\nglobal.set g0 $1 inline\ntable.fill t1 0 $0 20\nelem e0 $0 2\nroot h0 $1\nset $5 3 $1 host\ncollect full
         global.get $6 g0 inline\nget $7 $2 0 typed\nget $8 $5 3 inline\neq $6 $7\npush $9 h0\nunroot h0\nfill $4 2 $0 9\ncollect full",
    ),
    (
        "every field of a wide struct is scanned",
        "new $0 wide 0 $8 inline\ncollect minor\nnew $1 pair 0 $8 inline\nset $0 0 $1 inline\nnew $1 pair 0 $8 inline\nset $0 1 $1 inline
         new $1 pair 0 $8 inline\nset $0 7 $1 host\nnew $1 pair 0 $8 inline\nset $0 150 $1 inline\nnew $1 pair 0 $8 inline\nset $0 299 $1 typed
         null $1\ncollect full\ncollect full\nget $2 $0 0 inline\nget $3 $0 150 inline\nget $4 $0 299 host",
    ),
    (
        "every element of an array is scanned",
        "new $0 refs 0 $8 inline\nnew $0 refs 1 $8 inline\neach $0 leaf 0 inline\nmove $5 $0\nnew $0 refs 7 $8 host\neach $0 leaf 0 host
         move $6 $0\nnew $0 refs 300 $8 inline\neach $0 pair 0 inline\nnull $1\ncollect full\ncollect minor\nget $2 $0 299 inline\nget $3 $5 0 inline",
    ),
    (
        "what an array has grown old with is replaced by new objects",
        "new $0 refs 200 $8 inline\ncollect full\ncollect minor\neach $0 pair 0 inline\nnull $1\ncollect minor\nget $2 $0 0 inline\nget $3 $0 199 inline
         each $0 node 0 host\nnull $1\ncollect minor\ncollect major\neach $0 mixed 0 typed\nnull $1\ncollect minor\ncollect full",
    ),
    (
        "copies that overlap read before they write",
        "new $0 refs 40 $8 inline\neach $0 leaf 0 inline\nnull $1\ncollect full\ncopy $0 3 $0 0 20\ncollect full\ncopy $0 0 $0 5 30\ncollect full
         copy $0 10 $0 10 10\ncopy $0 39 $0 0 1\ncopy $0 0 $0 39 1\ncollect full\nnew $2 ints 30 $8 inline\ncopy $2 5 $2 0 20\ncopy $2 0 $2 3 20\ncollect full",
    ),
    (
        "bulk writes between arrays that are old and new",
        "new $0 refs 60 $8 inline\neach $0 pair 0 inline\nnull $1\ncollect full\nnew $2 refs 60 $8 inline\ncopy $2 0 $0 10 50\ncollect minor
         each $0 leaf 0 inline\nnull $1\ncopy $2 5 $0 0 40\nnull $0\ncollect minor\ncollect full\nnew $0 pair 0 $8 inline\nfill $2 3 $0 50\nnull $0
         collect minor\nget $3 $2 20 inline\nnull $3\nfill $2 0 $3 60\ncollect full",
    ),
    (
        "elements of segments become elements of arrays and tables",
        "new $0 leaf 0 $8 inline\nnew $1 leaf 0 $8 inline\nnew $2 leaf 0 $8 inline\nelem e0 $0 3\nnew $4 refs 9 $8 inline\ncollect full
         init_elem $4 2 e0 0 3\nnew_elem $5 e0 1 2\ntable.init t0 1 e0 0 3\nelem.drop e0\nnull $0\nnull $1\nnull $2\ncollect minor\ncollect full
         get $6 $4 2 inline\nget $7 $5 1 inline\neq $6 $7\nnew $0 leaf 0 $8 inline\nelem e1 $0 1\nnull $0\ninit_elem $4 0 e1 0 1\nelem.drop e1\ncollect minor
         get $6 $4 0 inline\nnull $6\ncollect minor\ncollect full",
    ),
    (
        "tables are copied over themselves and each other",
        "new $0 leaf 0 $8 inline\ntable.fill t1 0 $0 10\nnew $0 leaf 0 $8 inline\ntable.fill t1 10 $0 10\nnew $0 leaf 0 $8 host\ntable.set t1 20 $0 inline
         null $0\ncollect full\ntable.copy t1 5 t1 0 20\ntable.copy t1 0 t1 7 20\ntable.copy t2 100 t1 0 30\ncollect full\ntable.fill t1 0 $0 32\ncollect full
         table.copy t0 0 t2 100 8\ntable.fill t2 0 $0 400\ncollect full",
    ),
    (
        "an exception in flight keeps what it carries",
        "extern $1\nnew $0 pair 0 $1 inline\nnew $2 error 0 $0 inline\nthrow $2\nnull $0\nnull $1\nnull $2\ncollect full\ncollect minor\ncatch $3
         get $4 $3 0 inline\nget $5 $4 0 inline\nthrow $3\nnew $6 failure 0 $0 host\nthrow $6\nnull $3\nnull $4\nnull $5\nnull $6\ncollect full\ncatch $0",
    ),
    (
        "handles are cloned, given up, and passed",
        "extern $0\nroot h0 $0\nshare h1 h0\nunroot h0\nnull $0\ncollect full\npush $0 h1\ngive $1 h1\neq $0 $1\nnull $0\ncollect full\nnull $1
         collect full\nnew $0 node 0 $8 inline\nroot h2 $0\nroot h2 $0\nshare h2 h2\nnull $0\ncollect full\nunroot h2\ncollect full",
    ),
    (
        "a slot is overwritten with what it holds",
        "extern $0\nnew $1 pair 0 $0 inline\nglobal.set g0 $0 inline\ntable.set t0 0 $0 inline\nnull $0\ncollect full\nget $2 $1 0 inline
         set $1 0 $2 inline\nset $1 0 $2 host\nset $1 1 $2 typed\nglobal.get $3 g0 inline\nglobal.set g0 $3 inline\nglobal.set g0 $3 host
         table.get $4 t0 0 inline\ntable.set t0 0 $4 inline\ntable.copy t0 0 t0 0 8\nnull $2\nnull $3\nnull $4\ncollect full",
    ),
    (
        "the last reference goes by a barrier, and takes others along",
        "extern $0\nlist $0 pair 20 inline\nglobal.set g0 $0 inline\nnew $1 one 0 $0 inline\nnull $0\ncollect full\nglobal.set g0 $2 inline
         collect full\nset $1 0 $2 inline\ncollect full\nextern $0\nlist $0 one 20 inline\ntable.set t0 1 $0 host\nnull $0\ncollect full
         table.set t0 1 $2 host\ncollect full",
    ),
    (
        "an object that refers to itself",
        "new $0 node 0 $8 inline\nset $0 1 $0 inline\nset $0 3 $0 host\ncollect full\ncollect minor\nget $1 $0 1 inline\neq $0 $1\nset $0 1 $8 inline
         set $0 3 $8 inline\nnull $0\nnull $1\ncollect full\nnew $0 refs 5 $8 inline\nfill $0 0 $0 5\ncollect full\nnull $0\ncollect full",
    ),
    (
        "rings die, with what is behind them",
        "ring $0 10\nextern $3\nset $1 1 $3 inline\nnull $3\ncollect minor\ncollect full\nnull $0\ncollect full\nnull $1\ncollect full\nring $0 1\nnull $0\nnull $1
         collect full\ncollect full\nring $4 100\ncollect full\nnull $4\nnull $5\nchurn $6 pair 0 50\ncollect full",
    ),
    (
        "survivors of twenty collections",
        "extern $0\nnew $1 pair 0 $0 inline\nlist $1 node 30 inline\nnew $2 wide 0 $0 inline\nnew $3 refs 100 $1 inline
         collect minor\nchurn $5 pair 0 50\ncollect minor\ncollect minor\nchurn $5 refs 9 50\ncollect minor\ncollect major\ncollect minor\ncollect full\ncollect minor
         set $3 50 $5 inline\ncollect minor\ncollect minor\nget $6 $3 3 inline\ncollect major\ncollect minor\ncollect minor\ncollect full\ncollect minor\ncollect minor\ncollect full
         new $7 leaf 0 $8 inline\nset $3 7 $7 inline\nnull $7\ncollect minor\ncollect minor\ncollect major\ncollect full\nget $7 $3 7 host",
    ),
    (
        "young objects behind old ones of every shape",
        "new $0 one 0 $8 inline\nnew $1 node 0 $8 inline\nnew $2 mixed 0 $8 inline\nnew $3 wide 0 $8 inline\nnew $4 refs 100 $8 inline\nnew $5 structs 7 $8 host
         new $6 error 0 $8 inline\ncollect full\ncollect minor\nnew $9 pair 0 $8 inline\nset $0 0 $9 inline\nnew $9 pair 0 $8 inline\nset $1 3 $9 inline
         new $9 pair 0 $8 inline\nset $2 18 $9 inline\nnew $9 pair 0 $8 inline\nset $3 299 $9 inline\nnew $9 pair 0 $8 inline\nset $4 99 $9 inline\nnew $9 pair 0 $8 inline
         set $5 6 $9 inline\nextern $9\nset $6 2 $9 inline\nnull $9\ncollect minor\ncollect minor\nget $9 $0 0 inline\nget $10 $3 299 inline\ncollect full",
    ),
    (
        "null traps, and does nothing else",
        "get $0 $1 0 inline\nset $1 0 $2 inline\nnew $2 one 0 $8 inline\nset $1 0 $2 inline\nset $1 0 $2 typed\nget $2 $1 1 typed\ncollect full",
    ),
    (
        "arguments of an allocation survive it",
        "new $0 leaf 0 $8 inline\nnew $1 leaf 0 $8 host\nextern $2\nnew $0 node 0 $0 inline\nnew $0 mixed 0 $0 inline\nnew $1 wide 0 $0 inline\nnew $2 refs 8 $0 inline
         new $3 refs 12 $0 typed\nnew $4 refs 50 $0 inline\nnew $5 refs 50 $0 host\nnew $6 error 0 $0 host\nnew $7 typed 0 $0 typed\nnew $8 strict 0 $0 inline
         new $8 strict 0 $8 typed\ncollect full",
    ),
];

/// Those that need room or time: name, heap, script.
const LARGE: &[(&str, &str, &str)] = &[
    (
        "large objects live and die",
        "heap limit=67108864 initial=65536 zeal=0 count=1 faults=1 again=1",
        "new $0 bytes 9000 $8 inline\nnew $1 bytes 100000 $8 host\nnew $2 refs 20000 $0 inline\nnew $3 vectors 3000 $8 inline\nnew $4 bytes 3000000 $8 inline\ncollect minor\ncollect full
         null $1\nnull $4\ncollect full\nnew $5 bytes 3000000 $8 inline\nset $2 19999 $5 inline\nnull $5\ncollect full\nchurn $6 bytes 300000 40\ncollect full\nnull $2\ncollect full
         new $7 refs 9000 $8 inline\ncollect minor\neach $7 leaf 0 inline\nnull $8\ncollect minor\nget $9 $7 8999 inline\ncollect full",
    ),
    (
        "a deep list lives and dies without recursion",
        "heap limit=67108864 initial=1048576 zeal=0 count=1 faults=1 again=0",
        "extern $0\nlist $0 pair 40000 inline\ncollect minor\ncollect full\nglobal.set g0 $0 inline\nnull $0\ncollect major\nglobal.set g0 $0 inline\nchurn $1 pair 0 20
         collect major\ncollect full\nring $0 40000\ncollect full\nnull $0\nnull $1\ncollect full",
    ),
    (
        "a heap is filled, and has room again",
        "heap limit=1048576 initial=65536 zeal=0 count=1 faults=1 again=1",
        "list $0 pair 80000 inline\nnew $1 leaf 0 $8 inline\nnew $2 refs 3000 $8 host\nextern $3\nnull $0\ncollect full\nlist $0 node 500 inline\nnull $0
         list $0 refs 80000 host\nextern $4\nnull $0\nchurn $1 pair 0 2000\nlist $0 pair 500 typed\ncollect full",
    ),
    (
        "a tiny heap has room for a large object",
        "heap limit=204800 initial=204800 zeal=0 count=1 faults=1 again=1",
        "new $0 refs 2046 $0 inline\nnull $0\ncollect full\nextern $0\nnew $0 node 0 $0 inline\nnew $0 mixed 0 $0 inline\nnew $0 wide 0 $0 inline
         new $0 refs 4 $0 inline\nnew $0 refs 6 $0 inline\nnew $0 shorts 4091 $0 inline\nnew $0 bytes 12000 $8 inline\nchurn $1 pair 0 20000\nchurn $1 bytes 9000 40\ncollect full",
    ),
    (
        "garbage makes room without end",
        "heap limit=4194304 initial=65536 zeal=0 count=1 faults=1 again=0",
        "new $0 refs 100 $8 inline\neach $0 pair 0 inline\nchurn $2 pair 0 20000\nchurn $2 bytes 100 5000\neach $0 refs 5 inline\nchurn $2 wide 0 500\nchurn $2 bytes 20000 300
         each $0 mixed 0 inline\nchurn $2 node 0 5000\ncollect full",
    ),
    (
        "many host values die, each once",
        "heap limit=67108864 initial=65536 zeal=0 count=1 faults=1 again=0",
        "extern $0\nextern $1\nextern $2\nnew $3 refs 30 $0 inline\nnew $4 externs 2 $0 inline\nextern $0\nset $4 0 $0 inline\nextern $0\nset $4 1 $0 host\nextern $0
         table.fill t1 0 $0 32\nextern $0\nroot h0 $0\nextern $0\ncollect full\ntable.fill t1 0 $8 20\nnull $3\ncollect full\ntable.fill t1 0 $8 32\nunroot h0\nset $4 0 $8 inline
         collect full\nnull $4\nnull $0\nnull $1\nnull $2\ncollect full",
    ),
    (
        "one object of many references",
        "heap limit=67108864 initial=65536 zeal=0 count=1 faults=1 again=0",
        "extern $0\nnew $1 refs 60000 $0 inline\nnull $0\ncollect minor\ncollect full\nget $2 $1 59999 inline\nnew $3 refs 60000 $8 inline\ncopy $3 0 $1 0 60000\nnull $1\ncollect full
         null $2\nfill $3 1 $8 59999\ncollect full\nget $2 $3 0 inline\nnull $2\nnull $3\ncollect full",
    ),
    (
        "a collection in slices",
        "heap limit=67108864 initial=65536 zeal=0 count=1 faults=1 again=0",
        "new $0 refs 100 $8 inline\neach $0 node 0 inline\nlist $3 pair 200 inline\nslice major\nget $4 $0 50 inline\nset $0 50 $8 inline\nset $0 3 $4 inline\nslice major\nnull $4
         new $5 pair 0 $3 inline\nset $0 9 $5 inline\nslice minor\nnull $3\nnull $5\nslice major\neach $0 leaf 0 inline\nslice major\ncollect full",
    ),
    (
        "deep stacks are roots to the last slot",
        "heap limit=67108864 initial=65536 zeal=0 count=1 faults=1 again=0",
        "new $0 leaf 0 $8 inline\ncall\nnew $0 leaf 0 $8 inline\ncall\nnew $0 pair 0 $8 inline\ncall\nnew $0 pair 0 $8 inline\ncall\ncollect full\nnew $3 node 0 $0 inline\ncall\ncall\ncollect minor
         churn $0 pair 0 2000\ncollect full\nreturn\nreturn\nreturn\ncollect full\nreturn\nreturn\ncollect full",
    ),
];
