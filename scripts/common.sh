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

# beside COMMAND...: run it beside what follows, its output kept; joined waits for it, shows that, and has its status.
beside() {
  SAID_BESIDE=$(mktemp)
  "$@" >"$SAID_BESIDE" 2>&1 &
  BESIDE=$!
  trap 'kill "$BESIDE" 2>/dev/null || true; rm -f "$SAID_BESIDE"' EXIT
}
joined() {
  local status=0
  wait "$BESIDE" || status=$?
  trap - EXIT
  cat "$SAID_BESIDE" >&2
  rm -f "$SAID_BESIDE"
  return "$status"
}

# environment FOLDER EXTRAS [PACKAGES...]: a virtual environment with this checkout, its extras and further packages,
# made or brought up to date.
environment() {
  local folder="$1" extras="$2" python
  shift 2
  if ! "$folder/bin/python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
    python=$(find_python) || exit $?
    quietly "Making the virtual environment $folder with $("$python" --version)" "$python" -m venv --clear "$folder"
  fi
  quietly "Installing jupyter-codeagent[$extras]${*:+ with $*} into $folder" \
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${EDITABLE[@]}" ".[$extras]" "$@"
}
EDITABLE=()

# torch: its build without CUDA in .venv-test where there is one for this Python (200 MB); else its test is left out.
torch() {
  .venv-test/bin/python -c 'import torch' 2>/dev/null && return
  say "Installing torch, for one test"
  .venv-test/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0+cpu' 2>/dev/null || say "No torch here: its test is left out"
}

# node_first: Node.js that is new enough, and npm, first on PATH: the system's, or else those of PyPI in .venv-node.
# Wants .venv-test or another environment with hatchling first on PATH.
node_first() {
  local found
  found=$(python -c 'import hatch_build; print(hatch_build.tools())')
  if [ -z "$found" ]; then
    [ -x .venv-node/bin/npm ] || quietly "Making .venv-node" python -m venv --clear .venv-node
    quietly "Installing Node.js from PyPI into .venv-node" .venv-node/bin/python -m pip install --quiet \
      --disable-pip-version-check "$(python -c 'import hatch_build; print(hatch_build.NODE_WHEEL)')"
    found="$PWD/.venv-node/bin:$PATH"
  fi
  export PATH="$found"
}

# browser: stops unless there is a Chromium: the system's, or one that playwright has fetched.
browser() {
  local own
  ! command -v chromium >/dev/null || return 0
  ! command -v chromium-browser >/dev/null || return 0
  own=$(python -c 'from playwright.sync_api import sync_playwright as start
with start() as found: print(found.chromium.executable_path)')
  [ -x "$own" ] || stop "The tests of the user interface need Chromium; run: apt install chromium   (as root), or: .venv-test/bin/playwright install chromium"
}

# neighbours: an environment with this checkout beside other extensions, for the tests that are marked so.
neighbours() {
  environment .venv-neighbours bwrap,lab "jupyter-ai>=3,<4" "jupyter-collaboration>=5,<6"
}
