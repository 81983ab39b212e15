"""What keeps files, each behind the same few words, each run as a whole process and measured.

`begin` makes the store, `keep` takes what is in a folder, `back` brings the last one back, `look` opens the store
and does next to nothing: so what opening it costs (above all deriving its key) can be told from the work.
"""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

PASSWORD = "bench"


@dataclasses.dataclass
class Cost:
    """Of one process and all it waited for."""

    wall: float
    cpu: float
    peak_mib: float


class Engine:
    encrypts = checks = True
    word = ""
    asks_version = "--version"

    def __init__(self, command, work):
        self.command, self.work = command, pathlib.Path(work)
        self.name = f"{self.word} {version(command, self.asks_version)}"
        self.repo = self.work / f"repo-{self.word}"
        cache = self.work / f"cache-{self.word}"
        self.env = os.environ | {
            "BALLAST_PASSWORD": PASSWORD, "RESTIC_PASSWORD": PASSWORD, "BORG_PASSPHRASE": PASSWORD,
            "RUSTIC_PASSWORD": PASSWORD, "XDG_CACHE_HOME": str(cache), "BORG_BASE_DIR": str(cache),
            "BUPSTASH_REPOSITORY": str(self.repo), "BUPSTASH_KEY": str(self.work / "bupstash.key"), "HOME": str(cache),
        }
        self.cache = cache

    def run(self, *args, cwd=None, allowed=(0,), command=None):
        """Runs the program; its cost. Anything but the exit codes allowed ends the bench."""
        self.cache.mkdir(exist_ok=True)
        said = self.work / "said"
        with open(said, "wb") as out:
            begun = time.monotonic()
            child = subprocess.Popen([str(command or self.command), *map(str, args)], env=self.env, cwd=cwd, stdout=out,
                                     stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            _, status, used = os.wait4(child.pid, 0)
            wall = time.monotonic() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in allowed:
            sys.exit(f"{self.name}: {' '.join(map(str, args))}: {said.read_bytes()[-800:].decode(errors='replace')}")
        return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)

    def warm(self):
        """Reads what is kept: it is in the page cache then."""
        for path in self.repo.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with path.open("rb", buffering=0) as file:
                    while file.read(4 << 20):
                        pass

    def bytes(self):
        """Length of all files of the store."""
        return sum(f.stat().st_size for f in self.repo.rglob("*") if f.is_file() and not f.is_symlink())

    def clear(self):
        for path in (self.repo, self.cache):
            shutil.rmtree(path, ignore_errors=True)

    def root(self, target, folder):
        """Where a folder lies in what came back."""
        return target / str(folder).lstrip("/")

    def look(self):
        return None

    def check(self):
        """Reads all data and says whether it is whole; `None` where there is no such thing."""
        return None


class Ballast(Engine):
    word, asks_version = "ballast", "version"

    def begin(self):
        self.run("-q", "-r", self.repo, "init")

    def keep(self, folder):
        return self.run("-q", "-r", self.repo, "snapshot", folder)

    def back(self, _folder, target):
        return self.run("-q", "-r", self.repo, "restore", "latest", "-t", target)

    def look(self):
        return self.run("-q", "-r", self.repo, "cat", "config")

    def check(self):
        return self.run("-q", "-r", self.repo, "check", "--read-data")


class Restic(Ballast):
    word = "restic"

    def keep(self, folder):
        return self.run("-q", "-r", self.repo, "backup", folder)

    def look(self):
        # Its lock is no part of deriving keys: it waits a fifth of a second for each it takes.
        return self.run("-q", "--no-lock", "-r", self.repo, "cat", "config")


class Rustic(Engine):
    word = "rustic"

    def begin(self):
        self.run("-r", self.repo, "init")

    def keep(self, folder):
        return self.run("-r", self.repo, "backup", folder)

    def back(self, _folder, target):
        return self.run("-r", self.repo, "restore", "latest", target)

    def look(self):
        return self.run("-r", self.repo, "cat", "config")

    def check(self):
        return self.run("-r", self.repo, "check", "--read-data")


class Borg(Engine):
    word = "borg"

    def begin(self):
        self.count = 0
        self.run("init", "-e", "repokey-blake2", self.repo)

    def keep(self, folder):
        self.count += 1
        return self.run("create", "--compression", "zstd,3", f"{self.repo}::{self.count}", folder)

    def back(self, _folder, target):
        target.mkdir()
        return self.run("extract", f"{self.repo}::{self.count}", cwd=target)

    def look(self):
        return self.run("list", self.repo)

    def check(self):
        return self.run("check", "--verify-data", self.repo)


