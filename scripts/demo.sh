#!/usr/bin/env bash
# The main job on a real log, from nothing to an answer from a server.
#
#   bash scripts/demo.sh [WORK_FOLDER]
#
# Needs CPython 3.11 only; makes its own .venv. Safe to run again.
set -euo pipefail
work=$(realpath -m "${1:-$(dirname "$0")/../work/completejourney}")
cd "$(dirname "$0")/.."
. scripts/setup_venv.sh
setup_venv
tfplugin=.venv/bin/tfplugin
config=configs/completejourney.yaml

step() { printf '\n== %s\n' "$*"; }

step "1/6 Preprocess: 1.5 million grocery purchases, with Apache Beam"
$tfplugin preprocess --config $config --workdir "$work" --overwrite

step "2/6 Train: three epochs, three objectives, a rate per id"
$tfplugin train --config $config --workdir "$work" --overwrite

step "3/6 Evaluate on the test split"
$tfplugin evaluate --workdir "$work"

step "4/6 Report"
$tfplugin report --workdir "$work"

step "5/6 Export a SavedModel"
$tfplugin export --workdir "$work"

step "6/6 Serve it, and ask it over REST and gRPC"
$tfplugin serve --workdir "$work" --rest-port 0 --grpc-port 0 \
  >"$work/serve.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
for _ in $(seq 120); do
  grep -q '^gRPC' "$work/serve.log" && break
  kill -0 $server 2>/dev/null || { cat "$work/serve.log" >&2; exit 1; }
  sleep 0.5
done
.venv/bin/python scripts/demo_requests.py \
  --rest-url "$(sed -n 's/^REST *//p' "$work/serve.log")" \
  --grpc-address "$(sed -n 's/^gRPC *\([^ ]*\).*/\1/p' "$work/serve.log")"

cat <<TXT

Done. Where to look next:
  $work/report/index.html   the data, the epochs, the results, in a browser
  $work/model/              the SavedModel, for TF Serving
  $tfplugin serve --workdir "$work"   keeps the server running
  .venv/bin/tensorboard --logdir "$work/logs"
  docs/README.md            guides, the architecture, measured results
TXT
