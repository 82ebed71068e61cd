#!/usr/bin/env bash
# A local Apache Flink and Beam's job server, from Maven's packages.
#
#   scripts/flink.sh start|stop|status
#
# `start` waits until both answer and prints the options for a job. Needs Java
# 11 or 17, and Maven's client the first time.
#   TFPLUGIN_ENGINES (.engines)        where the packages are kept
#   FLINK_STATE (.engines/flink-state) logs, configuration, temporary files
#   FLINK_PORT  (8081)  Flink's web page; Beam's job server listens at the next
#                       port, its artifacts at the one after, Flink's internal
#                       calls at the third.
#   FLINK_SLOTS (2)     how many tasks run at a time
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
engine=flink
names=(jobserver taskmanager jobmanager)
root=${FLINK_STATE:-${TFPLUGIN_ENGINES:-$here/.engines}/flink-state}
port=${FLINK_PORT:-8081}
slots=${FLINK_SLOTS:-2}
. "$here/scripts/engines/processes.sh"

configure() {
  mkdir -p "$root/conf" "$root/logs" "$root/tmp"
  cat > "$root/conf/flink-conf.yaml" << YAML
jobmanager.rpc.address: localhost
jobmanager.bind-host: localhost
jobmanager.rpc.port: $((port + 3))
rest.address: localhost
rest.bind-address: localhost
rest.port: $port
taskmanager.host: localhost
taskmanager.bind-host: localhost
taskmanager.numberOfTaskSlots: $slots
taskmanager.cpu.cores: $slots
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.heap.size: 512m
taskmanager.memory.task.off-heap.size: 0
taskmanager.memory.managed.size: 256m
taskmanager.memory.network.min: 256m
taskmanager.memory.network.max: 256m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
io.tmp.dirs: $root/tmp
# A lost worker process is a lost task: it is tried again.
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 3
restart-strategy.fixed-delay.delay: 1 s
YAML
}

has_slots() {
  runs jobmanager && runs taskmanager &&
    grep -q "Successful registration" "$root/logs/taskmanager.log"
}

serves() {
  runs jobserver &&
    grep -q "JobService started" "$root/logs/jobserver.log"
}

start() {
  refuse_second
  fetch
  configure
  # The cluster gets Beam's classes with each job, as a standing one would.
  local cluster
  cluster=$(find "$jars" -name "*.jar" ! -name "beam-*" | sort | paste -sd:)
  launch jobmanager 512m "$cluster" \
    org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint \
    --configDir "$root/conf"
  launch taskmanager 768m "$cluster" \
    org.apache.flink.runtime.taskexecutor.TaskManagerRunner \
    --configDir "$root/conf"
  launch jobserver 512m "$jars/*" \
    org.apache.beam.runners.flink.FlinkJobServerDriver \
    --flink-master="localhost:$port" --job-host=localhost \
    --job-port=$((port + 1)) --artifact-port=$((port + 2)) \
    --expansion-port=-1 --artifacts-dir="$root/tmp/artifacts"
  await "Flink" has_slots
  await "the job server" serves
  echo "--runner=PortableRunner"
  echo "--job_endpoint=localhost:$((port + 1))"
}

command_line "$@"
