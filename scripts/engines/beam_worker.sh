#!/bin/sh
# The command of a PROCESS environment: one Beam worker, as a runner starts it.
# Workers need tfplugin in the Python that TFPLUGIN_PYTHON names; without it,
# the environment of this checkout is taken.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$here"
exec "${TFPLUGIN_PYTHON:-$here/.venv/bin/python}" -m beam_jobs.engine_worker "$@"
