#!/usr/bin/env bash
# Speed and memory of weekly checkpoints of one large bf16 model: a first snapshot, then each week against the
# one before (`docs/models.md`); every restore is compared byte for byte. Prints a Markdown table.
#
#   benches/models.sh WEEKS [DIRECTORY]     WEEKS: holds week0.safetensors … week4.safetensors (four are enough)
#                                           DIRECTORY: where to work; a tmpfs with 6 GiB free by default
#
# RUNS=3 takes medians of three. COPIES=98 makes 1 GiB of a file of 11 MB (`models --help`). Wall time says
# little on a busy machine; on two idle cores it is about half of the processor time.
set -euo pipefail
weeks=$(realpath "${1:?the directory of the weeks}")
cd "$(dirname "$0")/.."
work=${2:-/dev/shm}/ballast-models.$$
runs=${RUNS:-3} copies=${COPIES:-98}
mkdir -p "$work/models"; trap 'rm -rf "$work"' EXIT
[ "${BUILD:-yes}" = no ] || cargo build --release --quiet -p ballast-cli
[ "${BUILD:-yes}" = no ] || cargo build --release --quiet -p ballast-benches --bin models
ballast=${BALLAST:-$PWD/target/release/ballast}; make=$PWD/target/release/models
export BALLAST_PASSWORD=bench RESTIC_PASSWORD=bench XDG_CACHE_HOME=$work/cache
model=$work/models/model.safetensors repo=$work/repo saved=$work/saved

# "wall cpu rss_mib": medians, the largest memory.
measure() { # PREPARE COMMAND...
    local prepare=$1; shift
    : >"$work/times"
    for _ in $(seq "$runs"); do
        eval "$prepare" >/dev/null
        /usr/bin/time -a -o "$work/times" -f '%e %U %S %M' "$@" >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
    done
    result=$(awk '{print $1, $2+$3, $4}' "$work/times" | sort -n -k2 | awk '{w[NR]=$1; c[NR]=$2; if ($3>m) m=$3}
        END {i=int((NR+1)/2); printf "%.2f %.2f %.0f", w[i], c[i], m/1024}')
}
row() { # WHAT
    awk -v what="$1" -v size="$size" -v r="$result" 'BEGIN {split(r, f, " ");
        printf "| %s | %s | %s | %.2f | %.2f | %s |\n", what, f[1], f[2], size/1e9/f[1], 2*size/1e9/f[2], f[3]}'
}
stash() { rm -rf "$saved"; mkdir "$saved"; cp -a "$repo" "$work/cache" "$saved"; }
again() { rm -rf "$repo" "$work/cache"; cp -a "$saved/repo" "$saved/cache" "$work"; }

"$make" --tile "$copies" "$weeks/week0.safetensors" "$model"
size=$(stat -c %s "$model")
echo "$(nproc) cores, $runs runs, medians; $("$ballast" version | head -1); a file of $size bytes"
echo
echo "| step | wall s | CPU s | GB/s by wall | GB/s of two cores by CPU | peak MiB |"
echo "|---|---|---|---|---|---|"
measure "rm -rf $repo $work/cache; $ballast -q -r $repo init" "$ballast" -q -r "$repo" snapshot "$work/models"
row "snapshot, alone"
if [ -z "${NO_RESTIC:-}" ] && command -v restic >/dev/null; then
    measure "rm -rf $work/restic; restic -q -r $work/restic init" restic -q -r "$work/restic" backup "$work/models"
    row "snapshot by $(restic version | cut -d' ' -f1-2)"
    rm -rf "$work/restic"
fi
for week in 0 1 2 3 4; do
    [ -f "$weeks/week$week.safetensors" ] || break
    if [ "$week" -gt 0 ]; then
        "$make" --tile "$copies" "$weeks/week$week.safetensors" "$model"
        stash
        measure again "$ballast" -q -r "$repo" snapshot "$work/models"
        row "snapshot, week $week"
    fi
    case $week in 2) continue;; esac
    measure "rm -rf $work/back" "$ballast" -q -r "$repo" restore latest -t "$work/back"
    cmp "$model" "$work/back$model"
    row "restore, week $week"
    rm -rf "$work/back"
done
