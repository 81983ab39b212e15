#!/usr/bin/env python3
"""Ballast and what a user would pick instead, through the same steps, in turn, in one run.

    benches/peers/peers.py --ballast target/release/ballast --workload target/release/workload [--quick]

Each engine keeps the same files on the same machine; what it gives back is compared byte for byte. Of every
step: wall and processor seconds of the whole process, the same beyond what opening the store takes (a look into
it, measured beside), peak memory, and the bytes by which the store grew. Medians over --runs, engines in turn.
Writes peers-*.json, peers-*.md and peers-*.svg into --out, and the tables into --page, between the marks that name them
(`<!-- peers: model --> … <!-- end -->`, with --mark in front of the name). Engines that are not there are left out with a word.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import draw
import engines
import memory

KINDS = (engines.Ballast, engines.Restic, engines.Rustic, engines.Borg, engines.Bupstash, engines.Copy, engines.Rsync)


def same(a, b):
    """Are these trees the same, name by name and byte by byte?"""
    names = lambda top: sorted(str(p.relative_to(top)) for p in top.rglob("*"))
    if names(a) != names(b):
        return False
    return all(alike(p, b / p.relative_to(a)) for p in a.rglob("*") if p.is_file())


def alike(a, b):
    """Ballast restores a database in WAL mode as one that needs no log: two bytes of its header say so."""
    if a.stat().st_size != b.stat().st_size:
        return False
    begin = True
    # Block by block: a child's peak of memory counts from what this process has.
    with open(a, "rb") as one, open(b, "rb") as two:
        while True:
            here, there = bytearray(one.read(1 << 20)), two.read(1 << 20)
            if begin and there.startswith(b"SQLite format 3\0"):
                here[18:20] = there[18:20]
            if here != there:
                return False
            if not here:
                return True
            begin = False


def settle():
    """What was written a moment before a snapshot is suspect to some, and read again by the next one."""
    time.sleep(3)


def fresh(source, folder):
    """The same content in other files, of another time."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    settle()


class Model:
    """A large bf16 model, its fine-tune with 30 % of its tensors frozen, its re-shard."""

    name, title = "model", "a bf16 model in one file"

    def __init__(self, options, work):
        size = (256 << 20) if options.quick else (options.model_mib << 20)
        self.states = {}
        for state in ("first", "tuned", "sharded"):
            self.states[state] = work / f"source-{state}"
            self.states[state].mkdir()
        make = lambda *words: subprocess.run([options.workload, *map(str, words)], check=True)
        first, tuned = (self.states[s] / "model.safetensors" for s in ("first", "tuned"))
        make("model", first, size, 1)
        make("tuned", tuned, first, 2)
        make("sharded", self.states["sharded"], tuned)
        self.bytes = first.stat().st_size

    def steps(self, engine, folder, step):
        fresh(self.states["first"], folder)
        step("first snapshot", lambda: engine.keep(folder))
        step("restore", lambda: engine.back(folder, step.target), back=True)
        step("nothing changed", lambda: engine.keep(folder))
        fresh(self.states["first"], folder)
        step("replaced by an identical file", lambda: engine.keep(folder))
        fresh(self.states["tuned"], folder)
        step("a week of fine-tuning, 30 % frozen", lambda: engine.keep(folder))
        step("restore of that week", lambda: engine.back(folder, step.target), back=True)
        fresh(self.states["sharded"], folder)
        step("the same in two shards, reversed", lambda: engine.keep(folder))
        if engine.checks:
            step("check, all data read", engine.check)


