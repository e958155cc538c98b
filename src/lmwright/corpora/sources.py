"""From what a person names (file, folder, pattern) to streams of text, one per file.

Compressed files are read as what they hold; every member of a zip archive is a file of its own.
"""

import bz2
import codecs
import functools
import glob
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lmwright.core.errors import LmwrightError

_COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_BLOCK = 1 << 16
# Longer marks first: UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNREADABLE = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b\x0b\x1a"))
Note = Callable[[str], None]


@dataclass(frozen=True)
class SourceFile:
    """One file to read, perhaps compressed, perhaps inside an archive.

    Args:
        path: the file on disk.
        member: its name inside the zip archive `path`; None if it is no member.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member else str(self.path)

    @property
    def suffix(self) -> str:
        """The format's suffix in lower case: `.jsonl` of `a.JSONL.gz`."""
        name = PurePosixPath(self.member or self.path.name)
        if self.member is None and name.suffix.lower() in _COMPRESSED:
            name = PurePosixPath(name.stem)
        return name.suffix.lower()

    @contextmanager
    def bytes(self) -> Iterator[IO[bytes]]:
        """The decompressed content as a stream.

        Raises:
            LmwrightError: if the file cannot be opened, or its compression is broken anywhere.
        """
        try:
            if self.member is not None:
                archive = _archive(self.path, self.path.stat().st_mtime_ns)
                with archive.open(self.member) as stream:
                    yield stream
            else:
                opened = _COMPRESSED.get(self.path.suffix.lower(), open)
                with opened(self.path, "rb") as stream:
                    yield stream
        except _UNREADABLE as error:
            raise LmwrightError(
                f"{self} is corrupt or cut short: {error}",
                hint="fetch or compress it again, or take it out of the corpus",
            ) from error
        except (OSError, RuntimeError, NotImplementedError) as error:  # the last two: encrypted
            raise LmwrightError(f"{self} cannot be read: {error}") from error


@functools.lru_cache(maxsize=1)
def _archive(path: Path, modified_ns: int) -> zipfile.ZipFile:
    """The archive, its list of members read once and not for each of thousands."""
    return zipfile.ZipFile(path)


def find_files(path: str, note: Note | None) -> list[SourceFile]:
    """The files that `path` names, in a fixed order.

    Args:
        path: a file, a folder (searched through), or a pattern with `*`, `?`, `[...]`, `**`.
        note: told what is left out: hidden files and folders; None to say nothing.

    Raises:
        LmwrightError: if there is no such file, or the folder has none.
    """
    given = Path(path).expanduser()
    if given.is_dir():
        files = _inside(given, note)
    elif given.exists():
        files = [given]
    elif glob.has_magic(path):
        matches = sorted(Path(match) for match in glob.glob(str(given), recursive=True))
        files = [match for match in matches if match.is_file()]
    else:
        raise LmwrightError(
            f"{path} does not exist",
            hint="path takes python-docs, a file, a folder or a pattern such as 'data/*.txt'",
        )
    if not files:
        raise LmwrightError(
            f"{path} holds no files", hint="give a folder or pattern with at least one file"
        )
    return [source for file in files for source in _members(file)]


def _inside(folder: Path, note: Note | None) -> list[Path]:
    found, hidden = [], 0
    for root, folders, files in os.walk(folder):
        visible = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
        shown = [f for f in files if not f.startswith(".")]
        hidden += len(folders) - len(visible) + len(files) - len(shown)
        folders[:] = visible
        found += [Path(root, file) for file in shown]
    if hidden and note:
        note(f"left out hidden files and folders in {folder}: {hidden}")
    return sorted(found)


def _members(file: Path) -> list[SourceFile]:
    if file.suffix.lower() != ".zip":
        return [SourceFile(file)]
    try:
        with zipfile.ZipFile(file) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise LmwrightError(f"{file} is not a readable zip archive: {error}") from error
    # macOS puts a shadow of every file beside it.
    return [SourceFile(file, n) for n in sorted(names) if not n.startswith("__MACOSX/")]


def encoding_of(file: SourceFile, *, whole: bool = True) -> str:
    """The encoding of a text file, from its mark or by reading it.

    Args:
        file: what to look at.
        whole: read all of it; else its beginning decides.

    Returns:
        "utf-8", "utf-8-sig", "utf-16", "utf-32", or "latin-1" where it is none of these.

    Raises:
        LmwrightError: if the file is no text.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    encoding: str | None = None
    with file.bytes() as stream:
        first = True
        while block := stream.read(_BLOCK):
            if first and (encoding := _mark(block)):
                if encoding == "utf-8-sig":
                    block = block.removeprefix(codecs.BOM_UTF8)
                else:
                    return encoding
            first = False
            _refuse_binary(file, block)
            encoding = _still_utf8(decoder, block, encoding)
            if not whole:
                return encoding or "utf-8"
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1"
    return encoding or "utf-8"


def _still_utf8(
    decoder: codecs.IncrementalDecoder, block: bytes, encoding: str | None
) -> str | None:
    if encoding == "latin-1":
        return encoding
    try:
        decoder.decode(block)
    except UnicodeDecodeError:
        decoder.reset()
        return "latin-1"
    return encoding


def _mark(block: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if block.startswith(mark)), None)


def _refuse_binary(file: SourceFile, block: bytes) -> None:
    """A zero byte, or many control characters, and it is no text in any encoding without a mark."""
    controls = len(block) - len(block.translate(None, _CONTROLS))
    if b"\0" in block or controls > len(block) // 50:
        raise LmwrightError(
            f"{file} is binary, not text",
            hint="take it out of the corpus, or name the text files alone, such as 'folder/*.txt'",
        )


@contextmanager
def open_text(file: SourceFile, note: Note | None) -> Iterator[io.TextIOWrapper]:
    """A text file's content, decoded; line ends become `\\n`.

    Args:
        file: what to read.
        note: told when the file is not Unicode and is read as Latin-1; None for a first look, which
            judges the encoding by the file's beginning and says nothing.

    Raises:
        LmwrightError: if the file is binary, or breaks off.
    """
    encoding = encoding_of(file, whole=note is not None)
    if encoding == "latin-1" and note:
        note(f"{file} is not UTF-8; read as Latin-1")
    errors = "strict" if note else "replace"
    with (
        file.bytes() as stream,
        io.TextIOWrapper(stream, encoding=encoding, errors=errors) as text,
    ):
        try:
            yield text
        except UnicodeDecodeError as error:
            raise LmwrightError(
                f"{file} is not {encoding}, as its first bytes say: {error}"
            ) from error
