#!/usr/bin/env bash
# Runs a small sweep through a Slurm of one node, and looks whether every job left its record. Opt-in: it needs root and installs packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
gleaner=${GLEANER:-target/release/gleaner}
export GLEANER=$gleaner
folder=$(mktemp -d)
trap 'contrib/slurm/one-node.sh stop; rm -rf "$folder"' EXIT

eval "$(contrib/slurm/one-node.sh start | grep '^export')"
"$gleaner" bench --programs splay,gcbench --size small --gc semispace,drc --heap 16MiB --invocations 2 --plan "$folder/jobs.jsonl"
contrib/slurm/sweep.sh "$folder/jobs.jsonl" "$folder/records"
wanted=$(wc -l <"$folder/jobs.jsonl")
found=$(cat "$folder"/records/job-*.jsonl | grep -c '"outcome":"ok"')
if [ "$found" != "$wanted" ]; then
  echo "$found of $wanted records are there and well" >&2
  exit 1
fi
# A second sweep has nothing left to do, and records are joined by `cat`.
contrib/slurm/sweep.sh "$folder/jobs.jsonl" "$folder/records" | grep -q "all $wanted records"
cat "$folder"/records/job-*.jsonl >"$folder/all.jsonl"
"$gleaner" compare "$folder/all.jsonl" "$folder/records" --times warn
echo "ok: $found records"
