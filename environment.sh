# Sourced by run_experiments.sh and tests/run: makes .venv with the project in it, once, and uses it.
# MULTIVIEW_PYTHON names another Python to make it with.

use_environment() { # ROOT EXTRAS: the repository's root, and extras such as [test], or nothing
  local root=$1 extras=$2 venv="$1/.venv" version status=0
  version=$(cat "$root/setup.py" "$root/requirements-predict.txt" | cksum)
  if ! is_installed; then
    take_turn || return 1
    # In a shell of its own, which gives the turn back however it ends.
    (
      trap 'rm -rf "$venv.lock"' EXIT
      trap 'echo "interrupted; the same command continues" >&2; exit 130' INT
      is_installed || install_project
    ) || status=$?
    [ "$status" = 0 ] || return "$status"
  fi
  PATH="$venv/bin:$PATH"
  hash -r
}

is_usable() { # Whether .venv was made at this place, as its scripts have that in them, by a Python that is still there.
  [ -x "$venv/bin/python" ] && [ "$(cat "$venv/root" 2>/dev/null || echo "$root")" = "$root" ]
}

is_installed() {
  is_usable && [ "$(cat "$venv/installed$extras" 2>/dev/null)" = "$version" ]
}

take_turn() { # Two that make one .venv would destroy each other's.
  local here holder told=''
  here="$(uname -n) $(id -u)"
  until mkdir "$venv.lock" 2>/dev/null; do
    if [ ! -d "$venv.lock" ]; then
      echo "expected to make .venv in $root, which cannot be written to; make that possible" >&2
      return 1
    fi
    holder=$(cat "$venv.lock/process" 2>/dev/null) || holder=''
    # Of another machine or user it cannot be told whether it was killed.
    if [ "${holder% *}" = "$here" ] && ! kill -0 "${holder##* }" 2>/dev/null; then
      rm -rf "$venv.lock"
    else
      [ -n "$told" ] || echo "Waiting for another process that makes .venv; if there is none, delete $venv.lock ..." >&2
      told=yes
      sleep 1
    fi
  done
  echo "$here $$" >"$venv.lock/process"
}

install_project() {
  local python='' said candidate
  if [ -n "${MULTIVIEW_PYTHON-}" ]; then
    set -- "$MULTIVIEW_PYTHON"
  else
    set -- python3 python3.13 python3.12 python3.11 python3.10 python
  fi
  for candidate in "$@"; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "expected Python 3.10 to 3.13, found none as $*; install one or name it in MULTIVIEW_PYTHON" >&2
    return 1
  fi
  echo "Making the virtual environment .venv with $("$python" --version), once; this downloads about 1 GB ..." >&2
  if ! is_usable || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    if ! said=$("$python" -m venv "$venv" 2>&1); then
      # Some systems ship Python without venv's own copy of pip.
      rm -rf "$venv"
      if ! "$python" -m pip install --quiet --target "$venv-maker" virtualenv ||
        ! PYTHONPATH="$venv-maker" "$python" -m virtualenv --quiet "$venv"; then
        rm -rf "$venv-maker" "$venv"
        echo "expected to make .venv with the module venv or virtualenv, found: $said" >&2
        return 1
      fi
      rm -rf "$venv-maker"
    fi
    echo "$root" >"$venv/root"
  fi
  "$venv/bin/python" -m pip install --quiet --editable "$root$extras" || return 1
  echo "$version" | tee "$venv/installed" >"$venv/installed$extras"
}
