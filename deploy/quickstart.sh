#!/usr/bin/env bash
# From a bare Debian 12 or Ubuntu machine to answers about a long document, without a GPU.
#
#   ./deploy/quickstart.sh [--model PATH] [--keep] [--fresh]
#
# Installs what is missing, builds, fetches a real 135M model, starts a coordinator, two tensor-parallel CPU workers and
# a KV store, and asks about a document of 7 600 tokens, once with `dense` attention (everything on the device) and once
# with `tidal` in a device arena that the document's KV does not fit. Ends with both side by side, and stops what it
# started; --keep leaves the second cluster running. Safe to run again: then the dense answers, which serve only as the
# yardstick, are taken from the earlier run if questions, model and programs are the same, and the report says so;
# --fresh computes them again.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
model=""
keep=0
fresh=0
while [ $# -gt 0 ]; do
  case "$1" in
    --model) model=${2:?"--model needs a path"}; shift 2 ;;
    --keep) keep=1; shift ;;
    --fresh) fresh=1; shift ;;
    -h|--help) sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) echo "quickstart: unknown option $1 (known: --model PATH, --keep, --fresh)" >&2; exit 2 ;;
  esac
done
if [ -n "$model" ] && [ ! -f "$model" ]; then
  echo "quickstart: --model $model: no such file" >&2
  exit 2
fi

began=$SECONDS
say() { printf '\n\033[1m[%d:%02d] %s\033[0m\n' $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) "$*" >&2; }
[ -t 2 ] || say() { printf '\n[%d:%02d] %s\n' $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) "$*" >&2; }

work=$here/build/quickstart
bin=$here/build/bin
run_dir=$work/run
started=0
cleanup() {
  code=$?
  if [ "$started" = 1 ] && { [ "$keep" = 0 ] || [ $code -ne 0 ]; }; then
    "$bin/ebbctl" down --run-dir "$run_dir" >&2 || true
  fi
  if [ $code -ne 0 ]; then echo "quickstart: failed; logs are in $run_dir/logs" >&2; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "1/6 packages"
"$here/deploy/install_packages.sh" --no-tests

say "2/6 build (the first time takes some minutes) and model"
mkdir -p "$work"
if [ -z "$model" ]; then
  "$here/deploy/fetch_model.sh" > "$work/model.path" 2> "$work/fetch.log" &
  fetch=$!
fi
first=()
[ -e build/CMakeCache.txt ] || first=(-DEBB_FIRST_BUILD=ON -DEBB_KERNELS=native)
# Compiling for GPUs takes minutes: not where there is none to run it.
[ -e build/CMakeCache.txt ] || [ -e /dev/nvidiactl ] || first+=(-DEBB_CUDA=OFF)
cmake --preset dev "${first[@]}" > "$work/configure.log" 2>&1 || { tail -n 20 "$work/configure.log" >&2; exit 1; }
cmake --build build --target ebb-coordinator ebb-worker ebb-kvstore ebbctl >&2
if [ -z "$model" ]; then
  wait "$fetch" || { cat "$work/fetch.log" >&2; exit 1; }
  model=$(cat "$work/model.path")
fi
echo "model: $model" >&2

say "3/6 questions: the GPL-3 with one sentence planted, at four depths, and one short chat"
python3 deploy/quickstart_batch.py make --document /usr/share/common-licenses/GPL-3 --out "$work"

up() { # up POLICY DEVICE_KV_SIZE
  started=1
  "$bin/ebbctl" up -c configs/quickstart.yaml --run-dir "$run_dir" --model "$model" \
    --set policy.name="$1" --set groups.0.device_kv_size="$2" >&2
}
batch() { # batch POLICY
  "$bin/ebbctl" batch run -c configs/quickstart.yaml -i "$work/questions.jsonl" -o "$work/$1.jsonl" --overwrite \
    --max-inflight 1 >&2
  curl -sS "http://127.0.0.1:9400/admin/v1/status" > "$work/$1.status.json"
}

rm -rf "$run_dir"
key=$(cat "$work/questions.jsonl" "$bin/ebb-coordinator" "$bin/ebb-worker" "$model" | sha256sum | cut -d' ' -f1)
if [ "$fresh" = 0 ] && [ "$(cat "$work/dense.key" 2>/dev/null)" = "$key" ]; then
  earlier=$(date -r "$work/dense.jsonl" '+%Y-%m-%d %H:%M')
  say "4/6 dense: answers of the run of $earlier, nothing has changed since (--fresh runs it again)"
else
  say "4/6 dense: every token attended, all KV on the device (256 MiB arena)"
  rm -f "$work/dense.key"
  up dense 256MiB
  batch dense
  "$bin/ebbctl" down --run-dir "$run_dir" >&2
  echo "$key" > "$work/dense.key"
fi

say "5/6 tidal: 1/8 of the tokens attended, a 144 MiB arena, 32 MiB of host memory, the rest on SSD"
up tidal 144MiB
batch tidal

say "6/6 what happened"
longest=$(python3 deploy/quickstart_batch.py longest --admin http://127.0.0.1:9400)
python3 deploy/quickstart_batch.py report --out "$work"
echo
echo "Where the KV of the last long document was when it finished (ebbctl kv map $longest):"
"$bin/ebbctl" kv map "$longest" -c configs/quickstart.yaml
python3 deploy/quickstart_batch.py verdict --out "$work"

if [ "$keep" = 1 ]; then
  cat <<TXT

The tidal cluster is still running. Three things to try:
  build/bin/ebbctl ask README.md "Summarize this document in one sentence."
  build/bin/ebbctl kv map
  curl -s http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"messages": [{"role": "user", "content": "Hello!"}]}'
Stop it with: build/bin/ebbctl down --run-dir $run_dir
TXT
fi
say "done in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
