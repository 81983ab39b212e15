#!/usr/bin/env python3
"""Weekly checkpoints kept by Ballast and by what people use instead, side by side, from one run.

    benches/peers/weeks.py WEEKS --ballast target/release/ballast [--out docs/plots] [--work DIR]

WEEKS holds week0.safetensors, week1.safetensors, … (bf16) and f32-week0.safetensors, … Each series goes week by
week into the place of the week before, and after each week every engine takes its snapshot. What is counted is
the length of all files of its repository; the last week of each is restored and compared byte for byte.

Engines that are not there are left out with a word (`benches/peers/install.sh` gets them); ZipNN, and the series in other formats, need a Python with `zipnn`, `torch`, `gguf`, `numpy`: --python FILE.
Writes weeks.json, weeks.md and an SVG for each series into --out.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import draw
import engines

KINDS = (engines.Ballast, engines.Restic, engines.Rustic, engines.Borg, engines.Bupstash, engines.Zstd, engines.ZipNN)


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
    for engine in engines.find(KINDS, options, work):
        engine.dtype = dtype
        folder = work / "models"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        engine.begin()
        before, stored = engine.bytes(), []
        for week in weeks:
            shutil.copyfile(week, folder / file)
            engine.keep(folder)
            stored.append(engine.bytes() - before)
            before += stored[-1]
        target = work / "back"
        engine.back(folder, target)
        if (engine.root(target, folder) / file).read_bytes() != weeks[-1].read_bytes():
            sys.exit(f"{engine.name} did not give back what it was given")
        shutil.rmtree(target)
        engine.clear()
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
    engines.add_options(parser)
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


if __name__ == "__main__":
    main()
