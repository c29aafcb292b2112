#!/usr/bin/env bash
# Starts the whole service on a GPU and compares its greedy tokens with the CPU backend's: all policies, rows that were
# released and come back included. Runs from a source tree or from a bundle (deploy/bundle.sh); needs Python 3.
#
#   bench/gpu_service.sh [--bin FOLDER] [--backend cuda] [--work FOLDER] [--quick] [-- OPTIONS of service_check.py]
#     --bin FOLDER     programs (default: ../bin of this script's folder in a bundle, else build/bin)
#     --backend NAME   what is compared with the CPU: cuda (default); cpu sees the script itself run
#     --work FOLDER    where the random model goes (default: a folder of its own, removed)
#     --quick          one rank, a short prompt, a few policies
#
# First a small random model of Llama shape; then the default model, where its file is there (deploy/fetch_model.sh).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$here/../bin
[[ -x $bin/ebb-worker ]] || bin=$here/../build/bin
backend=cuda
work=''
quick=0
more=()
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; }
while (($# > 0)); do
  case $1 in
    --bin) bin=${2:?}; shift ;;
    --backend) backend=${2:?}; shift ;;
    --work) work=${2:?}; shift ;;
    --quick) quick=1 ;;
    --) shift; more=("$@"); break ;;
    -h | --help) usage; exit 0 ;;
    *) printf 'gpu_service: unknown argument: %s\n' "$1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
[[ -x $bin/ebb-worker ]] || { printf 'gpu_service: no ebb-worker in %s (--bin)\n' "$bin" >&2; exit 2; }
bin=$(cd "$bin" && pwd)
if [[ -z $work ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
printf 'devices: '
"$bin/ebb-worker" --devices

check() { python3 "$here/gpu/service_check.py" --bin "$bin" --backend "$backend" "$@"; }
status=0
model=$work/random
python3 "$here/gpu/random_model.py" "$model" > /dev/null
printf '== random model, one rank\n'
if ((quick)); then
  check --model "$model" --profile "$model/profile.yaml" --prompt 160 --steps 4 --only tidal "${more[@]}" || status=1
else
  check --model "$model" --profile "$model/profile.yaml" "${more[@]}" || status=1
  printf '== random model, two ranks on one device\n'
  check --model "$model" --profile "$model/profile.yaml" --ranks 2 --devices 0,0 --only tidal "${more[@]}" || status=1
  for real in "${EBB_CACHE:-$HOME/.cache/ebb}"/models/*.gguf; do
    [[ -f $real ]] || continue
    printf '== %s\n' "$real"
    check --model "$real" --profile "$here/../configs/profiles/smollm2-135m-instruct.yaml" --text-prompt --prompt 4000 \
      --decode-from 700 --device-kv-size 256MiB "${more[@]}" || status=1
    break
  done
fi
exit "$status"
