#!/usr/bin/env bash
# Reproduces the experiments of the paper: prepares a dataset, trains the systems on its folds, and
# writes Table 3 and Figure 2. Skips what is done and continues what was interrupted.
#
# usage: ./run_experiments.sh demo|esc10|esc50|dcase2016|gtzan|all|folder [--preset paper|small|modern|demo]
#            [--audio DIR] [--name NAME] [--folds 1,2] [options]
# example: ./run_experiments.sh esc10 --preset small --audio ESC-50-master --folds 1
#
# All options: multiview reproduce --help
set -eu
unset CDPATH # cd would print where it goes
self=$0
while [ -L "$self" ]; do
  target=$(readlink "$self")
  case $target in /*) self=$target ;; *) self=$(dirname "$self")/$target ;; esac
done
root=$(cd "$(dirname "$self")" && pwd)
case ${1-} in '' | -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; [ $# -gt 0 ] && exit 0; exit 2 ;; esac
. "$root/environment.sh"
use_environment "$root" ''
exec multiview reproduce "$@" --root "$root"
