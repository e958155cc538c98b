"""The command: verbs without torch, errors in one line, exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from lmwright import __version__, cli
from lmwright.core.errors import CheckFailed, LmwrightError
from lmwright.pipeline import catalog

FAKES = str(Path(__file__).parent / "pipeline")


@pytest.fixture
def lmwright(monkeypatch, capsys):
    """A function that runs the command here and gives exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lmwright", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        return caught.value.code, said.out, said.err

    return run


def test_help_lists_the_verbs_and_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['lmwright', '--help']\n"
        "from lmwright.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'numpy', 'matplotlib', 'fastapi', 'transformers', 'sklearn', 'jinja2')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, loaded = done.stdout.splitlines()
    assert " run " in done.stdout
    assert loaded == "[]"


def test_every_verb_has_an_example(lmwright):
    verbs = [command.name for command in cli.make_app().registered_commands]
    assert "run" in verbs
    for verb in verbs:
        code, out, _ = lmwright(verb, "--help")
        assert code == 0
        assert f"lmwright {verb}" in out, f"lmwright {verb} --help has no example"


def test_version(lmwright):
    assert lmwright("--version") == (0, f"lmwright {__version__}\n", "")


def test_python_m_lmwright():
    done = subprocess.run(
        [sys.executable, "-m", "lmwright", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"lmwright {__version__}\n"


def test_bad_input_is_one_line_and_exit_2(lmwright):
    code, out, err = lmwright("run", "nowhere.yaml")
    assert (code, out) == (2, "")
    assert err == "error: recipe nowhere.yaml does not exist\n"


def test_debug_shows_the_traceback_at_any_place(lmwright):
    for arguments in (["--debug", "run", "nowhere.yaml"], ["run", "nowhere.yaml", "--debug"]):
        code, _, err = lmwright(*arguments)
        assert code == 2
        assert "Traceback" in err
        assert err.endswith("error: recipe nowhere.yaml does not exist\n")


def test_an_unknown_verb_is_exit_2(lmwright):
    code, _, err = lmwright("rum")
    assert code == 2
    assert "rum" in err


@pytest.mark.parametrize(
    ("raised", "code"),
    [(LmwrightError("x"), 2), (CheckFailed("x"), 1), (KeyboardInterrupt(), 130)],
)
def test_exit_codes_hold_for_the_verbs_of_every_room(lmwright, monkeypatch, raised, code):
    def register(app):
        @app.command("probe")
        def probe():
            raise raised

    room = type(sys)("room")
    room.register = register
    monkeypatch.setattr(cli, "room_commands", lambda: (room,))
    assert lmwright("probe")[0] == code


def test_a_broken_room_is_not_hidden(monkeypatch, tmp_path):
    room = tmp_path / "brokenroom"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "commands.py").write_text("import does_not_exist_anywhere\n")
    import lmwright

    monkeypatch.setattr(lmwright, "__path__", [*lmwright.__path__, str(tmp_path)])
    monkeypatch.setattr(catalog, "room_folders", lambda: {"brokenroom": room})
    catalog.room_commands.cache_clear()
    try:
        with pytest.raises(ModuleNotFoundError, match="does_not_exist_anywhere"):
            catalog.room_commands()
    finally:
        catalog.room_commands.cache_clear()


def test_dry_run_says_what_would_happen_and_writes_nothing(lmwright, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FAKES)
    runs = tmp_path / "runs"
    monkeypatch.setenv("LMWRIGHT_RUNS", str(runs))
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "description: a tiny recipe\nbudget: 100s\nsteps:\n"
        "  - {name: corpus, step: fakesteps.corpus, kinds: [text]}\n"
        "  - {name: base, step: fakesteps.train, share: 1, steps: 7}\n"
        "  - {name: aligned, step: fakesteps.align, share: 1, inputs: {model: base}}\n"
        "  - {name: evaluation, step: fakesteps.evaluate, reserve: 10s}\n"
    )
    code, out, err = lmwright("run", str(recipe), "--dry-run")
    assert (code, err) == (0, "")
    for said in (
        "tiny: a tiny recipe",
        "fakesteps.train",
        "1m30s",
        "7.0 MB",
        "base: 7 steps",
        "not applicable: aligned (the corpus has no preferences)",
        "budget 1m40s",
        "model    from step base",
    ):
        assert said in out, said
    assert not runs.exists()
