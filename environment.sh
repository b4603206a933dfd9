# Sourced by run_experiments.sh and tests/run: makes .venv with the project in it, once, and uses it.
# MULTIVIEW_PYTHON names another Python to make it with.

use_environment() { # ROOT EXTRAS: the repository's root, and extras such as [test], or nothing
  local root=$1 extras=$2 venv="$1/.venv" python='' candidate version
  version=$(cat "$root/setup.py" "$root/requirements-predict.txt" | cksum)
  if [ "$(cat "$venv/installed$extras" 2>/dev/null)" != "$version" ]; then
    for candidate in ${MULTIVIEW_PYTHON:-python3 python3.13 python3.12 python3.11 python3.10 python}; do
      if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
        python=$candidate
        break
      fi
    done
    if [ -z "$python" ]; then
      echo "expected Python 3.10 to 3.13, found none; install one or name it in MULTIVIEW_PYTHON" >&2
      return 1
    fi
    echo "Making the virtual environment .venv with $("$python" --version), once; this downloads about 1 GB ..." >&2
    if [ ! -x "$venv/bin/pip" ]; then
      rm -rf "$venv"
      "$python" -m venv "$venv" 2>/dev/null || {
        # Some systems ship Python without venv's own copy of pip.
        rm -rf "$venv"
        "$python" -m pip install --quiet --target "$venv-maker" virtualenv &&
          PYTHONPATH="$venv-maker" "$python" -m virtualenv --quiet "$venv"
        rm -rf "$venv-maker"
      } || return 1
    fi
    "$venv/bin/python" -m pip install --quiet --editable "$root$extras" || return 1
    echo "$version" | tee "$venv/installed" >"$venv/installed$extras"
  fi
  PATH="$venv/bin:$PATH"
  hash -r
}