class Bupstash(Engine):
    word = "bupstash"

    def begin(self):
        self.count = 0
        key = self.work / "bupstash.key"
        key.unlink(missing_ok=True)
        self.run("init", "-r", self.repo)
        self.run("new-key", "-o", key)

    def keep(self, folder):
        self.count += 1
        return self.run("put", "-q", f"count={self.count}", folder)

    def back(self, _folder, target):
        target.mkdir()
        return self.run("restore", "-q", "--into", target, f"count={self.count}")

    def root(self, target, _folder):
        return target

    def look(self):
        return self.run("list", "-q")


class Copy(Engine):
    """What people do by hand: a copy, and sums of both sides."""

    word, encrypts = "cp + sha256sum", False

    def __init__(self, command, work):
        super().__init__(command, work)
        self.name, self.repo = self.word, self.work / "repo-cp"

    def begin(self):
        pass

    def shell(self, script, *args):
        return self.run("-euc", script, "sh", *args, command="/bin/sh")

    def keep(self, folder):
        shutil.rmtree(self.repo, ignore_errors=True)
        sums = "(cd \"$1\" && find . -type f -exec sha256sum {} + | sort -k2)"
        return self.shell(f"cp -a \"$1\" \"$2\"; {sums} > \"$3.a\"; set -- \"$2\" \"$2\" \"$3\"; {sums} > \"$3.b\"; "
                          "cmp \"$3.a\" \"$3.b\"", folder, self.repo, self.work / "sums")

    def back(self, _folder, target):
        return self.shell("cp -a \"$1\" \"$2\"", self.repo, target)

    def root(self, target, _folder):
        return target


class Rsync(Copy):
    """A mirror: it has the last state only."""

    word = "rsync"

    def __init__(self, command, work):
        Engine.__init__(self, command, work)

    def keep(self, folder):
        return self.run("-a", "--delete", f"{folder}/", f"{self.repo}/")

    def clear(self):
        super().clear()


class Compressor(Engine):
    """Each file by itself, each time: no repository, nothing encrypted or checked."""

    encrypts = checks = False

    def begin(self):
        self.count = 0
        self.repo.mkdir()

    def keep(self, folder):
        self.count += 1
        to = self.repo / str(self.count)
        to.mkdir()
        for file in sorted(folder.iterdir()):
            self.pack(file, to / file.name)

    def back(self, _folder, target):
        target.mkdir()
        for file in (self.repo / str(self.count)).iterdir():
            self.unpack(file, target / file.name)

    def root(self, target, _folder):
        return target


class Zstd(Compressor):
    word = "zstd"

    def __init__(self, command, work):
        super().__init__(command, work)
        self.name += " -3"

    def pack(self, file, to):
        self.run("-q", "-3", file, "-o", to)

    def unpack(self, file, to):
        self.run("-q", "-d", file, "-o", to)


class ZipNN(Compressor):
    """The library through its Python interface, told the type of the numbers. `command` is a Python that has it."""

    word, dtype = "ZipNN", "bfloat16"

    def __init__(self, command, work):
        super().__init__(command, work)
        said = subprocess.run([command, "-W", "ignore", "-c", "import importlib.metadata as m, zipnn; print(m.version('zipnn'))"],
                              capture_output=True, text=True)
        if said.returncode:
            raise FileNotFoundError("zipnn")
        self.name = f"ZipNN {said.stdout.strip()}"

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
    return found.group(0) if found else ""


def add_options(parser):
    """Where programs are, if not on PATH."""
    for kind in (Ballast, Restic, Rustic, Borg, Bupstash, Zstd):
        parser.add_argument(f"--{kind.word}", metavar="FILE", help=f"{kind.word}, if it is not on PATH")
    parser.add_argument("--python", metavar="FILE", help="a Python that has zipnn, torch, gguf")
    parser.add_argument("--without", metavar="WORD,…", default="", help="engines to leave out: cp, borg, …")


def find(kinds, options, work):
    """Those of `kinds` that are there; the others are named."""
    found = []
    for kind in kinds:
        if kind.word.split(" ")[0] in options.without.split(","):
            continue
        if kind is Copy:
            command = "/bin/cp"
        elif kind is ZipNN:
            command = options.python
        else:
            command = getattr(options, kind.word, None) or shutil.which(kind.word)
        try:
            if not command:
                raise FileNotFoundError(kind.word)
            found.append(kind(os.path.abspath(command) if os.sep in command else command, work))
        except FileNotFoundError:
            print(f"{kind.word} is not there: left out", file=sys.stderr)
    return found
