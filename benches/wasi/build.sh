#!/bin/sh
# Compiles src/*.c to wasm/*.wasm. See README.md for the compiler.
set -eu
cd "$(dirname "$0")"
for source in src/*.c; do
  name=$(basename "$source" .c)
  clang --target=wasm32-wasi -std=gnu11 -Os -s -Wall -Wextra -o "wasm/$name.wasm" "$source"
done
