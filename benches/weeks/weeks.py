#!/usr/bin/env python3
"""Weekly checkpoints kept by Ballast and by what people use instead, side by side, from one run.

    benches/weeks/weeks.py WEEKS --ballast target/release/ballast [--out docs/plots] [--work DIR]

WEEKS holds week0.safetensors, week1.safetensors, … (bf16) and f32-week0.safetensors, … Each series goes week by
week into the place of the week before, and after each week every engine takes its snapshot. What is counted is
the length of all files of its repository; the last week of each is restored and compared byte for byte.

Engines that are not there are left out with a word: restic, borg, rustic, zstd on PATH (or --restic FILE, …);
ZipNN, and the series in other formats, need a Python with `zipnn`, `torch`, `gguf`, `numpy`: --python FILE.
Writes weeks.json, weeks.md and an SVG for each series into --out.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(__file__))
import draw

PASSWORD = "bench"


class Engine:
    """Keeps a directory of checkpoints; says how many bytes it takes by now."""

    def __init__(self, name, command, work):
        self.name, self.command = name, command
        self.repo = work / re.sub(r"\W", "-", name)
        self.env = os.environ | {
            "BALLAST_PASSWORD": PASSWORD, "RESTIC_PASSWORD": PASSWORD, "BORG_PASSPHRASE": PASSWORD,
            "RUSTIC_PASSWORD": PASSWORD, "XDG_CACHE_HOME": str(work / "cache"), "BORG_BASE_DIR": str(work / "cache"),
            "RUSTIC_NO_CACHE": "true",
        }

    def run(self, *args, cwd=None):
        done = subprocess.run([self.command, *map(str, args)], env=self.env, cwd=cwd, capture_output=True)
        if done.returncode:
            sys.exit(f"{self.name}: {' '.join(map(str, args))}: {done.stderr.decode()[-600:]}")

    def bytes(self):
        return sum(f.stat().st_size for f in self.repo.rglob("*") if f.is_file())


class Ballast(Engine):
    def begin(self):
        self.run("-q", "-r", self.repo, "init")

    def keep(self, folder, _week):
        self.run("-q", "-r", self.repo, "snapshot", folder)

    def back(self, folder, _week, target):
        self.run("-q", "-r", self.repo, "restore", "latest", "-t", target)
        return target / str(folder).lstrip("/")


class Restic(Ballast):
    def begin(self):
        self.run("-q", "-r", self.repo, "init")

    def keep(self, folder, _week):
        self.run("-q", "-r", self.repo, "backup", folder)


class Rustic(Ballast):
    def begin(self):
        self.run("-r", self.repo, "init")

    def keep(self, folder, _week):
        self.run("-r", self.repo, "backup", folder)

    def back(self, folder, _week, target):
        self.run("-r", self.repo, "restore", "latest", target)
        return target / str(folder).lstrip("/")


class Borg(Engine):
    def begin(self):
        self.run("init", "-e", "repokey-blake2", self.repo)

    def keep(self, folder, week):
        self.run("create", "--compression", "zstd,3", f"{self.repo}::week{week}", folder)

    def back(self, folder, week, target):
        target.mkdir()
        self.run("extract", f"{self.repo}::week{week}", cwd=target)
        return target / str(folder).lstrip("/")


class Files(Engine):
    """A compressor: each week a folder of compressed files, neither encrypted nor checked."""

    def begin(self):
        self.repo.mkdir()

    def keep(self, folder, week):
        (self.repo / str(week)).mkdir()
        for file in sorted(folder.iterdir()):
            self.pack(file, self.repo / str(week) / file.name)

    def back(self, _folder, week, target):
        target.mkdir()
        for file in (self.repo / str(week)).iterdir():
            self.unpack(file, target / file.name)
        return target


class Zstd(Files):
    def pack(self, file, to):
        self.run("-q", "-3", file, "-o", to)

    def unpack(self, file, to):
        self.run("-q", "-d", file, "-o", to)


class ZipNN(Files):
    """The library through its Python interface, told the type of the numbers."""

    dtype = "bfloat16"

    def call(self, what, file, to):
        code = ("import sys, zipnn\n"
                f"z = zipnn.ZipNN(input_format='byte', bytearray_dtype={self.dtype!r}, threads=1)\n"
                "data = open(sys.argv[1], 'rb').read()\n"
                f"open(sys.argv[2], 'wb').write(bytes(z.{what}(bytearray(data))))\n")
        self.run("-W", "ignore", "-c", code, file, to)

    def pack(self, file, to):
        self.call("compress", file, to)

    def unpack(self, file, to):
        self.call("decompress", file, to)


def version(command, *args):
    said = subprocess.run([command, *args], capture_output=True, text=True)
    found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return found.group(0) if found else "?"


def engines(options, work, dtype):
    found = []
    for kind, word in [(Ballast, "ballast"), (Restic, "restic"), (Rustic, "rustic"), (Borg, "borg"), (Zstd, "zstd")]:
        command = getattr(options, word) or shutil.which(word)
        if not command:
            print(f"{word} is not there: left out", file=sys.stderr)
            continue
        name = f"{word} {version(command, 'version' if word in ('ballast', 'restic') else '--version')}"
        found.append(kind(name + (" -3" if word == "zstd" else ""), command, work))
    if options.python:
        try:
            said = subprocess.run([options.python, "-W", "ignore", "-c", "import importlib.metadata as m; import zipnn; "
                                   "print(m.version('zipnn'))"], capture_output=True, text=True, check=True)
            engine = ZipNN(f"ZipNN {said.stdout.strip()}", options.python, work)
            engine.dtype = dtype
            found.append(engine)
        except subprocess.CalledProcessError:
            print("zipnn is not there: left out", file=sys.stderr)
    return found


def series(options, work):
    """Name, title, type for ZipNN, name of the file, and the weeks."""
    weeks = pathlib.Path(options.weeks)
    bf16 = sorted(weeks.glob("week*.safetensors"))
    f32 = sorted(weeks.glob("f32-week*.safetensors"))
    if len(bf16) > 1:
        yield "bf16", "a bf16 fine-tune, safetensors", "bfloat16", "model.safetensors", bf16
    if len(f32) > 1:
        yield "f32", "an f32 fine-tune, safetensors", "float32", "model.safetensors", f32
    if options.python and len(bf16) > 1:
        convert = pathlib.Path(__file__).with_name("convert.py")
        for form, name, title in [("bin", "pytorch_model.bin", "the bf16 fine-tune, torch .bin"),
                                  ("q8_0", "model.gguf", "the bf16 fine-tune, GGUF Q8_0")]:
            made = [work / f"{form}-{week.stem}" for week in bf16]
            for week, to in zip(bf16, made):
                done = subprocess.run([options.python, "-W", "ignore", convert, form, week, to], capture_output=True)
                if done.returncode:
                    print(f"{form}: left out: {done.stderr.decode().splitlines()[-1]}", file=sys.stderr)
                    made = []
                    break
            if made:
                yield form, title, "bfloat16", name, made


def measure(options, name, title, dtype, file, weeks, work):
    print(f"{title}: {len(weeks)} weeks of {weeks[0].stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    rows = []
    for engine in engines(options, work, dtype):
        folder = work / "models"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        engine.begin()
        before, stored = engine.bytes(), []
        for number, week in enumerate(weeks):
            shutil.copyfile(week, folder / file)
            engine.keep(folder, number)
            stored.append(engine.bytes() - before)
            before += stored[-1]
        target = work / "back"
        came = engine.back(folder, len(weeks) - 1, target)
        if (came / file).read_bytes() != weeks[-1].read_bytes():
            sys.exit(f"{engine.name} did not give back what it was given")
        for path in (target, engine.repo, work / "cache"):
            shutil.rmtree(path, ignore_errors=True)
        rows.append({"engine": engine.name, "bytes": stored})
        print(f"  {engine.name:18}", *(f"{s / 1e6:8.2f}" for s in stored), file=sys.stderr)
    return {"name": name, "title": title, "weeks": [w.stat().st_size for w in weeks], "rows": rows}


def table(result):
    weeks = range(1, len(result["weeks"]))
    lines = [f"### {result['title'][0].upper()}{result['title'][1:]}", "",
             "| | first | " + " | ".join(f"week {w}" for w in weeks) + " | a week, mean | all |",
             "|---" * (4 + len(weeks)) + "|"]
    for row in result["rows"]:
        stored = row["bytes"]
        shares = [s / w for s, w in zip(stored, result["weeks"])]
        lines.append(f"| {row['engine']} | " + " | ".join(f"{s:.3f}" for s in shares)
                     + f" | {sum(shares[1:]) / len(weeks):.3f} | {sum(stored) / 1e6:.1f} MB |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weeks")
    parser.add_argument("--out", default="docs/plots")
    parser.add_argument("--work", default=None)
    for word in ("ballast", "restic", "rustic", "borg", "zstd", "python"):
        parser.add_argument(f"--{word}")
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    results = []
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        work = pathlib.Path(work)
        for one in series(options, work):
            results.append(measure(options, *one, work))
    (out / "weeks.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "weeks.md").write_text("\n".join(table(result) for result in results))
    for result in results:
        (out / f"weeks-{result['name']}.svg").write_text(draw.weeks(result))


main()
