"""`lmwright lab`: writing a part by hand, and holding it against production's; loads no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lmwright.roadmap.lab import Lab

_ABOUT = """Write one part of the stack by hand, and let the real stack run with it.

Examples:

  lmwright lab list

  lmwright lab start attention

  lmwright lab check attention

  lmwright run quickstart --use mine.attention"""

app = typer.Typer(help=_ABOUT, no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A lab; `lmwright lab list` names all.")]
Folder = Annotated[Path, typer.Option(help="Your folder of parts.")]
File = Annotated[Path | None, typer.Option(help="Your file; default: FOLDER/NAME.py.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Repeats the random cases of a check.")]
MINE = Path("mine")


@app.callback()
def _production_alone() -> None:
    """What a check compares with must be production's own."""
    from lmwright.core import parts
    from lmwright.core.errors import LmwrightError

    if parts.active():
        raise LmwrightError(
            "a lab compares with production's parts, and --use puts yours in their place",
            hint="run `lmwright lab` without --use",
        )


@app.command("list")
def list_labs() -> None:
    """Show every lab: its topic, about how long it takes, and how far you are.

    Example: lmwright lab list
    """
    from lmwright.roadmap.sessions import table
    from lmwright.roadmap.telling import tell

    tell(table())


@app.command("start")
def start(name: Name, folder: Folder = MINE) -> None:
    """Write a lab's files: a stub of the part, a file for your tests, rules for an assistant.

    Files that are there already are kept as they are.

    Example: lmwright lab start attention
    """
    from lmwright.roadmap.lab import find_lab
    from lmwright.roadmap.record import Record
    from lmwright.roadmap.telling import beginning, next_lines, shown_path, tell
    from lmwright.roadmap.workshop import Workshop

    lab, shop = find_lab(name), Workshop(folder)
    written = shop.start(lab)
    Record.open().append("start", lab=lab.id)
    for path, fresh in written.items():
        tell([f"{'wrote' if fresh else 'kept '}  {shown_path(path)}"])
    tell(["", f"{lab.id}: {lab.title} (about {lab.minutes} minutes)", ""])
    tell([beginning(lab.text("spec.md")), ""])
    rows = [
        (f"lmwright lab hint {lab.id} 0", "the whole specification"),
        (f"lmwright lab watch {lab.id}", f"checks {shown_path(shop.file(lab))} at every save"),
        (f"lmwright lab check {lab.id}", "checks it once"),
        (f"lmwright lab hint {lab.id}", "a question that helps"),
    ]
    tell(next_lines(_with_folder(rows, folder)))


@app.command("check")
def check(name: Name, seed: Seed = None, file: File = None, folder: Folder = MINE) -> None:
    """Hold your part against production's on random cases; exit 0 if all properties hold, else 1.

    Examples:

        lmwright lab check attention

        lmwright lab check attention --seed 48213
    """
    from lmwright.roadmap.attempts import fresh_seed
    from lmwright.roadmap.hosting import LearnerFile
    from lmwright.roadmap.lab import find_lab
    from lmwright.roadmap.sessions import check_once
    from lmwright.roadmap.workshop import Workshop

    lab = find_lab(name)
    found = LearnerFile.read(file or Workshop(folder).file(lab))
    now = fresh_seed() if seed is None else seed
    if not check_once(lab, found, now, _options(file, folder)).passed:
        raise typer.Exit(1)


@app.command("watch")
def watch(name: Name, seed: Seed = None, file: File = None, folder: Folder = MINE) -> None:
    """Check your part again at every save, until Ctrl-C.

    Example: lmwright lab watch attention
    """
    from lmwright.roadmap.hosting import LearnerFile
    from lmwright.roadmap.lab import find_lab
    from lmwright.roadmap.sessions import check_once
    from lmwright.roadmap.telling import shown_path, tell
    from lmwright.roadmap.watching import watch as watched
    from lmwright.roadmap.workshop import Workshop

    lab = find_lab(name)
    path = file or Workshop(folder).file(lab)
    LearnerFile.read(path)
    tell([f"Watching {shown_path(path)}; Ctrl-C ends it.", ""])

    def judge(found: LearnerFile, now: int) -> bool:
        done = check_once(lab, found, now, _options(file, folder))
        tell([""])
        return done.passed

    try:
        watched(lab, path, judge, seed=seed)
    except KeyboardInterrupt:
        tell(["", "Stopped."])


@app.command("hint")
def hint(
    name: Name,
    level: Annotated[
        int | None,
        typer.Argument(min=0, max=5, help="0 specification, 1 to 4 hints, 5 the answer."),
    ] = None,
) -> None:
    """Help in five levels; without a number the next one.

    1 a question, 2 a case by hand, 3 what the last failing check found, 4 the shapes; 3 and 4 come
    after another try. 5 shows production's own and is written down.

    Examples:

        lmwright lab hint attention 0

        lmwright lab hint attention
    """
    from lmwright.core.errors import LmwrightError
    from lmwright.roadmap import hints
    from lmwright.roadmap.lab import find_lab
    from lmwright.roadmap.record import Record
    from lmwright.roadmap.telling import tell

    lab, record = find_lab(name), Record.open()
    wanted = hints.next_level(lab, record.events) if level is None else level
    if wanted == hints.LAST:
        _show_answer(lab)
        return
    reason = hints.why_not(lab, wanted, record.events)
    if reason:
        raise LmwrightError(reason, hint=f"or see it all: lmwright lab hint {lab.id} 5, recorded")
    text = hints.hint_text(lab, wanted, record.events)
    if wanted:
        record.append("hint", lab=lab.id, level=wanted)
        tell([f"{lab.id}, hint {wanted}: {hints.title(wanted)}", ""])
    tell([text])


