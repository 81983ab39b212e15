#!/usr/bin/env python3
"""How far a first snapshot and a restore of a model are from the sum of the stages that cannot be avoided.

    benches/peers/distance.py --ballast target/release/ballast --workload target/release/workload --limits target/release/limits

In turn, --rounds times: each stage alone (`limits`), then three snapshots into new repositories, three looks into them and three
restores, medians of each beyond opening the store. All with memory that is the machine's own (--own GIB; 0: whatever the host has
to find), since pages are what a virtual machine's host charges for as it likes, and the stages get warm ones. What is restored is
compared byte for byte.
"""

import argparse
import filecmp
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time

import memory

SUM = re.compile(r"\*\*sum\*\* \| \| \*\*([\d.]+)\*\* \| \*\*([\d.]+)\*\*")


def seconds(*words):
    begin = time.monotonic()
    subprocess.run(list(map(str, words)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - begin


def round_of(options, source, work):
    """Of a snapshot and of a restore: sum of the stages, seconds beyond opening."""
    stages = subprocess.run([options.limits, str(options.model_mib << 20), work], check=True, capture_output=True, text=True).stdout
    sums = [float(s) for s in SUM.search(stages).groups()]
    took = {"snapshot": [], "restore": [], "look": []}
    store, back = work / "store", work / "back"
    for _ in range(3):
        seconds(options.ballast, "init", "--repo", store)
        took["snapshot"].append(seconds(options.ballast, "snapshot", "--repo", store, source))
        took["look"].append(seconds(options.ballast, "snapshots", "--repo", store))
        took["restore"].append(seconds(options.ballast, "restore", "--repo", store, "latest", "--target", back))
        (came,) = back.rglob(source.name)
        if not filecmp.cmp(came, source, shallow=False):
            raise SystemExit("what came back is not what was kept")
        shutil.rmtree(back)
        shutil.rmtree(store)
    middle = {what: statistics.median(all) for what, all in took.items()}
    return stages, [(s, middle[what] - middle["look"]) for s, what in zip(sums, ("snapshot", "restore"))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for program in ("ballast", "workload", "limits"):
        parser.add_argument(f"--{program}", required=True, metavar="FILE", type=lambda p: str(pathlib.Path(p).resolve()))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--own", type=float, default=4, metavar="GIB", help="memory of the machine's own; as much again is held; default: 4")
    parser.add_argument("--model-mib", type=int, default=2048)
    parser.add_argument("--work", metavar="DIR", help="where to work: a tmpfs with room for three models")
    options = parser.parse_args()
    os.environ["BALLAST_PASSWORD"] = "benchmark"
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        work = pathlib.Path(work)
        source = work / "model.safetensors"
        subprocess.run([options.workload, "model", source, str(options.model_mib << 20), "1"], check=True)
        ratios = [], []
        with memory.Own(options.own):
            for number in range(options.rounds):
                stages, pairs = round_of(options, source, work)
                for (stage_sum, took), of in zip(pairs, ratios):
                    of.append(took / stage_sum)
                words = (f"{what} {took:.2f} s, stages {s:.2f}: {took / s:.2f}" for what, (s, took) in zip(("snapshot", "restore"), pairs))
                print(f"round {number + 1}: " + "; ".join(words), flush=True)
    print(stages)
    snapshot, restore = map(statistics.median, ratios)
    print(f"medians: a snapshot takes {snapshot:.2f} times the sum of its stages, a restore {restore:.2f} times")


if __name__ == "__main__":
    main()
