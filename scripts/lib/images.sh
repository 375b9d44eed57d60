# shellcheck shell=bash disable=SC2153  # ROOT and STATE are the caller's
# Building the sample images: sourced by scripts/up and scripts/test after common.sh.

SAMPLE_IMAGE=mydocker/jupyterlab-python:1
DEBIAN_BASE=mydocker/debian-base:12
SAMPLE_DIR=$ROOT/images/jupyterlab-python
VSCODE_IMAGE=mydocker/jupyterlab-vscode:1
VSCODE_DIR=$ROOT/images/jupyterlab-vscode
BASE_DIR=$ROOT/images/debian-base
DEBIAN_MIRROR=${MYDOCKER_DEBIAN_MIRROR:-http://deb.debian.org/debian}
# What the base needs is put in by debootstrap, so that no apt runs inside a build.
DEBIAN_PACKAGES="ca-certificates,curl,git,less,nano,openssh-client,procps,python3,python3-venv,tini,unzip"

# The public base image that the Dockerfile names: the only place for it.
public_base() { sed -n 's/^ARG BASE=//p' "$SAMPLE_DIR/Dockerfile"; }

# A short checksum of everything that an image is made of.
inputs_checksum() {
  local dir=$1
  shift
  {
    printf '%s\n' "$@"
    (cd "$dir" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
  } | sha256sum | cut -c1-16
}

# A docker client that can build with BuildKit (which alone can show a build a
# secret without keeping it): any newer one with buildx, or Debian's own 20.10.
build_client() {
  local client version
  for client in $(type -ap docker); do
    if "$client" buildx version >/dev/null 2>&1; then
      printf '%s\n' "$client"
      return
    fi
    version=$("$client" version --format '{{.Client.Version}}' 2>/dev/null || true)
    case ${version%%.*} in
      '' | *[!0-9]*) ;;
      19 | 20)
        printf '%s\n' "$client"
        return ;;
    esac
  done
  die "no docker client here can build images with BuildKit." \
    "Install one: Debian's docker.io, or docker-buildx-plugin for Docker's own packages."
}

# write_build_settings FOLDER: this machine's way to the package indexes (pip's and npm's
# settings, certificates), for builds to be shown as secrets. Only we can read the folder.
write_build_settings() {
  local folder=$1 ca=${PIP_CERT:-${SSL_CERT_FILE:-}}
  rm -rf "$folder"
  mkdir -m 0700 "$folder"
  : >"$folder/ca.pem"
  [ -z "$ca" ] || cp -L "$ca" "$folder/ca.pem"
  MYDOCKER_BUILD_CA=$ca machine pip-settings >"$folder/pip.conf"
  MYDOCKER_BUILD_CA=$ca machine npm-settings >"$folder/npmrc"
}

# The network of teachers' builds: Docker's own, from where this machine's own services are not
# reached; this machine's only where that has no way out.
choose_build_network() {
  if [ -z "${MYDOCKER_BUILD_NETWORK+set}" ]; then
    MYDOCKER_BUILD_NETWORK=
    if ! machine way-out "$SAMPLE_IMAGE" 2>/dev/null; then
      warn "Docker's network has no way to the package index here: teachers' builds run on this machine's network, and reach what listens on it."
      MYDOCKER_BUILD_NETWORK=host
    fi
  fi
  export MYDOCKER_BUILD_NETWORK
}

# build_image TAG DIR BASE SUM: with the build settings shown to the build as secrets: they
# reach no layer. SUM stays on the image, to tell later whether its source has changed.
build_image() {
  local tag=$1 dir=$2 base=$3 sum=$4 client secrets log=$STATE/build.log
  client=$(build_client)
  # one fixed place: nothing gathers after interruptions
  secrets=$STATE/build-secrets
  write_build_settings "$secrets"
  # the host's network: some engines' bridge has no way out
  DOCKER_BUILDKIT=1 BUILDKIT_PROGRESS=plain "$client" build --progress plain --network host \
    --secret "id=pip.conf,src=$secrets/pip.conf" --secret "id=ca.pem,src=$secrets/ca.pem" \
    --secret "id=npmrc,src=$secrets/npmrc" \
    --build-arg "BASE=$base" --label "mydocker.source=$sum" -t "$tag" "$dir" >"$log" 2>&1 </dev/null \
    || { rm -rf "$secrets"; die_with_log "$log" "the image $tag could not be built."; }
  rm -rf "$secrets"
}

# ---------------------------------------------------------------- the cache of this machine

# load_cached NAME SUM: true when a finished image was found and loaded.
load_cached() {
  local file=$CACHE/$1-$2.tar.gz
  [ -s "$file" ] || return 1
  say "Loading $1 from $file (usually 15 seconds)"
  docker load -q -i "$file" >"$STATE/load.log" 2>&1 </dev/null
}

# save_cached NAME SUM IMAGE: written aside first, so that what is there is whole.
# A cache only: where it cannot be written, the image is simply built next time.
save_cached() {
  local file=$CACHE/$1-$2.tar.gz
  mkdir -p "$CACHE" 2>/dev/null || return 0
  if docker save "$3" 2>/dev/null | gzip -1 >"$file.part" 2>/dev/null; then
    find "$CACHE" -name "$1-*.tar.gz" -delete
    mv "$file.part" "$file"
  else
    rm -f "$file.part"
  fi
}

# ---------------------------------------------------------------- without the internet

