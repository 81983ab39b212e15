#!/usr/bin/env bash
# Everything that docs/performance.md says of Ballast beside others, made anew:
#
#   benches/peers/run.sh DIRECTORY [--quick]
#
# Gets the others into DIRECTORY (install.sh), builds, makes the workloads, takes every engine through the same steps in
# turn, compares what comes back byte for byte, and writes tables and plots into docs/. In memory, where there is a
# tmpfs with 14 GiB free, then in DIRECTORY. Some four hours for all; --quick: under five minutes beside building, and
# the page stays as it is.
set -euo pipefail
cd "$(dirname "$0")/../.."
to=$(realpath -m "${1:?the directory to work in}")
quick=${2:-}
benches/peers/install.sh "$to"
cargo build --release --locked -p ballast-cli
cargo build --release --locked -p ballast-benches --bin workload --bin limits
peers() {
    python3 benches/peers/peers.py --ballast target/release/ballast --workload target/release/workload \
        --rustic "$to/bin/rustic" --bupstash "$to/bin/bupstash" "$@"
}
memory=/dev/shm
[ -d "$memory" ] && [ "$(df --output=avail -k "$memory" | tail -1)" -gt $((14 << 20)) ] || memory=$to
if [ "$quick" = --quick ]; then
    peers --quick --work "$memory" --out "$to/quick"
    cat "$to/quick/peers-all.md"
    exit
fi
databases=()
if [ -f ../shared/tools/chatdb.py ]; then
    python3 ../shared/tools/chatdb.py --chats 16000 --days 6 "$to/days"
    rm -f "$to/days/live.db"
    databases=(--databases "$to/days")
fi
for kind in model files; do peers --work "$memory" --page docs/performance.md --only $kind; done
[ ${#databases[@]} = 0 ] || peers --work "$memory" --page docs/performance.md --only database --runs 1 "${databases[@]}"
mkdir -p "$to/disk"
peers --work "$to/disk" --page docs/performance.md --mark disk- --flushed --only model --runs 1
benches/peers/distance.py --ballast target/release/ballast --workload target/release/workload --limits target/release/limits --work "$memory"
