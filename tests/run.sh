#!/usr/bin/env bash
# Installs what is missing, fetches the model, builds, and runs every test. Starts from a bare Debian 12, as root
# or with sudo; needs nothing that was run before, and can be run again.
#
#   usage: tests/run.sh [--asan] [--label LABEL]
#     --asan          build with address and undefined-behaviour sanitizers; runs the unit tests only
#     --label LABEL   only the tests with this label: unit, net, e2e, house, fuzz
#
# Ends with CTest's own summary, and with its exit status; says behind it what could not be done (no nvcc).
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; }
say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

preset=dev
label=''
while (($# > 0)); do
  case $1 in
    --asan) preset=asan; label=${label:-unit} ;;
    --label)
      (($# > 1)) || { usage >&2; exit 2; }
      label=$2
      shift
      ;;
    -h | --help) usage; exit 0 ;;
    *)
      printf 'tests/run.sh: unknown argument: %s\n' "$1" >&2
      usage >&2
      exit 2
      ;;
  esac
  shift
done
build=build
[[ $preset == dev ]] || build=build-$preset

say 'packages'
deploy/install_packages.sh

say 'model'
deploy/fetch_model.sh

# What was never built is built in batches: CONTRIBUTING.md.
configure() { # configure PRESET FOLDER [OPTION...]
  local first=()
  [[ -e $2/CMakeCache.txt ]] || first=(-DEBB_FIRST_BUILD=ON)
  cmake --preset "$1" "${first[@]}" "${@:3}" --log-level=WARNING
}

# nvcc needs no GPU. Without one the CUDA kernels run emulated all the same, but nothing shows that they compile for a
# device: so it is fetched where it is missing, and if that fails the last line says so.
if [[ -z ${CUDACXX:-} ]] && ! command -v nvcc > /dev/null && [[ -x /usr/local/cuda/bin/nvcc ]]; then
  export CUDACXX=/usr/local/cuda/bin/nvcc
fi
nvcc=${CUDACXX:-$(command -v nvcc || true)}
if [[ -z $nvcc && ${EBB_CUDA:-AUTO} != OFF ]] && nvcc=$(deploy/fetch_nvcc.sh); then
  export CUDACXX=$nvcc
fi

say "configure ($preset)"
configure "$preset" "$build" -DEBB_KERNELS=all -DEBB_CUDA="${EBB_CUDA:-AUTO}"

say 'build'
cmake --build "$build"

# Without clang this fails, and so does the run: fuzzing that did not happen must not look green.
if [[ $preset == dev && (-z $label || $label == fuzz) ]]; then
  say 'fuzz targets'
  configure fuzz build-fuzz
  cmake --build build-fuzz
fi

say 'tests'
arguments=(--test-dir "$build" --parallel 2 --output-on-failure --no-tests=error)
[[ -z $label ]] || arguments+=(--label-regex "^${label}\$")
status=0
ctest "${arguments[@]}" || status=$?
if [[ -z $nvcc ]]; then
  printf '\nNOT DONE: there is no nvcc, and none could be fetched, so libebb_cuda.so was not compiled;'
  printf ' its kernels ran emulated.\n'
fi
exit "$status"
