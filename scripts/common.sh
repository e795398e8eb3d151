# What the other scripts share; sourced by them.

say() { printf '%s\n' "$*" >&2; }

stop() {
  say "$*"
  exit 2
}

# find_python: the first Python from 3.11 to 3.14 that runs and can make virtual environments.
find_python() {
  local name without_venv=""
  for name in ${PYTHON:-} python3.14 python3.13 python3.12 python3.11 python3 python; do
    "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || continue
    if "$name" -c 'import venv, ensurepip' 2>/dev/null; then
      command -v "$name"
      return
    fi
    without_venv="$name"
  done
  if [ -n "$without_venv" ]; then
    stop "$without_venv cannot make virtual environments; run: apt install $(basename "$without_venv")-venv   (as root; or your system's equivalent)"
  fi
  stop "Python 3.11 to 3.14 is needed and none was found; run: apt install python3 python3-venv   (as root), or set PYTHON=/path/to/python."
}

# quietly WHAT COMMAND...: run it with its output in a log, counting the seconds; show the log's end if it fails.
quietly() {
  local what="$1" log status=0 began=$SECONDS pid
  shift
  log=$(mktemp)
  "$@" >"$log" 2>&1 &
  pid=$!
  trap 'kill "$pid" 2>/dev/null || true; rm -f "$log"; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    if [ -t 2 ]; then
      printf '\r%s, %d s' "$what" $((SECONDS - began)) >&2
      sleep 1
    else
      [ $(((SECONDS - began) % 15)) -ne 0 ] || say "$what, $((SECONDS - began)) s"
      sleep 1
    fi
  done
  wait "$pid" || status=$?
  trap - INT TERM
  [ ! -t 2 ] || printf '\r\033[K' >&2
  if [ "$status" -ne 0 ]; then
    tail -n 25 "$log" >&2
    rm -f "$log"
    stop "$what: failed (see above)."
  fi
  rm -f "$log"
  say "$what: done in $((SECONDS - began)) s"
}

# environment FOLDER EXTRAS: a virtual environment with this checkout and its extras, made or brought up to date.
environment() {
  local folder="$1" extras="$2" python
  if ! "$folder/bin/python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
    python=$(find_python) || exit $?
    quietly "Making the virtual environment $folder with $("$python" --version)" "$python" -m venv --clear "$folder"
  fi
  quietly "Installing jupyter-codeagent[$extras] into $folder" \
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${EDITABLE[@]}" ".[$extras]"
}
EDITABLE=()
