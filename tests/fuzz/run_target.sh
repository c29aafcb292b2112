#!/usr/bin/env bash
# Runs one fuzz target for a while, from its seeds and from what earlier runs found. Fails when the target is not
# built, crashes, leaks, takes more than 10 s for one input or more than 1 GiB.
#
#   usage: tests/fuzz/run_target.sh BUILD TARGET [SECONDS [LIBFUZZER_OPTION...]]
#     BUILD    the tree of the preset "fuzz": build-fuzz
#     TARGET   gguf, safetensors, tokenizer_json or template
#     SECONDS  60 unless told; 0 runs until it is stopped
set -euo pipefail

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; }
(($# >= 2)) || { usage >&2; exit 2; }
build=$1 target=$2 seconds=${3:-60}
shift $(($# < 3 ? $# : 3))
tree=$(cd "$(dirname "$0")/../.." && pwd)
program=$build/bin/fuzz_$target

if [[ ! -x $program ]]; then
  printf '%s is not there: build it with\n  cmake --preset fuzz && cmake --build build-fuzz\n' "$program" >&2
  exit 1
fi
case $target in
  safetensors | tokenizer_json) dictionary=json ;;
  *) dictionary=$target ;;
esac

corpus=$build/corpus/$target
artifacts=$build/artifacts/$target
mkdir -p "$corpus" "$artifacts"
"$build/bin/fuzz_seeds" "$build/seeds" "$tree"

export ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=64:allocator_may_return_null=0
export UBSAN_OPTIONS=print_stacktrace=1
if ! "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 -max_len=65536 \
  -dict="$tree/tests/fuzz/dictionaries/$dictionary.dict" -artifact_prefix="$artifacts/" -print_final_stats=1 \
  "$@" "$corpus" "$build/seeds/$target" 2>"$artifacts/log"; then
  tail -n 60 "$artifacts/log"
  printf '\nfuzz_%s failed; docs/fuzzing.md says how to repeat it with the input below %s\n' "$target" "$artifacts"
  exit 1
fi
grep -E '^stat::|^Done' "$artifacts/log"
