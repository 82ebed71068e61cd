# Sourced by flink.sh and spark.sh: packages of an engine, and its processes.
#
# Expects: `engine`, a name; `here`, the checkout; `names`, the processes;
# `root`, where their logs, numbers and temporary files go.

engines=${TFPLUGIN_ENGINES:-$here/.engines}
jars=$engines/$engine

# Java 17 closes packages that Flink and Spark reach into.
opens=()
for package in java.lang java.lang.invoke java.io java.net java.nio java.time \
  java.util java.util.concurrent java.util.concurrent.atomic sun.nio.ch \
  sun.nio.cs sun.security.action sun.util.calendar; do
  opens+=("--add-opens=java.base/$package=ALL-UNNAMED")
done

fetch() {
  local pom=$here/scripts/engines/$engine.xml
  cmp -s "$pom" "$jars/pom.xml" && return
  command -v mvn > /dev/null || {
    echo "$engine.sh: Maven's client (mvn) is needed." >&2
    exit 2
  }
  echo "$engine.sh: fetching packages" >&2
  rm -rf "$jars"
  mvn -B -q -f "$pom" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$jars" >&2 || {
    echo "$engine.sh: Maven could not fetch the packages of $pom." >&2
    exit 75
  }
  # Written last: without it, half of the packages would pass for all.
  cp "$pom" "$jars/pom.xml"
}

launch() { # name, heap, class path, class and arguments
  local name=$1 heap=$2 path=$3
  shift 3
  mkdir -p "$root/logs" "$root/tmp"
  nohup java "-Xmx$heap" "${opens[@]}" "-Djava.io.tmpdir=$root/tmp" \
    -Dorg.slf4j.simpleLogger.showDateTime=true \
    -cp "$path" "$@" > "$root/logs/$name.log" 2>&1 < /dev/null &
  echo $! > "$root/$name.pid"
}

runs() {
  local pid
  pid=$(cat "$root/$1.pid" 2> /dev/null) || return 1
  # The number may by now be that of another process.
  tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null | grep -qF "$root/tmp"
}

refuse_second() {
  local name
  for name in "${names[@]}"; do
    if runs "$name"; then
      echo "$engine.sh: it runs already; see '$engine.sh status'" >&2
      exit 2
    fi
  done
}

await() { # what, a command that succeeds once it is there
  local what=$1 try
  shift
  for ((try = 0; try < 240; try++)); do
    "$@" && return
    sleep 0.25
  done
  echo "$engine.sh: $what does not answer; see $root/logs" >&2
  stop
  exit 1
}

stop() {
  local name pid try
  for name in "${names[@]}"; do
    if runs "$name"; then
      pid=$(cat "$root/$name.pid")
      kill "$pid" 2> /dev/null || true
      for ((try = 0; try < 40; try++)); do
        runs "$name" || break
        sleep 0.25
      done
      if runs "$name"; then kill -9 "$pid" 2> /dev/null || true; fi
    fi
    rm -f "$root/$name.pid"
  done
  rm -rf "$root/tmp"
}

status() {
  local name code=0
  for name in "${names[@]}"; do
    if runs "$name"; then
      echo "$name: runs, process $(cat "$root/$name.pid")"
    else
      echo "$name: stopped"
      code=3
    fi
  done
  return $code
}

command_line() {
  case ${1:-} in
    start | stop | status) "$1" ;;
    *)
      echo "usage: scripts/$engine.sh start|stop|status" >&2
      exit 2
      ;;
  esac
}
