# shellcheck shell=bash disable=SC2034  # what is set here is used by the callers
# What scripts/up and scripts/test share: sourced, never run.
#
# Callers set `set -euo pipefail` and STATE (a directory of their own, for logs
# and process ids) before they use anything below.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
VENV=$ROOT/.venv
PROXY_HOME=$VENV/lib/proxy
PROXY_PACKAGE='configurable-http-proxy@^5.1'
AXE_PACKAGE='axe-core@^4.10'
OPENID_HOME=$VENV/lib/oidc-provider
OPENID_PACKAGE='oidc-provider@9.13.3'
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/mydocker-hub

say() { printf '%s\n' "$*"; }
warn() { printf 'Note: %s\n' "$*" >&2; }

# One plain sentence on what is lacking, and what to do about it; then out.
die() {
  printf '\nStopped: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}

# The end of a log, for the person who would otherwise have to go and look.
die_with_log() {
  local log=$1 sentence=$2
  {
    printf '\nThe last lines of %s:\n' "$log"
    tail -n 15 "$log" 2>/dev/null | sed 's/^/  | /'
  } >&2
  die "$sentence"
}

has() { command -v "$1" >/dev/null 2>&1; }

machine() { "$VENV/bin/python" "$ROOT/scripts/lib/machine.py" "$@"; }

# ---------------------------------------------------------------- Debian packages

# Installs Debian packages; the caller has found out that they are missing.
# Package lists are fetched only when apt does not know the packages yet.
install_packages() {
  local log=$STATE/apt.log
  local -a install=(apt-get -o DPkg::Lock::Timeout=300 -y install --no-install-recommends "$@")
  has apt-get || die "these programs are missing, and this is not a Debian system: $*" \
    "Install them with this system's own package manager, then run this again."
  [ "$(id -u)" -eq 0 ] || die "these Debian packages are missing: $*" \
    "Install them (as root: apt-get install --no-install-recommends $*), or run this as root."
  say "Installing Debian packages: $* (usually under a minute)"
  if ! DEBIAN_FRONTEND=noninteractive "${install[@]}" >"$log" 2>&1 </dev/null; then
    update_package_lists
    DEBIAN_FRONTEND=noninteractive "${install[@]}" >>"$log" 2>&1 </dev/null \
      || die_with_log "$log" "these Debian packages could not be installed: $*"
  fi
}

update_package_lists() {
  local log=$STATE/apt.log
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 update >>"$log" 2>&1 </dev/null \
    || die_with_log "$log" "apt-get update failed: Debian's package servers cannot be reached."
}

# ---------------------------------------------------------------- Python and the proxy

check_python() {
  has python3 || install_packages python3 python3-venv
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || die "Python 3.11 or newer is needed; $(command -v python3) is $(python3 -V 2>&1)."
  python3 -c 'import venv, ensurepip' 2>/dev/null || install_packages python3-venv
}

# Changes when the project's dependencies or the interpreter change, so that
# pip runs only then: it takes seconds even with nothing to do.
project_checksum() {
  local -a files=()
  local file
  for file in setup.cfg pyproject.toml setup.py; do
    [ -f "$ROOT/$file" ] && files+=("$ROOT/$file")
  done
  { cat "${files[@]}"; readlink -f "$VENV/bin/python"; printf '%s' "$ROOT"; } | sha256sum | cut -d' ' -f1
}

# install_project [EXTRA...]: the virtual environment, and the project in it.
install_project() {
  local stamp="$VENV/.installed" log=$STATE/pip.log target=$ROOT sum extra stale=
  if [ ! -x "$VENV/bin/python" ] || ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
    check_python
    say "Making the virtual environment .venv"
    python3 -m venv "$VENV" >"$log" 2>&1 || die_with_log "$log" "the virtual environment could not be made."
  fi
  sum=$(project_checksum)
  for extra in '' "$@"; do
    [ "$(cat "$stamp${extra:+-$extra}" 2>/dev/null)" = "$sum" ] || stale=1
  done
  [ -n "$stale" ] || return 0
  say "Installing mydocker_hub and its Python packages into .venv (usually 1 to 2 minutes the first time)"
  # other extras that are up to date stay so
  [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ] || rm -f "$stamp"*
  [ $# -eq 0 ] || target="${ROOT}[$(IFS=,; printf '%s' "$*")]"
  (cd "$ROOT" && "$VENV/bin/python" -m pip install --disable-pip-version-check -e "$target") \
    >"$log" 2>&1 </dev/null || die_with_log "$log" "pip could not install the project."
  for extra in '' "$@"; do printf '%s\n' "$sum" >"$stamp${extra:+-$extra}"; done
}

# The hub's proxy is a Node.js program. It lives inside .venv: nothing global.
install_proxy() {
  install_from_npm "$PROXY_HOME" "$PROXY_PACKAGE" "the proxy"
  PATH=$VENV/bin:$PROXY_HOME/node_modules/.bin:$PATH
  export PATH
}

# install_from_npm FOLDER PACKAGE WHAT: into a folder of its own, once.
install_from_npm() {
  local folder=$1 package=$2 what=$3 log=$STATE/npm.log
  has node || install_packages nodejs npm
  [ ! -d "$folder/node_modules/${package%@*}" ] || return 0
  has npm || die "npm is missing; it installs $what." \
    "Install the npm that belongs to $(command -v node), then run this again."
  say "Installing $what ($package) with npm (usually 10 seconds)"
  mkdir -p "$folder"
  npm install --prefix "$folder" --no-audit --no-fund --loglevel=error "$package" \
    >"$log" 2>&1 </dev/null || die_with_log "$log" "npm could not install $package."
}

# ---------------------------------------------------------------- processes

# A process's command line; nothing for one that has ended (or is a zombie).
command_of() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null || true; }

# The id in a pid file, if that process is alive and is really the program that
# we mean: after a restart of the machine the id may belong to anything.
live_pid() {
  local file=$1 program=$2 pid
  pid=$(cat "$file" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ && $(command_of "$pid") == *"$program"* ]] || return 1
  printf '%s\n' "$pid"
}