@app.command("solve")
def solve(name: Name) -> None:
    """Show production's own source of the part; it is written down that you saw it.

    Example: lmwright lab solve attention
    """
    from lmwright.roadmap.lab import find_lab

    _show_answer(find_lab(name))


@app.command("diff")
def diff(name: Name, file: File = None, folder: Folder = MINE) -> None:
    """Read production's part beside yours, once yours has passed.

    Example: lmwright lab diff attention
    """
    from lmwright.core.errors import LmwrightError
    from lmwright.roadmap.attempts import has_passed
    from lmwright.roadmap.beside import show
    from lmwright.roadmap.hosting import LearnerFile
    from lmwright.roadmap.lab import find_lab
    from lmwright.roadmap.workshop import Workshop

    lab = find_lab(name)
    found = LearnerFile.read(file or Workshop(folder).file(lab))
    if not has_passed(lab, found):
        raise LmwrightError(
            f"{found.path} has not passed the check as it is now",
            hint=f"`lmwright lab check {lab.id}` first; `lmwright lab solve {lab.id}` shows "
            "production's at any time, and writes it down",
        )
    show(lab, found)


@app.command("twist")
def twist(name: Name, seed: Seed = None, file: File = None, folder: Folder = MINE) -> None:
    """Show your variant of the part, and check it once your file defines it.

    Example: lmwright lab twist attention
    """
    from lmwright.roadmap.lab import find_lab
    from lmwright.roadmap.sessions import twist_once
    from lmwright.roadmap.workshop import Workshop

    lab = find_lab(name)
    path = file or Workshop(folder).file(lab)
    if not twist_once(lab, path, seed, _options(file, folder)):
        raise typer.Exit(1)


@app.command("test")
def try_tests(name: Name, seed: Seed = None, folder: Folder = MINE) -> None:
    """Do your tests notice wrong versions? They must catch 6 of 8.

    Example: lmwright lab test attention
    """
    from lmwright.roadmap.attempts import fresh_seed
    from lmwright.roadmap.lab import find_lab
    from lmwright.roadmap.sessions import try_tests_once
    from lmwright.roadmap.workshop import Workshop

    lab, now = find_lab(name), fresh_seed() if seed is None else seed
    if not try_tests_once(lab, Workshop(folder), now, _options(None, folder)):
        raise typer.Exit(1)


@app.command("prove")
def prove(name: Name, folder: Folder = MINE) -> None:
    """Run real data with production's part and with yours, and compare what comes out.

    Example: lmwright lab prove attention
    """
    from lmwright.roadmap.lab import find_lab
    from lmwright.roadmap.sessions import prove_once
    from lmwright.roadmap.workshop import Workshop

    lab = find_lab(name)
    if not prove_once(lab, Workshop(folder).file(lab)):
        raise typer.Exit(1)


@app.command("verify")
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Labs; none: all you wrote.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Checks of each part.")] = 3,
    folder: Folder = MINE,
) -> None:
    """Check all your parts again with fresh seeds, your twists and your tests too.

    For continuous integration: exit 0 if all of it holds, else 1. Done there, it is written down
    as verified, with the run to be looked up.

    Examples:

        lmwright lab verify

        lmwright lab verify attention --seeds 20
    """
    from lmwright.roadmap.verifying import verify as verified
    from lmwright.roadmap.workshop import Workshop

    if not all(found.passed for found in verified(names or [], Workshop(folder), seeds)):
        raise typer.Exit(1)


@app.command("reset")
def reset(name: Name, folder: Folder = MINE) -> None:
    """Begin a lab anew: your files move to FOLDER/.old, and the stub is written again.

    Example: lmwright lab reset attention
    """
    from lmwright.roadmap.lab import find_lab
    from lmwright.roadmap.record import Record
    from lmwright.roadmap.telling import shown_path, tell
    from lmwright.roadmap.workshop import Workshop

    lab, shop = find_lab(name), Workshop(folder)
    moved = shop.reset(lab)
    Record.open().append("reset", lab=lab.id)
    tell(f"moved  {shown_path(old)} -> {shown_path(new)}" for old, new in moved.items())
    tell([f"wrote  {shown_path(shop.file(lab))}", f"wrote  {shown_path(shop.tests(lab))}"])


def _show_answer(lab: "Lab") -> None:
    from lmwright.roadmap.hints import LAST, hint_text
    from lmwright.roadmap.record import Record
    from lmwright.roadmap.telling import tell

    Record.open().append("solve", lab=lab.id)
    tell([f"# {lab.target}; your record says that you read it", "", hint_text(lab, LAST, ())])


def _options(file: Path | None, folder: Path) -> str:
    """What has to be typed again to repeat a command."""
    import shlex

    given = "" if file is None else f" --file {shlex.quote(str(file))}"
    return given + ("" if folder == MINE else f" --folder {shlex.quote(str(folder))}")


def _with_folder(rows: list[tuple[str, str]], folder: Path) -> list[tuple[str, str]]:
    """The same commands for a folder of another name; `hint` needs none."""
    options = _options(None, folder)
    return [(c if " hint " in c else c + options, why) for c, why in rows]
