#!/usr/bin/env bash
# What anyone with a GPU runs first. Builds kernels/ with nvcc, holds every kernel against the reference, looks for
# memory errors and races, and measures: each figure as a share of the copy bandwidth of the same run.
# Needs a CUDA toolkit, CMake, a C++ compiler and Python 3; uses GoogleTest, compute-sanitizer and PyTorch where they
# are.
#
#   bench/gpu_check.sh [--part PART] [--out FOLDER] [--arch LIST] [--emulated]
#     --part PART     build, parity, sanitizer, bench, peers, or table; without it: all that are not done yet, in order
#     --out FOLDER    where everything goes (default: build-gpu); what a part has finished there is not done again
#     --arch LIST     CUDA architectures to build for, e.g. 80-real;90a-real (default: what the first GPU is)
#     --emulated      the emulated backend instead of a GPU: tests this script, says nothing about a GPU
#
# Ends with FOLDER/gpu_check.md and FOLDER/gpu_check.json. Exit code: 0 if everything that ran is right.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; }

out=$root/build-gpu
part=''
arch=''
emulated=0
while (($# > 0)); do
  case $1 in
    --part) part=${2:?}; shift ;;
    --out) out=${2:?}; shift ;;
    --arch) arch=${2:?}; shift ;;
    --emulated) emulated=1 ;;
    -h | --help) usage; exit 0 ;;
    *) printf 'gpu_check: unknown argument: %s\n' "$1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
mkdir -p "$out/done"
build=$out/build
say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }
finish() { printf '%s\n' "$2" > "$out/done/$1"; say "$1: $2"; }

find_nvcc() {
  [[ $emulated == 0 ]] || return 0
  if [[ -z ${CUDACXX:-} ]]; then
    CUDACXX=$(command -v nvcc || true)
    [[ -n $CUDACXX || ! -x /usr/local/cuda/bin/nvcc ]] || CUDACXX=/usr/local/cuda/bin/nvcc
  fi
  [[ -n $CUDACXX ]] || { printf 'gpu_check: no nvcc on PATH or in /usr/local/cuda/bin; set CUDACXX\n' >&2; exit 1; }
  export CUDACXX
}

# 9.0 -> 90a-real: the instructions of one architecture alone need the "a".
find_arch() {
  [[ -z $arch ]] || return 0
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ' || true)
  case $capability in
    '') arch=90a-real ;;
    90 | 100 | 103) arch=${capability}a-real ;;
    *) arch=$capability-real ;;
  esac
}

part_build() {
  find_nvcc
  find_arch
  local options=(-DEBB_GPU_EMULATED=OFF -DCMAKE_CUDA_ARCHITECTURES="$arch")
  [[ $emulated == 0 ]] || options=(-DEBB_GPU_EMULATED=ON)
  [[ ! $(command -v ninja) ]] || options+=(-G Ninja)
  say "build: configure (${arch:-emulated})"
  cmake -S "$root/bench/gpu" -B "$build" "${options[@]}" > "$out/configure.log" 2>&1 ||
    { tail -n 30 "$out/configure.log" >&2; return 1; }
  grep -E 'CUDA backend|tests by' "$out/configure.log" || true
  say 'build: compile'
  cmake --build "$build" --parallel "${EBB_GPU_JOBS:-$(nproc)}" --target ebb_gpu_test ebb_gpu_bench \
    ebb_gpu_records_bench \
    > "$out/build.log" 2>&1 ||
    { grep -E 'error|Error' "$out/build.log" | head -n 30 >&2; return 1; }
  finish build "done in $SECONDS s, for ${arch:-emulated}"
}

# The summary of a test program: passed and failed.
verdict_of() { # verdict_of LOG
  local passed failed
  passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$1" | tail -n 1)
  failed=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$1" | tail -n 1)
  printf '%s passed, %s failed' "${passed:-0}" "${failed:-0}"
}

