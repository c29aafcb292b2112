#!/usr/bin/env bash
# A relocatable tarball of what was built: programs, the CUDA plugin where it was built, and every shared library that
# they need but glibc's and the driver's. Runs on any Linux with as new a glibc, wherever it is unpacked; nothing is
# installed.
#
#   deploy/bundle.sh [--build FOLDER] [--out FILE]
#     --build FOLDER   what was built (default: build)
#     --out FILE       default: FOLDER/ebb-VERSION-ARCH.tar.gz
#
# In the tarball: bin/ (programs, found by their libraries through lib/ beside it), lib/, configs/, bench/gpu_service.sh
# with what it needs, docs/cuda.md, LICENSE. Size limit: 60 MiB.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build
out=''
while (($# > 0)); do
  case $1 in
    --build) build=${2:?}; shift ;;
    --out) out=${2:?}; shift ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) printf 'bundle: unknown argument: %s\n' "$1" >&2; exit 2 ;;
  esac
  shift
done
readonly limit=$((60 << 20))
readonly programs=(ebb-coordinator ebb-worker ebb-kvstore ebbctl)
# glibc belongs to the system: its loader is part of the kernel's contract with programs. The driver's libraries belong
# to the driver.
readonly glibc='ld-linux.*|libc|libm|libdl|libpthread|librt|libresolv|libutil|libanl|libmvec|libnss_.*'
readonly not_ours="^($glibc|libcuda|libnvidia-.*)\\.so"

version=$(sed -n 's/^project(ebb VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")
name=ebb-$version-$(uname -m)
out=${out:-$build/$name.tar.gz}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
top=$stage/$name
mkdir -p "$top/bin" "$top/lib" "$top/bench/gpu" "$top/docs"

for program in "${programs[@]}" ebb-score; do
  [[ -x $build/bin/$program ]] && cp "$build/bin/$program" "$top/bin/" && continue
  [[ $program == ebb-score ]] || { printf 'bundle: %s is not built\n' "$build/bin/$program" >&2; exit 1; }
done
plugin=''
if [[ -f $build/bin/libebb_cuda.so ]]; then
  cp "$build/bin/libebb_cuda.so" "$top/lib/"
  plugin=$top/lib/libebb_cuda.so
fi

libraries_of() { # libraries_of FILE: name and path of each, one a line
  ldd "$1" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 } $0 ~ /not found/ { print "missing", $1 }'
}
take() { # take FILE...
  local library path
  while read -r library path; do
    if [[ $library == missing ]]; then
      printf 'bundle: %s is not on this machine\n' "$path" >&2
      exit 1
    fi
    [[ $library =~ $not_ours || -e $top/lib/$library ]] && continue
    cp -L "$path" "$top/lib/$library"
  done < <(for file in "$@"; do libraries_of "$file"; done | sort -u)
}
take "$top"/bin/* ${plugin:+"$plugin"}
# UCX finds further transports in a folder beside its library: of those, copying between processes of one machine.
ucx=$(ldd "$top/bin/ebb-worker" | awk '$1 ~ /^libuct\.so/ { print $3 }')
modules=$(dirname "$(readlink -f "${ucx:-/}")")/ucx
if compgen -G "$modules/libuct_cma.so*" > /dev/null; then
  mkdir -p "$top/lib/ucx"
  cp -L "$modules"/libuct_cma.so* "$top/lib/ucx/"
fi

strip --strip-unneeded "$top"/bin/* "$top"/lib/*.so* 2> /dev/null || true
if command -v patchelf > /dev/null; then
  # shellcheck disable=SC2016  # the loader expands it
  for file in "$top"/bin/*; do patchelf --set-rpath '$ORIGIN/../lib' "$file"; done
  # shellcheck disable=SC2016
  for file in "$top"/lib/*.so*; do patchelf --set-rpath '$ORIGIN' "$file"; done
else
  # Without patchelf: each program behind a script that says where the libraries are. A program that starts another
  # one starts its script.
  mkdir -p "$top/libexec"
  for program in "$top"/bin/*; do
    base=$(basename "$program")
    mv "$program" "$top/libexec/$base"
    cat > "$program" <<SCRIPT
#!/bin/sh
here=\$(cd "\$(dirname "\$(readlink -f "\$0")")" && pwd)
export LD_LIBRARY_PATH="\$here/../lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
exec "\$here/../libexec/$base" "\$@"
SCRIPT
    chmod +x "$program"
  done
fi
cp -r "$root/configs" "$top/"
cp "$root/bench/gpu_service.sh" "$top/bench/"
cp "$root"/bench/gpu/{random_model,service_check}.py "$top/bench/gpu/"
cp "$root/LICENSE" "$top/"
[[ ! -f $root/docs/cuda.md ]] || cp "$root/docs/cuda.md" "$top/docs/"

tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner -czf "$out" "$name"
bytes=$(stat -c %s "$out")
has_plugin=no
[[ -z $plugin ]] || has_plugin=yes
printf 'bundle: %s, %s MiB, %s libraries, CUDA plugin: %s\n' "$out" "$((bytes >> 20))" \
  "$(find "$top/lib" -name '*.so*' | wc -l)" "$has_plugin"
if ((bytes > limit)); then
  printf 'bundle: larger than %s MiB\n' "$((limit >> 20))" >&2
  exit 1
fi
