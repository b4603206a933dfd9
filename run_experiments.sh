#!/usr/bin/env bash
# Reproduces the experiments of the paper: prepares a dataset, trains the six systems on every fold,
# and writes Table 3 and Figure 2. Skips what is done and continues what was interrupted.
set -u
usage() {
  cat <<'TEXT'
usage: ./run_experiments.sh DATASET [--preset paper|small|demo] [--audio DIR] [--folds 1,2] [options]

DATASET  demo    synthesised on the spot, minutes on a laptop
         esc10   from a folder of ESC-10 or ESC-50
         esc50   from a folder of ESC-50
         folder  your own sounds, one sub-folder a class

  --preset NAME     demo for demo, paper for the others
  --audio DIR       the dataset; not needed once its store is made
  --folds LIST      folds to test on; all of the dataset's, the first for demo
  --systems LIST    of mel,gammatone,cqt,raw,concat,multiview; all
  --sample-rate HZ  44100 or 22050; the preset's or the dataset's own
  --epochs N        instead of the preset's
  --seed N          (0)

Leaves the store in stores/, and runs, table and pictures in results/DATASET/PRESET/.
example: ./run_experiments.sh esc10 --preset small --audio ESC-50-master --folds 1
TEXT
}
wrong() { echo "run_experiments.sh: error: $1; see --help" >&2; exit 2; }

dataset='' preset='' audio='' folds='' rate='' seed=0 epochs='' systems=mel,gammatone,cqt,raw,concat,multiview
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --preset | --audio | --folds | --systems | --sample-rate | --epochs | --seed)
      [ $# -ge 2 ] || wrong "expected a value after $1"
      case $1 in
        --preset) preset=$2 ;; --audio) audio=$2 ;; --folds) folds=$2 ;; --systems) systems=$2 ;;
        --sample-rate) rate=$2 ;; --epochs) epochs=$2 ;; --seed) seed=$2 ;;
      esac
      shift 2 ;;
    -*) wrong "unknown option $1" ;;
    *) [ -z "$dataset" ] || wrong "expected one dataset, found $dataset and $1"; dataset=$1; shift ;;
  esac
done
case $dataset in
  demo) : "${preset:=demo}" "${folds:=1}" ;;
  esc10 | esc50 | folder) : "${preset:=paper}" "${folds:=1,2,3,4,5}" ;;
  '') usage >&2; exit 2 ;;
  *) wrong "expected demo, esc10, esc50 or folder, found $dataset" ;;
esac
case $preset in
  paper) [ "$dataset" = demo ] && default_rate=22050 || default_rate=44100 ;;
  small | demo) default_rate=22050 ;;
  *) wrong "expected --preset paper, small or demo, found $preset" ;;
esac
: "${rate:=$default_rate}"
[ "$preset" = paper ] || [ "$rate" = 22050 ] || wrong "preset $preset is for --sample-rate 22050, found $rate"
for system in ${systems//,/ }; do
  case $system in
    mel | gammatone | cqt | raw | concat | multiview) ;;
    *) wrong "expected --systems of mel,gammatone,cqt,raw,concat,multiview, found $system" ;;
  esac
done
[ -z "$audio" ] || audio=$(cd "$audio" 2>/dev/null && pwd) || wrong "--audio is no folder"

cd "$(dirname "$0")" || exit 1
. ./environment.sh
use_environment '' || exit 1

store=stores/${dataset}_$rate.h5 results=results/$dataset/$preset failed=()
multiview-prepare "$dataset" ${audio:+--audio "$audio"} --store "$store" --sample-rate "$rate" || exit
for fold in ${folds//,/ }; do
  for system in ${systems//,/ }; do
    multiview train "$store" --system "$system" --fold "$fold" --preset "$preset" --seed "$seed" \
      ${epochs:+--epochs "$epochs"} --run "$results/$system/fold$fold"
    status=$?
    [ $status -ne 130 ] || exit 130
    [ $status -eq 0 ] || failed+=("$system on fold $fold")
  done
done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
fi
multiview report "$results" || exit
echo "time: $((SECONDS / 60)) min $((SECONDS % 60)) s"
[ ${#failed[@]} -eq 0 ]
