#!/bin/sh
# Usage: inner_symbols_test.sh NM OBJECT... Fails when an object defines a global or weak symbol besides its table: the
# linker could take that copy, compiled for a newer CPU, for the whole program. Pointers of exception tables (DW.ref.*,
# under sanitizers) are no code.
nm=$1
shift
[ $# -eq 3 ] || { echo "expected three objects, got $#"; exit 1; }
failed=0
for object in "$@"; do
  defined=$("$nm" --defined-only --extern-only "$object" | awk '{print $3}')
  case "$defined" in
    *inner_kernels_v[234]Ev) ;;
    *) echo "$object: no table"; failed=1 ;;
  esac
  extra=$(echo "$defined" | grep -v -e 'inner_kernels_v[234]Ev$' -e '^DW[.]ref[.]')
  [ -z "$extra" ] || { echo "$object also defines: $extra"; failed=1; }
done
exit $failed
