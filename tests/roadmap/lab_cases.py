"""What tests of the labs share: a learner's folder, the command in it, right and wrong parts."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lmwright import cli
from lmwright.roadmap.record import Record

ATTENTION = (Path(__file__).parent / "solutions" / "attention" / "second.py").read_text()
"""A right one, as a learner writes it."""

WITHOUT_SCALE = ATTENTION.replace("width**-0.5 if", "1.0 if")
assert WITHOUT_SCALE != ATTENTION


@dataclass
class Said:
    """What the command did.

    Args:
        code: its exit code.
        out, err: what it printed.
    """

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """The output without its line breaks."""
        return " ".join(self.out.split())


@dataclass
class Desk:
    """A learner's working folder and the command in it.

    Args:
        folder: where `mine` is.
        lab: runs `lmwright lab ...`.
    """

    folder: Path
    lab: Callable[..., Said]

    def write(self, text: str, name: str = "attention") -> Path:
        """A file of the learner's."""
        path = self.folder / "mine" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def attend(self, body: str) -> Path:
        """`attend` with this body, one level indented."""
        return self.write(f"import torch\n\n\ndef attend(q, k, v, rule):\n    {body}\n")

    @property
    def events(self) -> list[tuple[str, dict]]:
        """Kinds and fields of what was written down."""
        return [(event.kind, dict(event.fields)) for event in Record.open().events]


@pytest.fixture
def desk(tmp_path, monkeypatch, capsys) -> Desk:
    """An empty folder to work in, and an empty home."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LMWRIGHT_USE", raising=False)
    # Other tests, whose folders are called `mine` too, may have left theirs behind.
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not Path(p, "mine").is_dir()])
    for name in [n for n in sys.modules if n.partition(".")[0] == "mine"]:
        monkeypatch.delitem(sys.modules, name)

    def lab(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["lmwright", "lab", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        return Said(int(caught.value.code or 0), said.out, said.err)

    return Desk(work, lab)
