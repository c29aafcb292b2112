#!/usr/bin/env bash
# Installs the Debian packages of deploy/packages.txt that are missing. Quick and silent when none is.
#
#   usage: deploy/install_packages.sh [--no-tests]
#     --no-tests   what building and running needs, and not what only tests and fuzzing do
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
list=$(cat "$here/packages.txt")
case "${1:-}" in
  --no-tests) list=$(sed '/^# Tests/,$d' "$here/packages.txt") ;;
  "") ;;
  *) echo "install_packages: unknown option $1 (known: --no-tests)" >&2; exit 2 ;;
esac
mapfile -t wanted < <(grep -vE '^\s*(#|$)' <<<"$list")
missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && { echo "all ${#wanted[@]} packages are installed" >&2; exit 0; }
sudo=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "missing packages: ${missing[*]}; run as root, or install sudo" >&2; exit 1; }
  sudo="sudo env DEBIAN_FRONTEND=noninteractive"
fi
echo "installing ${#missing[@]} packages: ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
{ $sudo apt-get update && $sudo apt-get install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1 &
apt=$!

# How far apt is: a package is fetched, unpacked and set up.
count() { grep -cE "$1" "$log" || true; }
shown=""
while kill -0 "$apt" 2>/dev/null; do
  sleep 1
  all=$(sed -nE 's/.* ([0-9]+) newly installed.*/\1/p' "$log" | tail -n 1)
  [ -n "$all" ] || continue
  now="packages: of $all, $(count '^Unpacking ') unpacked, $(count '^Setting up ') set up"
  if [ -t 2 ]; then
    printf '\r%s ' "$now" >&2
  elif [ "$now" != "$shown" ] && [ $((SECONDS % 10)) -eq 0 ]; then
    echo "$now" >&2
  fi
  shown=$now
done
[ -t 2 ] && [ -n "$shown" ] && echo >&2
if ! wait "$apt"; then
  tail -n 15 "$log" >&2
  exit 1
fi
