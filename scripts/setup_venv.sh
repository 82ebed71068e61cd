# Sourced by demo.sh and test.sh: makes .venv from requirements.lock, once.
# Needs CPython 3.11 and a network or cache that pip can install from.

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3 python; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
      >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  echo "CPython 3.11 is needed and was not found. Install it, or name it:" \
    "PYTHON=/path/to/python3.11 bash $0" >&2
  return 2
}

setup_venv() {
  local python wanted
  wanted=$(cat requirements.lock setup.py | cksum)
  if [ "$(cat .venv/.installed 2>/dev/null)" = "$wanted" ]; then
    echo "== Environment: .venv is up to date"
    return
  fi
  python=$(find_python) || return
  echo "== Environment: making .venv from requirements.lock" \
    "(about 2 minutes, 3.5 GB)"
  rm -f .venv/.installed
  "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --no-deps --requirement requirements.lock
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --no-deps --no-build-isolation --editable .
  .venv/bin/python -m pip check --quiet 2>/dev/null ||
    .venv/bin/python -m pip check
  echo "$wanted" >.venv/.installed
}
