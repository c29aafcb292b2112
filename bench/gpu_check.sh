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
finish() { printf '%s\n' "$2" > "$out/done/$1"; rm -f "$out/$1.failed"; say "$1: $2"; }

# cuBLASLt and NCCL of PyTorch's packages, which no loader and no compiler looks for: folders with include/ and lib/.
wheel_folders() {
  python3 - 2>/dev/null <<'SCRIPT' || true
import importlib.util
import pathlib
spec = importlib.util.find_spec("nvidia")
for root in (spec.submodule_search_locations if spec else ()):
    for name in ("cu13", "nccl"):
        if (pathlib.Path(root) / name / "lib").is_dir():
            print(pathlib.Path(root) / name)
SCRIPT
}
mapfile -t wheels < <(wheel_folders)
for each in "${wheels[@]}"; do
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$each/lib
done

find_nvcc() {
  [[ $emulated == 0 ]] || return 0
  if [[ -z ${CUDACXX:-} ]]; then
    CUDACXX=$(command -v nvcc || true)
    local folder
    for folder in /usr/local/cuda "${wheels[@]}"; do
      [[ -n $CUDACXX || ! -x $folder/bin/nvcc ]] || CUDACXX=$folder/bin/nvcc
    done
  fi
  [[ -n $CUDACXX ]] || { printf 'gpu_check: no nvcc on PATH or in /usr/local/cuda/bin; set CUDACXX\n' >&2; exit 1; }
  export CUDACXX
}

# 9.0 -> 90a-real: the instructions of one architecture alone need the "a".
find_arch() {
  [[ -z $arch && $emulated == 0 ]] || return 0
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ' || true)
  case $capability in
    '') arch=90a-real ;;
    90 | 100 | 103) arch=${capability}a-real ;;
    *[!0-9]*) arch=90a-real ;;
    *) arch=$capability-real ;;
  esac
}

