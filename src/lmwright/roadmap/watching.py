"""Checking a file again at every save, in a process that has everything imported."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lmwright.roadmap.attempts import fresh_seed
from lmwright.roadmap.hosting import LearnerFile, prepare
from lmwright.roadmap.lab import Lab

POLL_SECONDS = 0.1
"""Between two looks at the file: a tenth of a second is not felt, and costs nothing."""

Wait = Callable[[float], None]


def watch(
    lab: Lab,
    path: Path,
    judge: Callable[[LearnerFile, int], bool],
    *,
    seed: int | None = None,
    wait: Wait = time.sleep,
) -> None:
    """Judge the file as it is, and again after each save, until interrupted.

    Until a file passes the seed stays, so that the same case is shown while one works on it.

    Args:
        lab: which.
        path: of the learner's file.
        judge: checks a file with a seed, tells the verdict, and returns whether it passed.
        seed: of the random cases; None: a fresh one at the start and after each pass.
        wait: for so many seconds.
    """
    prepare(lab)
    now = fresh_seed() if seed is None else seed
    for file in saves(path, wait=wait):
        if judge(file, now) and seed is None:
            now = fresh_seed()


def saves(path: Path, *, wait: Wait = time.sleep) -> Iterator[LearnerFile]:
    """The file as it is, then again at each change of its content, for ever.

    An editor may write it in place, or rename another over it; while it is missing nothing comes.

    Args:
        path: of the file.
        wait: for so many seconds.
    """
    stamp: tuple[int, int, int] | None = None
    source: bytes | None = None
    while True:
        try:
            found = path.stat()
            now = (found.st_mtime_ns, found.st_size, found.st_ino)
            read = path.read_bytes() if now != stamp else source
            stamp = now
        except OSError:  # between an editor's two steps there may be no file
            read = source
        if read is not None and read != source:
            source = read
            yield LearnerFile(path, read)
        wait(POLL_SECONDS)
