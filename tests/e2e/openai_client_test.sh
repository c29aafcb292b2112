#!/usr/bin/env bash
# Runs openai_client_test.py with the unmodified `openai` package from PyPI, in a virtual environment that is made
# once inside the build directory.
#
#   usage: EBB_TEST_URL=http://127.0.0.1:8000 tests/e2e/openai_client_test.sh BUILD_DIR
set -euo pipefail

OPENAI_VERSION=${OPENAI_VERSION:-3.54.0}

if [[ $# -ne 1 || ! -d $1 ]]; then
  echo "usage: EBB_TEST_URL=URL $0 BUILD_DIR" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
venv=$1/openai-client-$OPENAI_VERSION

# The mark is written last: an environment that was only half made is made again.
if [[ ! -e $venv/complete ]]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "openai==$OPENAI_VERSION"
  touch "$venv/complete"
fi
exec "$venv/bin/python" -B "$here/openai_client_test.py"