part_parity() {
  local status=0
  "$build/ebb_gpu_test" ${EBB_GPU_FILTER:+"--gtest_filter=$EBB_GPU_FILTER"} > "$out/parity.log" 2>&1 || status=$?
  ((status == 0)) || { grep -E 'Failure|FAILED' "$out/parity.log" | head -n 40 >&2 || true; }
  ((status <= 1)) || tail -n 20 "$out/parity.log" >&2
  # Skipped is not passed: a run in which nothing ran has failed.
  [[ $(verdict_of "$out/parity.log") != 0\ * ]] || status=1
  # A run that failed is run again the next time.
  if ((status == 0)); then finish parity "$(verdict_of "$out/parity.log")"; else
    say "parity: $(verdict_of "$out/parity.log"), exit $status"
    printf '%s, exit %s\n' "$(verdict_of "$out/parity.log")" "$status" > "$out/parity.failed"
    return 1
  fi
  rm -f "$out/parity.failed"
}

part_sanitizer() {
  local tool=${COMPUTE_SANITIZER:-} checks result=()
  [[ -n $tool ]] || tool=$(command -v compute-sanitizer || true)
  [[ -n $tool || ! -x /usr/local/cuda/bin/compute-sanitizer ]] || tool=/usr/local/cuda/bin/compute-sanitizer
  if [[ -z $tool || $emulated == 1 ]]; then
    finish sanitizer 'not run: no compute-sanitizer here'
    return 0
  fi
  for checks in memcheck racecheck; do
    say "sanitizer: $checks"
    local status=0
    timeout 150 "$tool" --tool "$checks" --error-exitcode 99 "$build/ebb_gpu_test" \
      '--gtest_filter=*Attend*:*TopK*:*top_k*:*Scan*:*Rows*:*Append*' > "$out/$checks.log" 2>&1 || status=$?
    case $status in
      0) result+=("$checks: clean") ;;
      124) result+=("$checks: stopped after 150 s, nothing found until then") ;;
      *) grep -A 4 '=========' "$out/$checks.log" | head -n 40 >&2 || true
         say "sanitizer: $checks found something: $out/$checks.log"
         return 1 ;;
    esac
  done
  finish sanitizer "$(IFS=';'; printf '%s' "${result[*]}")"
}

part_bench() {
  local quick=()
  [[ $emulated == 0 ]] || quick=(--quick)
  "$build/ebb_gpu_bench" "${quick[@]}" > "$out/bench.jsonl.part"
  "$build/ebb_gpu_records_bench" "${quick[@]}" >> "$out/bench.jsonl.part"
  mv "$out/bench.jsonl.part" "$out/bench.jsonl"
  finish bench "$(wc -l < "$out/bench.jsonl") lines"
}

part_peers() {
  if ! python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    finish peers 'not run: python3 has no PyTorch that sees a GPU'
    return 0
  fi
  python3 "$root/bench/gpu/torch_peers.py" > "$out/peers.jsonl.part" && mv "$out/peers.jsonl.part" "$out/peers.jsonl"
  finish peers "$(wc -l < "$out/peers.jsonl") lines"
}

part_table() {
  local commit
  commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
  python3 "$root/bench/gpu/write_table.py" --out "$out" --commit "$commit"
}

parts=(build parity sanitizer bench peers)
if [[ -n $part ]]; then
  [[ " ${parts[*]} table " == *" $part "* ]] || { printf 'gpu_check: unknown part %s\n' "$part" >&2; exit 2; }
  "part_$part"
  exit
fi
# Each part is a process of its own: `set -e` holds in it, and the parts behind a failed one still run.
failed=()
flags=(--out "$out")
[[ -z $arch ]] || flags+=(--arch "$arch")
[[ $emulated == 0 ]] || flags+=(--emulated)
for each in "${parts[@]}"; do
  if [[ -e $out/done/$each ]]; then
    say "$each: $(cat "$out/done/$each") (earlier; remove $out/done/$each to run it again)"
    continue
  fi
  say "$each"
  "$0" --part "$each" "${flags[@]}" || { failed+=("$each"); [[ $each != build ]] || break; }
done
part_table
if ((${#failed[@]} > 0)); then
  printf 'gpu_check: FAILED: %s (run again: what is done is kept)\n' "${failed[*]}" >&2
  exit 1
fi
say "all parts are right: $out/gpu_check.md"
