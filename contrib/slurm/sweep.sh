#!/usr/bin/env bash
# Runs an experiment as a Slurm job array: each entry of the list of jobs is an array task that leaves its record in a file of its own.
#
#   gleaner bench PLAN.toml --plan jobs.jsonl          # or with the flags of an experiment
#   contrib/slurm/sweep.sh jobs.jsonl DIR [SBATCH OPTIONS…]
#   gleaner report DIR -o report.html
#
# Tasks run in any order and side by side as Slurm decides: give each a machine or a socket of its own (`--exclusive`) when times count.
# A task that was killed is submitted again by the same command: records that are there are not made again.
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: $0 JOBS.jsonl DIR [SBATCH OPTIONS…]" >&2
  exit 2
fi
jobs=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
shift 2
gleaner=$(realpath "${GLEANER:-target/release/gleaner}")
count=$(wc -l <"$jobs")
missing=$(for n in $(seq "$count"); do [ -s "$folder/job-$n.jsonl" ] || echo -n "$n,"; done)
if [ -z "$missing" ]; then
  echo "all $count records are in $folder"
  exit 0
fi
sbatch --wait --array="${missing%,}" --job-name=gleaner --chdir="$PWD" --output="$folder/slurm-%a.log" "$@" \
  --wrap "'$gleaner' bench --plan '$jobs' --job \$SLURM_ARRAY_TASK_ID -o '$folder'"
