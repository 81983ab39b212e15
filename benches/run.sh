#!/usr/bin/env bash
# Ballast beside restic on the same files in the same run: wall and CPU seconds, peak memory,
# bytes stored; every restore is compared byte for byte. Prints a Markdown table.
#
#   benches/run.sh [--quick] [DIRECTORY]     DIRECTORY: where to work; a tmpfs with 8 GiB free by default
#
# restic is optional; peers that are missing are left out. Absolute times are noise: compare
# within one run. RUNS=3 takes medians of three.
set -euo pipefail
cd "$(dirname "$0")/.."
size=$((2 << 30)); files=20000
if [ "${1:-}" = --quick ]; then size=$((256 << 20)); files=2000; shift; fi
work=${1:-/dev/shm}/ballast-bench.$$
runs=${RUNS:-3}
mkdir -p "$work"; trap 'rm -rf "$work"' EXIT
cargo build --release --quiet -p ballast-cli
cargo build --release --quiet -p ballast-benches --bin workload
ballast=$PWD/target/release/ballast; make=$PWD/target/release/workload
export BALLAST_PASSWORD=bench RESTIC_PASSWORD=bench XDG_CACHE_HOME=$work/cache

# Median of the runs of a step: "wall cpu rss_mib".
declare -A result
measure() { # NAME PREPARE COMMAND...
    local name=$1 prepare=$2; shift 2
    : >"$work/times"
    for _ in $(seq "$runs"); do
        eval "$prepare" >/dev/null
        /usr/bin/time -a -o "$work/times" -f '%e %U %S %M' "$@" >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
    done
    result[$name]=$(sort -n "$work/times" | awk '{w[NR]=$1; c[NR]=$2+$3; if ($4>m) m=$4}
        END {i=int((NR+1)/2); printf "%.2f · %.2f · %.0f", w[i], c[i], m/1024}')
}
stored() { du -sb --apparent-size "$1" | cut -f1; }
row() { # STEP INPUT_BYTES BALLAST_BYTES RESTIC_BYTES
    local b="${result[b:$1]:-–}" r="${result[r:$1]:-–}"
    local ratio=–; [ "$r" != – ] && ratio=$(awk -v b="${b%% *}" -v r="${r%% *}" 'BEGIN {printf "%.2f", r/b}')
    local bs=– rs=–
    [ "${3:-0}" -gt 0 ] && bs=$(awk -v s="$3" -v i="$2" 'BEGIN {printf "%.3f", s/i}')
    [ "${4:-0}" -gt 0 ] && rs=$(awk -v s="$4" -v i="$2" 'BEGIN {printf "%.3f", s/i}')
    echo "| $1 | $b | $bs | $r | $rs | $ratio |"
}
have_restic=$(command -v restic >/dev/null && echo yes || true)

steps() { # WORKLOAD SOURCE
    local w=$1 src=$2 in b=$work/b-$1 r=$work/r-$1 bs rs=0
    in=$(du -sb --apparent-size "$src" | cut -f1)
    measure "b:$w first" "rm -rf $b $work/cache; $ballast -q -r $b init" "$ballast" -q -r "$b" snapshot "$src"
    bs=$(stored "$b")
    measure "b:$w unchanged" : "$ballast" -q -r "$b" snapshot "$src"
    measure "b:$w read again" "find $src -type f -exec touch {} +" "$ballast" -q -r "$b" snapshot "$src"
    measure "b:$w restore" "rm -rf $work/out-b" "$ballast" -q -r "$b" restore latest -t "$work/out-b"
    diff -r --no-dereference "$src" "$work/out-b$src" || exit 1
    rm -rf "$work/out-b"
    if [ "$have_restic" ]; then
        measure "r:$w first" "rm -rf $r; restic -q -r $r init" restic -q -r "$r" backup "$src"
        rs=$(stored "$r")
        measure "r:$w unchanged" : restic -q -r "$r" backup "$src"
        measure "r:$w read again" "find $src -type f -exec touch {} +" restic -q -r "$r" backup "$src"
        measure "r:$w restore" "rm -rf $work/out-r" restic -q -r "$r" restore latest -t "$work/out-r"
        diff -r --no-dereference "$src" "$work/out-r$src" || exit 1
        rm -rf "$work/out-r"
    fi
    row "$w first" "$in" "$bs" "$rs"
    for step in unchanged "read again" restore; do row "$w $step" "$in" 0 0; done
    rm -rf "$b" "$r"
}

echo "$(nproc) cores, $runs runs, medians; $("$ballast" version | head -1); $([ "$have_restic" ] && restic version | cut -d' ' -f1-2 || echo 'no restic here')"
echo
echo "| step | Ballast: wall s · CPU s · peak MiB | stored | restic: wall s · CPU s · peak MiB | stored | restic / Ballast |"
echo "|---|---|---|---|---|---|"
mkdir "$work/model"; "$make" model "$work/model/model.safetensors" "$size" 1; steps model "$work/model"; rm -rf "$work/model"
mkdir "$work/noise"; "$make" noise "$work/noise/model.bin" "$size" 1; steps incompressible "$work/noise"; rm -rf "$work/noise"
# Source text of this machine: what cargo, Python and the system keep.
mkdir "$work/small"
find "${CARGO_HOME:-$HOME/.cargo}/registry/src" /usr/lib/python3* /usr/include /usr/share/perl -type f -size -400k \
    \( -name '*.rs' -o -name '*.py' -o -name '*.h' -o -name '*.c' -o -name '*.md' -o -name '*.toml' -o -name '*.p[lm]' \) \
    2>/dev/null | head -n "$files" >"$work/list" || true
tar -cf - -T "$work/list" 2>/dev/null | tar -xf - -C "$work/small"
steps small-files "$work/small"
echo
echo "small-files: $(wc -l <"$work/list") files, $(stored "$work/small") bytes."
