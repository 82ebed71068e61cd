#!/usr/bin/env bash
# Beam's job server with a Spark inside, from Maven's packages.
#
#   scripts/spark.sh start|stop|status
#
# `start` waits until it answers and prints the options for a job. Needs Java
# 11 or 17, and Maven's client the first time.
#   TFPLUGIN_ENGINES (.engines)        where the packages are kept
#   SPARK_STATE (.engines/spark-state) logs and temporary files
#   SPARK_PORT (8099)   Beam's job server; its artifacts at the next port
#   SPARK_MASTER (local[2])            or spark://HOST:PORT
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
engine=spark
names=(jobserver)
root=${SPARK_STATE:-${TFPLUGIN_ENGINES:-$here/.engines}/spark-state}
port=${SPARK_PORT:-8099}
. "$here/scripts/engines/processes.sh"

serves() {
  runs jobserver && (: < "/dev/tcp/localhost/$port") 2> /dev/null
}

start() {
  refuse_second
  fetch
  launch jobserver 1g "$jars/*" \
    org.apache.beam.runners.spark.SparkJobServerDriver \
    --spark-master-url="${SPARK_MASTER:-local[2]}" --job-host=localhost \
    --job-port="$port" --artifact-port=$((port + 1)) --expansion-port=-1 \
    --artifacts-dir="$root/tmp/artifacts"
  await "the job server" serves
  echo "--runner=PortableRunner"
  echo "--job_endpoint=localhost:$port"
}

command_line "$@"
