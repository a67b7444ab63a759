#!/bin/sh
# Compiles src/*.ml to wasm/*.wasm, and has OCaml's own interpreter write what they print to wasm/*.expected.
#
#   ./compile.sh ROOT
#
# ROOT is a folder for Debian unstable's compiler, about 1 GB, which is downloaded when the folder is empty: packages are
# unpacked there and run by `chroot`, so that the system stays as it is. Needs Debian's apt and dpkg, and to be root.
set -eu
root=$(realpath "$1")
cd "$(dirname "$0")"

if ! [ -e "$root/usr/bin/wasm_of_ocaml" ]; then
  apt="$root/apt"
  mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
  touch "$apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian unstable main" > "$apt/sources.list"
  options="-o Dir::Etc::sourcelist=$apt/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State=$apt/state
    -o Dir::State::status=$apt/status -o Dir::Cache=$apt/cache -o APT::Sandbox::User=root -o Acquire::Languages=none"
  # Unquoted: they are several words.
  apt-get $options update
  apt-get $options install -y --download-only --no-install-recommends js-of-ocaml ocaml ocaml-findlib binaryen dash coreutils bash
  for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$root"; done
fi

rm -rf "$root/tmp/gleaner"
cp -r src "$root/tmp/gleaner"
for source in src/*.ml; do
  name=$(basename "$source" .ml)
  chroot "$root" /bin/sh -euc "
    cd /tmp/gleaner
    ocamlc -w +a-4-42-70 -o $name.byte $name.ml
    wasm_of_ocaml --enable wasi --no-sourcemap --opt 2 $name.byte -o $name.js
    ocamlrun ./$name.byte > $name.expected"
  cp "$root/tmp/gleaner/$name.assets/code.wasm" "wasm/$name.wasm"
  cp "$root/tmp/gleaner/$name.expected" "wasm/$name.expected"
done
