"""Whose memory it is that a step takes: on a virtual machine, free memory belongs to the host.

What the host took away while it was free costs whoever asks for it first several microseconds a page; which engine that
is would be chance. Pages that were given back go to the host after two seconds, but only where 512 neighbours are free."""

import mmap
import subprocess
import sys


def touch(gib):
    """Takes memory and gives it back: for the next two seconds it is the machine's own."""
    if gib:
        subprocess.run([sys.executable, "-c", "import sys; b'1' * int(float(sys.argv[1]) * 2**30)", str(gib)], check=True)


class Own:
    """While it is open, some GiB of free memory are the machine's own: single pages, whose neighbours are held. Whoever
    asks for memory gets these first; once they are given back, the host still sees none of them as free."""

    def __init__(self, gib):
        self.pages = None
        if not gib:
            return
        self.pages = mmap.mmap(-1, int(2 * gib * 2**30), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.pages.madvise(mmap.MADV_NOHUGEPAGE)
        step = 2 * mmap.PAGESIZE
        for at in range(0, len(self.pages), mmap.PAGESIZE):
            self.pages[at] = 1
        for at in range(0, len(self.pages), step):
            self.pages.madvise(mmap.MADV_DONTNEED, at, mmap.PAGESIZE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pages:
            self.pages.close()
