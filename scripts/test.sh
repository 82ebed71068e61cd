#!/usr/bin/env bash
# Style, types and tests, with coverage.
#
#   bash scripts/test.sh [PYTEST_ARGUMENT ...]
#
# Needs CPython 3.11 only; makes its own .venv. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup_venv.sh
setup_venv
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}

echo "== Style: ruff"
.venv/bin/ruff check .
.venv/bin/ruff format --check --quiet .

echo "== Types: mypy"
.venv/bin/mypy tfplugin beam_jobs serving

# One process more than this has processors, since tests wait for others too.
processes=$(($(nproc 2>/dev/null || echo 2) + 1))
echo "== Tests: pytest on $processes processes"
.venv/bin/python -m pytest -n "$processes" --dist loadfile --no-loadscope-reorder \
  --cov --cov-report=term:skip-covered "$@"

cat <<TXT

Done. Where to look next:
  bash scripts/demo.sh   the main job on a real log
  docs/README.md         guides, the architecture, measured results
  CONTRIBUTING.md        how to add an optimizer, a layer, a command
TXT
