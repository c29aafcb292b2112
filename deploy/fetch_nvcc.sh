#!/usr/bin/env bash
# Fetches nvcc, CUDA's compiler, with the headers and the static runtime that libebb_cuda.so is built with, and prints
# its path on stdout; everything else goes to stderr. Needs no GPU and no driver. Running it again fetches nothing.
#
#   usage: CUDACXX=$(deploy/fetch_nvcc.sh) cmake --preset dev
#   EBB_CACHE   where to keep it (default: ~/.cache/ebb)
#
# A tenth of CUDA's toolkit, from the Python packages in which NVIDIA publishes it (its own licence applies). They have
# no headers of cuBLAS and NCCL: a build with this nvcc leaves these two out, and says so.
set -euo pipefail

readonly version=13.0
readonly packages=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85)

say() { printf 'fetch_nvcc: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
# shellcheck source=deploy/pip.sh
source "$(dirname "$0")/pip.sh"

if (($# > 0)); then
  die "takes no arguments (see the first lines of $0)"
fi
[[ -n ${EBB_CACHE:-} || -n ${HOME:-} ]] || die 'neither EBB_CACHE nor HOME is set: nowhere to keep it'
readonly folder="${EBB_CACHE:-$HOME/.cache/ebb}"
readonly target="$folder/cuda-$version"

works() { "$1" --version > /dev/null 2>&1; }

if works "$target/bin/nvcc"; then
  say 'already there'
  printf '%s\n' "$target/bin/nvcc"
  exit 0
fi
[[ $(uname -m) == x86_64 ]] || die "knows packages for x86_64, not for $(uname -m)"

mkdir -p "$folder" || die "cannot create $folder"
# Beside the target, so that the last step is a rename within one file system.
work=$(mktemp -d "$folder/.fetch.XXXXXX") || die "cannot write to $folder"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

ensure_pip
say "downloading nvcc $version (105 MB)"
download "$work" "${packages[@]}" ||
  die "could not download ${packages[*]}; is the network, or pip's mirror, reachable?"
for wheel in "$work"/*.whl; do
  python3 -m zipfile -e "$wheel" "$work/all" || die "could not unpack ${wheel##*/}"
done
readonly toolkit="$work/all/nvidia/cu13"
[[ -f $toolkit/bin/nvcc ]] || die 'the packages are not laid out as expected: there is no nvidia/cu13/bin/nvcc'
# Zip files as Python unpacks them lose who may run what.
find "$toolkit/bin" "$toolkit/nvvm/bin" -type f -exec chmod +x {} +
# What CMake looks for, and where.
ln -s lib "$toolkit/lib64"
ln -s libcudart.so.13 "$toolkit/lib/libcudart.so"
works "$toolkit/bin/nvcc" || die 'nvcc does not run here'
rm -rf "$target"
mv "$toolkit" "$target"
say 'done'
printf '%s\n' "$target/bin/nvcc"
