"""The learner's folder: what `lab start` writes into it and `lab reset` moves aside."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors, write_text
from lmwright.roadmap.lab import Lab
from lmwright.roadmap.stub import stub

_PACKAGE = '''"""Parts written by hand; `lmwright run quickstart --use mine` puts all of them in."""
'''

_TUTOR = """# For an assistant that works in this folder

Its owner is learning how language models work by writing parts of one by hand. Be their tutor.

- **Write no code for them**: not the function, not a line of it, not a test. Edit no file here.
- Ask. One question at a time, about the idea that is missing; then let them write.
- Point to the specification (`lmwright lab hint NAME 0`) and to the property that fails
  (`lmwright lab check NAME`), and ask what it means on the smallest case, worked by hand.
- Do not show or paraphrase lmwright's own source of the part, nor another library's.
- Errors of Python, of shapes and of tools you may explain plainly, with examples from elsewhere.
- If they ask for the answer: `lmwright lab hint NAME 5` shows it, and writes down that it did.
"""

_TESTS = '''"""Your own tests of lab {id}.

`lmwright lab test {id}` first runs them on your file and on a right one, where all must pass.
Then it puts wrong versions in the place of `{name}`, eight of them, one idea missing in each: a
version is caught when a test fails on it. Six of eight must be. Which ideas those are is for you
to think of: what would still look right if it were left out?

Tests are plain functions whose names begin with `test_`, with `assert` in them.
"""

from mine.{id} import {name}


def test_what_must_be_true_of_{id}():
    raise NotImplementedError(f"choose a small case, work it out by hand, assert it of {{{name}}}")
'''


@dataclass(frozen=True)
class Workshop:
    """A folder of learner's files; a package, so that `--use FOLDER.NAME` finds them.

    Args:
        folder: its path.
    """

    folder: Path = Path("mine")

    def file(self, lab: Lab) -> Path:
        """Where the part is written."""
        return self.folder / f"{lab.id}.py"

    def tests(self, lab: Lab) -> Path:
        """Where the learner's own tests are written."""
        return self.folder / f"test_{lab.id}.py"

    def has_part(self, lab: Lab) -> bool:
        """Whether the part's file is there, and more than the stub."""
        return _differs(self.file(lab), stub(lab))

    def has_tests(self, lab: Lab) -> bool:
        """Whether the learner has written tests of the part."""
        return _differs(self.tests(lab), self._tests(lab))

    def start(self, lab: Lab) -> dict[Path, bool]:
        """Write what is not there yet.

        Returns:
            every file of the lab, and whether it was written now; a file that stands is kept.

        Raises:
            LmwrightError: if the folder cannot be a package, or cannot be written.
        """
        self._check_name()
        texts = {
            self.file(lab): stub(lab),
            self.tests(lab): self._tests(lab),
            self.folder / "AGENTS.md": _TUTOR,
            self.folder / "__init__.py": _PACKAGE,
        }
        found = {path: not path.exists() for path in texts}
        for path, missing in found.items():
            if missing:
                write_text(path, texts[path])
        return found

    def reset(self, lab: Lab) -> dict[Path, Path]:
        """Move the learner's files of a lab aside and write them anew.

        Returns:
            where each that was there lies now.
        """
        self._check_name()
        old, moved = self.folder / ".old", {}
        for path in (self.file(lab), self.tests(lab)):
            if path.exists():
                with disk_errors(old):
                    old.mkdir(exist_ok=True)
                    moved[path] = path.rename(_free(old, path.stem))
        self.start(lab)
        return moved

    def _tests(self, lab: Lab) -> str:
        text = _TESTS.format(id=lab.id, name=lab.name)
        return text.replace("from mine.", f"from {self.folder.resolve().name}.")

    def _check_name(self) -> None:
        name = self.folder.resolve().name
        if not name.isidentifier():
            raise LmwrightError(
                f"a folder of parts is a Python package, and {name!r} is no name of one",
                hint="choose letters, digits and underscores, such as `mine`",
            )
        if _belongs_to_another(name, self.folder.resolve()):
            raise LmwrightError(
                f"{name} is the name of another Python package",
                hint="choose a name that is free, such as `mine`",
            )


def _differs(path: Path, text: str) -> bool:
    with disk_errors(path):
        return path.exists() and path.read_bytes() != text.encode()


def _belongs_to_another(name: str, folder: Path) -> bool:
    if name in sys.stdlib_module_names:
        return True
    spec = importlib.util.find_spec(name)
    places = [Path(place).resolve() for place in (spec and spec.submodule_search_locations) or ()]
    return spec is not None and folder not in places


def _free(folder: Path, stem: str) -> Path:
    """The first `STEM-<n>.py` that does not exist."""
    number = 1
    while (path := folder / f"{stem}-{number}.py").exists():
        number += 1
    return path