class SmallFiles:
    """Source text of this machine, in as many copies as it takes."""

    def __init__(self, options, work, count):
        self.name, self.title = f"files-{count}", f"{count:,} small files"
        self.source = work / "source-files"
        found = []
        cargo = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
        for top in (f"{cargo}/registry/src", "/usr/lib/python3", "/usr/include", "/usr/share/perl", "/usr/share/doc"):
            for file in pathlib.Path(top).rglob("*"):
                if file.is_file() and not file.is_symlink() and 0 < file.stat().st_size < 400 << 10:
                    found.append(file)
                    if len(found) == count:
                        break
            if len(found) == count:
                break
        self.bytes = 0
        for number in range(count):
            file = found[number % len(found)]
            to = self.source / str(number // len(found)) / str(file).lstrip("/")
            to.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_bytes()
            # A further copy of a file is another file.
            extra = b"" if number < len(found) else f"\n# {number}\n".encode()
            to.write_bytes(content + extra)
            self.bytes += len(content) + len(extra)

    def steps(self, engine, folder, step):
        if not folder.exists():
            shutil.copytree(self.source, folder)
            settle()
        step("first snapshot", lambda: engine.keep(folder))
        step("nothing changed", lambda: engine.keep(folder))
        step("restore", lambda: engine.back(folder, step.target), back=True)


class Database:
    """A chat database, day by day: a directory of day0.db, day1.db, …"""

    name, title = "database", "a week of a chat database"

    def __init__(self, options, work):
        self.days = sorted(pathlib.Path(options.databases).glob("day?.db"))
        self.bytes = self.days[0].stat().st_size

    def steps(self, engine, folder, step):
        for number, day in enumerate(self.days):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            shutil.copyfile(day, folder / "webui.db")
            settle()
            step("first snapshot" if number == 0 else f"day {number}", lambda: engine.keep(folder))
        step("restore", lambda: engine.back(folder, step.target), back=True)


class Steps:
    """Runs and notes the steps of one engine in one run."""

    def __init__(self, engine, folder, target, noted, options, gib):
        self.engine, self.folder, self.target, self.noted, self.gib = engine, folder, target, noted, gib
        self.flushed = options.flushed

    def __call__(self, what, work, back=False):
        before = self.engine.bytes()
        if self.flushed:
            # What an earlier step left to be written is not this one's; what it kept is in memory, whoever kept it.
            os.sync()
            self.engine.warm()
        memory.touch(self.gib)
        cost = work()
        if cost is None:
            return
        if back and self.flushed:
            begin = time.monotonic()
            subprocess.run(["sync", "-f", str(self.target)], check=True)
            self.note(f"{what}, on the disk", cost, cost.wall + time.monotonic() - begin, 0)
        if back:
            if not same(self.folder, self.engine.root(self.target, self.folder)):
                sys.exit(f"{self.engine.name}: {what}: what came back is not what was kept")
            shutil.rmtree(self.target)
        self.note(what, cost, cost.wall, self.engine.bytes() - before)

    def note(self, what, cost, wall, grown):
        row = self.noted.setdefault(what, {}).setdefault(self.engine.name, [])
        row.append({"wall": wall, "cpu": cost.cpu, "peak": cost.peak_mib, "grown": grown})


def measure(workload, found, options, work):
    noted, opening = {}, {}
    gib = min(options.touch, 1.5 * workload.bytes / 2**30)
    for run in range(options.runs):
        for engine in found:
            print(f"{workload.title}: run {run + 1}: {engine.name}", file=sys.stderr)
            engine.clear()
            engine.begin()
            workload.steps(engine, work / "kept", Steps(engine, work / "kept", work / "back", noted, options, gib))
            looked = [cost for cost in (engine.look() for _ in range(3)) if cost]
            opening.setdefault(engine.name, []).extend({"wall": c.wall, "cpu": c.cpu} for c in looked)
            engine.clear()
        shutil.rmtree(work / "kept", ignore_errors=True)
    middle = lambda rows, key: statistics.median(row[key] for row in rows) if rows else 0.0
    opened = {name: {key: middle(rows, key) for key in ("wall", "cpu")} for name, rows in opening.items()}
    steps = []
    for what, rows in noted.items():
        cells = {}
        for name, runs in rows.items():
            cell = {key: middle(runs, key) for key in ("wall", "cpu", "peak", "grown")}
            cell["beyond"] = max(0.0, cell["wall"] - opened[name]["wall"])
            cell["peak"] = max(row["peak"] for row in runs)
            cells[name] = cell
        steps.append({"step": what, "engines": cells})
    return {"name": workload.name, "title": workload.title, "bytes": workload.bytes, "opening": opened, "steps": steps}


def table(result):
    names = list(result["opening"])
    lines = [f"### {result['title'][0].upper()}{result['title'][1:]}: {result['bytes'] / 1e6:,.0f} MB", "",
             "Seconds beyond opening the store; in brackets processor seconds and peak MiB; then the bytes added as a share of the files.", "",
             "| | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for step in result["steps"]:
        cells = []
        for name in names:
            cell = step["engines"].get(name)
            if not cell:
                cells.append("–")
                continue
            grown = f" · {cell['grown'] / result['bytes']:.4g}" if cell["grown"] > 0 else ""
            cells.append(f"{cell['beyond']:.2f} ({cell['cpu']:.2f} · {cell['peak']:.0f}){grown}")
        lines.append(f"| {step['step']} | " + " | ".join(cells) + " |")
    lines.append("| opening the store | " + " | ".join(f"{result['opening'][n]['wall']:.2f}" for n in names) + " |")
    return "\n".join(lines) + "\n"


def into_page(page, mark, result):
    """The table of a result between its marks; a page without them stays as it is."""
    text = page.read_text()
    begin = text.find(f"<!-- peers: {mark}{result['name']} -->\n")
    if begin < 0:
        print(f"{page} has no marks for {mark}{result['name']}: the table is only in --out", file=sys.stderr)
        return
    begin = text.index("\n", begin) + 1
    end = text.index("<!-- end -->", begin)
    lines = table(result).splitlines()
    page.write_text(text[:begin] + "\n" + "\n".join(line for line in lines if line.startswith("|")) + "\n\n" + text[end:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", required=True, metavar="FILE", help="the program `workload` of the benches")
    parser.add_argument("--databases", metavar="DIR", help="day0.db, day1.db, … of a chat database")
    parser.add_argument("--quick", action="store_true", help="small workloads, one run: under five minutes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model-mib", type=int, default=2048)
    parser.add_argument("--only", choices=["model", "files", "database"])
    parser.add_argument("--touch", type=float, metavar="GIB", help="memory to ask for and give back before each step, at most; default: 4, 0 with --quick")
    parser.add_argument("--flushed", action="store_true", help="on a disk, all of it flushed and the repository read once before each step: how long a restore takes until it is on the disk, too")
    parser.add_argument("--out", default="docs/plots")
    parser.add_argument("--page", metavar="FILE", type=pathlib.Path, help="a page that shows the tables")
    parser.add_argument("--mark", default="", help="what stands before the workload's name in the page's marks")
    parser.add_argument("--files", type=int, action="append", help="how many small files; default: 20000 and 200000")
    parser.add_argument("--work", metavar="DIR", help="where to work: a tmpfs with 14 GiB free, or a disk")
    engines.add_options(parser)
    options = parser.parse_args()
    if options.quick:
        options.runs = 1
    if options.touch is None:
        options.touch = 0 if options.quick else 4
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    results = []
    makers = [("model", lambda work: Model(options, work))]
    for count in [2000] if options.quick else options.files or [20_000, 200_000]:
        makers.append(("files", lambda work, count=count: SmallFiles(options, work, count)))
    if options.databases:
        makers.append(("database", lambda work: Database(options, work)))
    for kind, make in makers:
        if options.only not in (None, kind):
            continue
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            work = pathlib.Path(work)
            found = engines.find(KINDS, options, work)
            results.append(measure(make(work), found, options, work))
        write(results, out, options)


def write(results, out, options):
    """After each workload: what is there is not lost with what comes."""
    (out / f"peers-{options.mark}{options.only or 'all'}.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / f"peers-{options.mark}{options.only or 'all'}.md").write_text("\n".join(table(result) for result in results))
    for result in results:
        (out / f"peers-{options.mark}{result['name']}.svg").write_text(draw.peers(result))
        if options.page:
            into_page(options.page, options.mark, result)


if __name__ == "__main__":
    main()
