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

step "1/8 Preprocess: 1.5 million grocery purchases, with Apache Beam"
$tfplugin preprocess --config $config --workdir "$work" --overwrite

step "2/8 Train: three epochs, three objectives, a rate per id"
$tfplugin train --config $config --workdir "$work" --overwrite

step "3/8 Evaluate on the test split"
$tfplugin evaluate --workdir "$work"

step "4/8 Report"
$tfplugin report --workdir "$work"

step "5/8 Export a SavedModel"
$tfplugin export --workdir "$work"

step "6/8 Check it as a server would run it"
version=$(ls "$work/model" | sort -n | tail -1)
$tfplugin validate "$work/model/$version"

step "7/8 Publish it to the folder that servers watch"
# A version that an earlier run of this script published would be refused.
rm -rf "$work/served"
$tfplugin publish "$work/model/$version" "$work/served" --keep 2

step "8/8 Serve it, and ask it over REST and gRPC"
$tfplugin serve --model-base-path "$work/served" \
  --model-name completejourney --rest-port 0 --grpc-port 0 \
  >"$work/serve.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
for _ in $(seq 240); do
  grep -q '^ *gRPC' "$work/serve.log" && break
  kill -0 $server 2>/dev/null || { cat "$work/serve.log" >&2; exit 1; }
  sleep 0.5
done
rest=$(sed -n 's/^ *REST *//p' "$work/serve.log")
grpc=$(sed -n 's/^ *gRPC *\([^ ]*\).*/\1/p' "$work/serve.log")
.venv/bin/python scripts/demo_requests.py \
  --rest-url "$rest" --rows "$work/rows.jsonl"
echo "tfplugin predict grpc://$grpc: the same purchase, and one of which"
echo "nothing but the household is known"
$tfplugin predict "grpc://$grpc" --model completejourney \
  --input "$work/rows.jsonl"

cat <<TXT

Done. Where to look next:
  $work/report/index.html   the data, the epochs, the results, in a browser
  $work/model/              the SavedModel, for TF Serving
  $tfplugin serve --workdir "$work"   keeps a server running
  .venv/bin/tensorboard --logdir "$work/logs"
  docs/README.md            guides, the architecture, measured results
TXT