# stop_pid PID SECONDS: SIGTERM, then wait; says by its status whether it ended.
stop_pid() {
  local pid=$1 tries=$(($2 * 5))
  kill -TERM "$pid" 2>/dev/null || return 0
  while [ -n "$(command_of "$pid")" ]; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.2
  done
}

# ---------------------------------------------------------------- the Docker engine

# What `machine engine` says of the engine, as ENGINE_* variables; false when no
# engine answers. It asks as the hub will: DOCKER_HOST, else the local socket.
look_at_engine() {
  local facts
  facts=$(machine engine 2>"$STATE/engine.err") || return 1
  eval "$facts"
}

# Uses the engine that answers, else starts one of our own.
# ENGINE_STARTED=1 when it was started here.
ensure_engine() {
  ENGINE_STARTED=0
  if look_at_engine; then
    return 0
  fi
  if [ -n "${DOCKER_HOST:-}" ]; then
    die "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST." \
      "$(tail -n 1 "$STATE/engine.err")" \
      "Start that engine or correct the variable; without it, an engine is set up on this machine."
  fi
  case $(tail -n 1 "$STATE/engine.err") in
    *'Permission denied'*)
      die "a Docker engine is here, but $(id -un) may not use it." \
        "Run this as root, or have $(id -un) added to the group docker (and sign in again)." ;;
  esac
  [ "$(id -u)" -eq 0 ] || die "no Docker engine answers, and only root can start one." \
    "Run this as root, or start Docker first (on most systems: systemctl start docker)."
  start_engine
}

start_engine() {
  local log=$STATE/dockerd.log pidfile=$STATE/dockerd.pid pid tries=150
  local -a missing=()
  has dockerd || missing+=(docker.io)
  has iptables || missing+=(iptables)
  has ip || missing+=(iproute2)
  if [ ${#missing[@]} -gt 0 ]; then
    install_packages "${missing[@]}"
    # where a service manager runs, Debian's package has started the engine itself
    if look_at_engine; then return 0; fi
  fi
  say "Starting a Docker engine (usually 3 to 6 seconds); its log: $log"
  live_pid "$pidfile" dockerd >/dev/null || rm -f "$pidfile"
  # --no-new-privileges for all containers: engines before API 1.44 cannot be
  # asked for it by a single Swarm service. A session of its own, so that
  # Ctrl-C here does not end it.
  setsid dockerd --no-new-privileges --pidfile "$pidfile" >"$log" 2>&1 </dev/null 9>&- &
  pid=$!
  while ! look_at_engine; do
    if ! kill -0 "$pid" 2>/dev/null; then
      die_with_log "$log" "the Docker engine (dockerd) ended as soon as it was started."
    fi
    tries=$((tries - 1))
    if [ "$tries" -le 0 ]; then
      stop_pid "$pid" 10 || true
      die_with_log "$log" "the Docker engine (dockerd) did not answer within a minute."
    fi
    sleep 0.1
  done
  ENGINE_STARTED=1
}

# Stops the engine that start_engine started, and no other.
stop_engine() {
  local pidfile=$STATE/dockerd.pid pid
  pid=$(live_pid "$pidfile" "--pidfile $pidfile") || { rm -f "$pidfile"; return 0; }
  say "Stopping the Docker engine (process $pid)"
  stop_pid "$pid" 60 || die "the Docker engine (process $pid) is still stopping after a minute." \
    "Its log: $STATE/dockerd.log"
  rm -f "$pidfile"
}

# SWARM_STARTED=1 when the Swarm was made here.
ensure_swarm() {
  local log=$STATE/swarm.log
  SWARM_STARTED=0
  case $ENGINE_SWARM in
    active) ;;
    inactive)
      say "Making the engine a one-node Swarm"
      machine swarm-init >"$log" 2>&1 || die_with_log "$log" "the engine could not be made a Swarm."
      SWARM_STARTED=1
      look_at_engine || die "the Docker engine no longer answers."
      ;;
    *)
      die "the engine's Swarm is in the state '$ENGINE_SWARM'." \
        "'docker info' tells more; 'docker swarm leave' takes the engine out of that Swarm." ;;
  esac
  [ "$ENGINE_MANAGER" = yes ] || die "the engine is a worker of a Swarm; the hub needs a manager." \
    "Set DOCKER_HOST to a manager of that Swarm, or promote this node (docker node promote)."
}