# A base image from Debian's packages, made as the public one is from the outside.
ensure_debian_base() {
  local sum root log=$STATE/debootstrap.log
  sum=$(inputs_checksum "$BASE_DIR" "$DEBIAN_PACKAGES")
  if [ "$(machine image-source "$DEBIAN_BASE")" = "$sum" ]; then return 0; fi
  if load_cached debian-base "$sum"; then return 0; fi
  [ "$(id -u)" -eq 0 ] || die "the base image is made by debootstrap, which needs root." \
    "Run scripts/up --image-only as root once."
  has debootstrap || install_packages debootstrap
  say "Making a base image from Debian packages (usually 1 to 2 minutes)"
  root=$(mktemp -d)
  # shellcheck disable=SC2064  # the path of now
  trap "rm -rf --one-file-system '$root'" RETURN
  debootstrap --variant=minbase "--include=$DEBIAN_PACKAGES" bookworm "$root" "$DEBIAN_MIRROR" \
    >"$log" 2>&1 </dev/null || {
    rm -rf --one-file-system "$root"
    die_with_log "$log" "neither the public image nor Debian's packages can be reached, so there is nothing to build from." \
      "Give this machine the internet, or set MYDOCKER_DEBIAN_MIRROR to a Debian mirror that it reaches."
  }
  # package files, lists and manuals are of no use in an image
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
    "$root"/usr/share/{doc,man,info,locale}/* "$root"/proc/* "$root"/sys/*
  tar -C "$root" --numeric-owner --one-file-system -c . | docker import - mydocker/debian-root:12 >>"$log" \
    || { rm -rf --one-file-system "$root"; die_with_log "$log" "docker import of the base image failed."; }
  build_image "$DEBIAN_BASE" "$BASE_DIR" mydocker/debian-root:12 "$sum"
  docker rmi mydocker/debian-root:12 >/dev/null 2>&1 || true
  save_cached debian-base "$sum" "$DEBIAN_BASE"
}

# ---------------------------------------------------------------- the sample image

# The base to build on: the public one where it can be had, else our own.
# Prints nothing: sets BASE. The connection test fails fast where there is no
# internet; a pull would take minutes to give up.
choose_base() {
  BASE=$(public_base)
  if [ -n "$(machine image-source "$BASE")" ]; then return 0; fi
  if machine reachable "${BASE%%/*}" 443 5 2>/dev/null; then
    say "Pulling $BASE (about 1.5 GB: usually 2 to 5 minutes)"
    if timeout 1800 docker pull "$BASE" >"$STATE/pull.log" 2>&1 </dev/null; then return 0; fi
    warn "the pull failed ($(tail -n 1 "$STATE/pull.log")); going on with a base made here."
  else
    say "${BASE%%/*} cannot be reached from here: the sample image is built from Debian packages"
  fi
  BASE=$DEBIAN_BASE
}

# An image that is there is used, unless it was built here from another source: one
# that somebody else made and loaded under this name carries no mark, and stays.
ensure_sample_image() {
  local source sum present
  source=$(inputs_checksum "$SAMPLE_DIR")
  present=$(machine image-source "$SAMPLE_IMAGE")
  case $present in
    "$source" | unmarked) return 0 ;;
  esac
  [ -z "$present" ] || say "images/jupyterlab-python has changed since its image was built"
  has docker || die "the sample image $SAMPLE_IMAGE is missing, and there is no docker client here to build it." \
    "Install one (Debian: docker.io), or build images/jupyterlab-python elsewhere and load it into the engine."
  choose_base
  sum=$(inputs_checksum "$SAMPLE_DIR" "$BASE" "$([ "$BASE" != "$DEBIAN_BASE" ] || inputs_checksum "$BASE_DIR" "$DEBIAN_PACKAGES")")
  if load_cached jupyterlab-python "$sum"; then return 0; fi
  [ "$BASE" != "$DEBIAN_BASE" ] || ensure_debian_base
  say "Building the sample image $SAMPLE_IMAGE (usually 1 to 3 minutes); the log: $STATE/build.log"
  build_image "$SAMPLE_IMAGE" "$SAMPLE_DIR" "$BASE" "$source"
  save_cached jupyterlab-python "$sum" "$SAMPLE_IMAGE"
}

# ---------------------------------------------------------------- the one with several interfaces

# Built on the sample image, of which the machine then needs the layers only once.
ensure_vscode_image() {
  local source sum present
  ensure_sample_image
  source=$(inputs_checksum "$VSCODE_DIR" "$(machine image-source "$SAMPLE_IMAGE")")
  present=$(machine image-source "$VSCODE_IMAGE")
  case $present in
    "$source" | unmarked) return 0 ;;
  esac
  [ -z "$present" ] || say "images/jupyterlab-vscode, or what it is built on, has changed since its image was built"
  has docker || die "the image $VSCODE_IMAGE is missing, and there is no docker client here to build it." \
    "Install one (Debian: docker.io), or build images/jupyterlab-vscode elsewhere and load it into the engine."
  sum=$(inputs_checksum "$VSCODE_DIR" "$(docker image inspect --format '{{.Id}}' "$SAMPLE_IMAGE")")
  if load_cached jupyterlab-vscode "$sum"; then return 0; fi
  say "Building the image $VSCODE_IMAGE (usually 3 to 5 minutes); the log: $STATE/build.log"
  build_image "$VSCODE_IMAGE" "$VSCODE_DIR" "$SAMPLE_IMAGE" "$source"
  save_cached jupyterlab-vscode "$sum" "$VSCODE_IMAGE"
}