part_build() {
  find_nvcc
  find_arch
  local options=(-DEBB_GPU_EMULATED=OFF -DCMAKE_CUDA_ARCHITECTURES="$arch")
  [[ $emulated == 0 ]] || options=(-DEBB_GPU_EMULATED=ON)
  ((${#wheels[@]} == 0)) || options+=(-DCMAKE_INCLUDE_PATH="$(IFS=';'; printf '%s' "${wheels[*]/%//include}")")
  [[ ! $(command -v ninja) ]] || options+=(-G Ninja)
  say "build: configure (${arch:-emulated})"
  cmake -S "$root/bench/gpu" -B "$build" "${options[@]}" > "$out/configure.log" 2>&1 ||
    { tail -n 30 "$out/configure.log" >&2; return 1; }
  grep -E 'CUDA backend|tests by' "$out/configure.log" || true
  say 'build: compile'
  cmake --build "$build" --parallel "${EBB_GPU_JOBS:-$(nproc)}" --target ebb_gpu_test ebb_gpu_bench \
    ebb_gpu_records_bench \
    > "$out/build.log" 2>&1 ||
    { grep -E 'error|Error|fatal|FAILED' "$out/build.log" | head -n 30 >&2 || true; return 1; }
  finish build "done in $SECONDS s, for ${arch:-emulated}"
}

# Tests of a log, which may be of several runs: count_of PASSED, SKIPPED or FAILED, and the log.
count_of() {
  sed -n "s/^\\[ *$1 *\\] \\([0-9][0-9]*\\) test.*/\\1/p" "$2" | awk '{ n += $1 } END { print n + 0 }'
}
verdict_of() { # verdict_of LOG
  printf '%s passed, %s failed, %s skipped' \
    "$(count_of PASSED "$1")" "$(count_of FAILED "$1")" "$(count_of SKIPPED "$1")"
}
# Some tests need no device and always pass: only a run that skipped nothing says something.
all_ran() { [[ $(count_of PASSED "$1") != 0 && $(count_of SKIPPED "$1") == 0 ]]; }

# A process for each suite: what an illegal access ends is that suite, and a hang two minutes.
part_parity() {
  local status=0 suite suites
  mapfile -t suites < <("$build/ebb_gpu_test" --gtest_list_tests | sed -n 's/^\([^ .]*\)\..*/\1.*/p' | sort -u)
  [[ -z ${EBB_GPU_FILTER:-} ]] || suites=("$EBB_GPU_FILTER")
  local seconds=${EBB_GPU_SUITE_SECONDS:-$((emulated ? 900 : 120))}
  : > "$out/parity.log"
  for suite in "${suites[@]}"; do
    timeout -k 10 "$seconds" "$build/ebb_gpu_test" "--gtest_filter=$suite" \
      >> "$out/parity.log" 2>&1 ||
      { status=$?; printf '\n== %s: exit %s\n' "$suite" "$status" >> "$out/parity.log"; }
  done
  all_ran "$out/parity.log" || ((status > 0)) || status=1
  if ((status == 0)); then finish parity "$(verdict_of "$out/parity.log")"; return; fi
  # A run that failed is run again the next time.
  { grep -E 'Failure|FAILED|^== ' "$out/parity.log" || tail -n 20 "$out/parity.log"; } | head -n 40 >&2 || true
  printf '%s, exit %s\n' "$(verdict_of "$out/parity.log")" "$status" > "$out/parity.failed"
  say "parity: $(cat "$out/parity.failed")"
  return 1
}

part_sanitizer() {
  local tool=${COMPUTE_SANITIZER:-} checks result=()
  [[ -n $tool ]] || tool=$(command -v compute-sanitizer || true)
  [[ -n $tool || ! -x /usr/local/cuda/bin/compute-sanitizer ]] || tool=/usr/local/cuda/bin/compute-sanitizer
  if [[ -z $tool || $emulated == 1 ]]; then
    finish sanitizer 'not run: no compute-sanitizer here'
    return 0
  fi
  # Kernels of ours: what a closed library does is not judged.
  local filter='*Attend*:*TopK*:*Scan*:*Rows*:*LeftOut*:*Digest*:*Lists*:*Sampling*-*Matmul*'
  local found='^=+ +(Invalid|Misaligned|Uninitialized|Error|Warning: Race|Barrier|Program hit)'
  for checks in memcheck racecheck; do
    say "sanitizer: $checks"
    local status=0
    local seconds=${EBB_GPU_SANITIZER_SECONDS:-75} log=$out/$checks.log options=(--tool "$checks" --error-exitcode 99)
    # What cuBLASLt and the runtime ask the driver for and may not have is no error of ours.
    [[ $checks != memcheck ]] || options+=(--report-api-errors no)
    timeout -k 10 "$seconds" "$tool" "${options[@]}" "$build/ebb_gpu_test" "--gtest_filter=$filter" \
      > "$log" 2>&1 || status=$?
    # A device that it cannot be used with leaves everything skipped, and that is exit code 0.
    if ((status == 0)) && ! all_ran "$log"; then
      tail -n 20 "$log" >&2
      result+=("$checks: not possible here, $(verdict_of "$log")")
      continue
    fi
    # What it found before it was stopped counts.
    if ((status == 124 || status == 137)) && ! grep -qE "$found|^\[  FAILED" "$log"; then
      result+=("$checks: stopped after $seconds s, nothing found in $(grep -c '^\[       OK' "$log" || true) tests")
      continue
    fi
    case $status in
      0) result+=("$checks: clean, $(verdict_of "$log")") ;;
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
  # What was measured before an error stays in the table.
  local status=0
  EBB_CUDA_GRAPHS_REPORT=1 timeout -k 10 240 "$build/ebb_gpu_bench" "${quick[@]}" > "$out/bench.jsonl" \
    2> "$out/bench.log" || status=$?
  cat "$out/bench.log" >&2
  timeout -k 10 120 "$build/ebb_gpu_records_bench" "${quick[@]}" >> "$out/bench.jsonl" || status=$?
  ((status == 0)) || { say "bench: exit $status"; return 1; }
  finish bench "$(wc -l < "$out/bench.jsonl") lines"
}

part_peers() {
  if ! python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    finish peers 'not run: python3 has no PyTorch that sees a GPU'
    return 0
  fi
  timeout -k 10 150 python3 "$root/bench/gpu/torch_peers.py" > "$out/peers.jsonl"
  finish peers "$(wc -l < "$out/peers.jsonl") lines"
}

part_table() {
  local commit
  commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
  python3 "$root/bench/gpu/write_table.py" --out "$out" --commit "$commit"
}

parts=(build parity bench peers sanitizer)
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
  bash "$0" --part "$each" "${flags[@]}" && continue
  failed+=("$each")
  [[ -s $out/$each.failed ]] || echo 'see its output' > "$out/$each.failed"
  [[ $each != build ]] || break
done
part_table
if ((${#failed[@]} > 0)); then
  printf 'gpu_check: FAILED: %s (run again: what is done is kept)\n' "${failed[*]}" >&2
  exit 1
fi
say "all parts are right: $out/gpu_check.md"
