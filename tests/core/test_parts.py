"""Parts: found, refused, put in production's place, inherited by child processes, counted."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lmwright.core import part_files
from lmwright.core.errors import LmwrightError

FIND_STOP = "lmwright.engine.stopping:find_stop"
MINE = f"""\
from lmwright.engine.stopping import held_back

REPLACES = "{FIND_STOP}"


def find_stop(text, stops):
    return 1000 + held_back(text, stops)
"""
PACE = """\
REPLACES = "lmwright.engine.pace:Pace"


class Base:
    def inherited(self):
        return "inherited"


class Pace(Base):
    def __init__(self):
        self.seen = []

    def prompt_tokens(self, continued):
        return self._most() + continued

    def observe(self, continued, prompt_tokens, seconds):
        self.seen.append(seconds)

    def _most(self):
        return 7
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with `mine/`, and a home in which nothing has passed."""
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LMWRIGHT_USE", raising=False)
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder):
    """A function that writes `mine/NAME.py`."""

    def written(name, text):
        file = folder / "mine" / f"{name}.py"
        file.write_text(textwrap.dedent(text))
        return file

    return written


def python(code, **environment):
    """What a process of its own prints, one line each; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def refused(code):
    """The message of the LmwrightError that ends a process."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "LmwrightError: " in done.stderr, done.stderr
    return done.stderr.rpartition("LmwrightError: ")[2]


def passes(file, target, home):
    """Let the file be recorded as `lmwright lab check` does."""
    home.mkdir(exist_ok=True)
    digest = part_files.sha256(Path(file).read_bytes())
    (home / "passed.json").write_text(json.dumps({digest: {"target": target, "lab": "x"}}))
    return digest


def test_everyone_who_imports_it_gets_the_readers_function(write):
    write("stop", MINE)
    lines = python(
        """
        import lmwright
        lmwright.use("mine.stop", unchecked=True)
        from lmwright.engine.stopping import AnswerText, find_stop
        from lmwright.engine import stopping

        class Decoder:
            def push(self, token_id): return "a"
            def flush(self): return ""

        print(find_stop("text", ["x"]), stopping.find_stop("text", ["tt"]))
        print(AnswerText(Decoder(), ["b"]).push(1))  # called inside the module, by its plain name
        print(find_stop.__name__, find_stop.__doc__.split()[0])
        from lmwright.core import parts
        print(parts.calls(), parts.in_use("lmwright.engine.stopping:find_stop"))
        print(parts.in_use("lmwright.engine.stopping:held_back"))
        """
    )
    assert lines == ["1000 1001", "a", "find_stop Where", "{'stop': 3} True", "False"]


def test_modules_that_bound_it_before_are_given_it_too(write):
    write("stop", MINE)
    lines = python(
        """
        import sys, types
        import lmwright
        from lmwright.engine import stopping
        other = types.ModuleType("other")
        other.cut = stopping.find_stop
        sys.modules["other"] = other
        from lmwright.engine.stopping import find_stop
        lmwright.use("mine.stop", unchecked=True)
        print(stopping.find_stop("", []), other.cut("", []), find_stop("", []))
        """
    )
    assert lines == ["1000 1000 1000"]


def test_the_readers_own_module_may_call_productions(write):
    write(
        "stop",
        f"""
        from lmwright.engine.stopping import find_stop as theirs

        REPLACES = "{FIND_STOP}"

        def find_stop(text, stops):
            return -theirs(text, stops)
        """,
    )
    lines = python(
        """
        import lmwright
        lmwright.use("mine.stop", unchecked=True)
        from lmwright.engine.stopping import find_stop
        print(find_stop("one stop", ["stop"]))
        """
    )
    assert lines == ["-4"]


def test_a_class_takes_the_place_of_a_class_and_counts_its_public_methods(write):
    write("pace", PACE)
    lines = python(
        """
        import lmwright, pickle
        lmwright.use("mine.pace", unchecked=True)
        from lmwright.core import parts
        from lmwright.engine.pace import Pace
        from mine.pace import Pace as mine
        pace = Pace()
        print(isinstance(pace, mine), Pace.__module__, Pace.__qualname__, parts.calls())
        print(pace.prompt_tokens(3), pace.inherited(), parts.calls())
        pace.observe(1, 2, 0.5)
        print(pickle.loads(pickle.dumps(pace)).seen, parts.calls())
        """
    )
    assert lines == [
        "True lmwright.engine.pace Pace {'pace': 0}",
        "10 inherited {'pace': 2}",
        "[0.5] {'pace': 3}",
    ]


def test_a_class_that_others_are_built_on_is_too_late(write):
    write("pace", PACE)
    message = refused(
        """
        import lmwright
        from lmwright.engine.pace import Pace
        class Slow(Pace): pass
        lmwright.use("mine.pace", unchecked=True)
        """
    )
    assert "cannot be replaced any more: Slow is built on it" in message


def test_the_whole_folder_is_used_without_its_tests(write):
    write("stop", MINE)
    write("pace", PACE)
    write("helpers", "x = 1\n")
    write("test_stop", "from mine.stop import find_stop\nREPLACES = 'broken'\n")
    lines = python(
        """
        import lmwright
        parts = lmwright.use("mine", unchecked=True)
        print([(part.name, part.named, part.shown) for part in parts])
        """
    )
    assert lines == ["[('pace', False, 'mine/pace.py'), ('stop', False, 'mine/stop.py')]"]


def test_productions_own_twin_is_marked_and_counted():
    lines = python(
        f"""
        import lmwright
        lmwright.use("{FIND_STOP}")
        from lmwright.core import parts
        from lmwright.engine.stopping import find_stop
        print(find_stop("one stop", ["stop"]), parts.in_use("{FIND_STOP}"), parts.calls())
        """
    )
    assert lines == ["4 True {'find_stop': 1}"]


@pytest.mark.parametrize("start", ["spawn", "fork", "command"])
def test_child_processes_inherit_the_parts(write, start):
    write("stop", MINE)
    write(
        "worker",
        """
        def work(connection):
            from lmwright.engine.stopping import find_stop
            from lmwright.core import parts
            connection.send((find_stop("", []), parts.calls()))
        """,
    )
    if start == "command":
        code = """
            child = "from lmwright.engine.stopping import find_stop; print(find_stop('', []))"
            import subprocess, sys, os
            os.chdir("/")  # the file is known by its whole path
            command = [sys.executable, "-c", child]
            print(subprocess.run(command, capture_output=True, text=True).stdout)
        """
        expected = "1000"
    else:
        code = f"""
            import multiprocessing
            context = multiprocessing.get_context("{start}")
            from mine.worker import work
            here, there = context.Pipe()
            process = context.Process(target=work, args=(there,))
            process.start()
            print(*here.recv())
            process.join()
        """
        expected = "1000 {'stop': 1}"
    begin = """
            import lmwright
            lmwright.use("mine.stop", unchecked=True)
    """
    assert python(textwrap.dedent(begin) + textwrap.dedent(code))[0] == expected


def test_a_file_that_was_edited_since_the_start_is_refused(write):
    write("stop", MINE)
    message = refused(
        """
        import lmwright
        lmwright.use("mine.stop", unchecked=True)
        with open("mine/stop.py", "a") as file:
            file.write("# better")
        import lmwright.engine.stopping
        """
    )
    assert message.startswith("mine/stop.py has been changed since this command began")


def test_import_of_lmwright_stays_light(write):
    write("stop", MINE)
    lines = python(
        """
        import lmwright, sys
        lmwright.use("mine.stop", unchecked=True)
        heavy = ("torch", "numpy", "lmwright.engine.stopping")
        print([name for name in heavy if name in sys.modules])
        """
    )
    assert lines == ["[]"]


def test_a_file_is_checked_by_its_bytes_and_its_target(write, folder):
    file = write("stop", MINE)
    home = folder / "home"
    with pytest.raises(LmwrightError, match=r"mine/stop\.py has not passed the check") as refusal:
        part_files.refuse_unchecked(part_files.find("mine.stop", folder))
    assert refusal.value.hint.startswith("lmwright lab check stop")
    digest = passes(file, FIND_STOP, home)
    (part,) = part_files.find("mine.stop", folder)
    assert (part.checked, part.sha256) == (True, digest)
    passes(file, "lmwright.engine.pace:Pace", home)
    assert not part_files.find("mine.stop", folder)[0].checked, "checked as something else"
    passes(file, FIND_STOP, home)
    file.write_text(MINE + "\n# one more line")
    assert not part_files.find("mine.stop", folder)[0].checked


@pytest.mark.parametrize(
    ("word", "text", "said"),
    [
        ("mine.none", None, "there is no mine/none.py"),
        ("mine.sotp", MINE, "did you mean stop?"),
        ("mine/stop.py", MINE, "write --use mine.stop"),
        ("stop", MINE, "there is no stop.py and no folder stop"),
        ("mine.stop", "def find_stop(text, stops): ...", "does not say what it replaces"),
        ("mine", "x = 1", "no file in mine says what it replaces"),
        ("mine.stop", "def find_stop(:\n", "mine/stop.py, line 1: "),
        ("mine.stop", "REPLACES = 3", "a part of production is named as MODULE:NAME"),
        ("mine.stop", 'REPLACES = "os:open"', "a part of production is named as MODULE:NAME"),
        ("mine.stop", 'REPLACES = "lmwright.engine.stoping:x"', "did you mean stopping?"),
        ("mine.stop", f'REPLACES = "{FIND_STOP}s"', "did you mean find_stop?"),
        ("mine.stop", f'REPLACES = "{FIND_STOP}"\ndef findstop(): ...', "it defines findstop"),
        ("mine.stop", f'REPLACES = "{FIND_STOP}"\nclass find_stop: ...', "stands for a function"),
        ("lmwright.engine.stopping:nothing", None, "defines no function or class nothing"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(write, folder, word, text, said):
    if text is not None:
        write("stop", text)
    with pytest.raises(LmwrightError) as error:
        part_files.find(word, folder)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


def test_two_files_for_one_target_are_refused(write):
    write("stop", MINE)
    write("end", MINE)
    message = refused('import lmwright; lmwright.use("mine", unchecked=True)')
    assert message.startswith(
        "mine/end.py and mine/stop.py both stand for lmwright.engine.stopping"
    )


def test_what_could_not_be_put_in_place_is_not_in_use(write):
    write("stop", MINE + "\n\nprint(1 / 0)\n")
    lines = python(
        """
        import os
        import lmwright
        from lmwright.core import parts
        from lmwright.engine.stopping import find_stop
        try:
            lmwright.use("mine.stop", unchecked=True)
        except Exception as error:
            print(type(error).__name__)
        print(parts.active(), "LMWRIGHT_USE" in os.environ, find_stop("stop", ["stop"]))
        """
    )
    assert lines == ["LmwrightError", "() False 0"]


def test_an_error_at_the_files_top_level_names_its_line(write):
    write("stop", MINE + "\n\nprint(1 / 0)\n")
    message = refused(
        """
        import lmwright
        lmwright.use("mine.stop", unchecked=True)
        import lmwright.engine.stopping
        """
    )
    assert message.startswith("mine/stop.py, line 10: ZeroDivisionError: division by zero")
    assert "lmwright lab check stop" in message


def test_blames_the_part_in_which_an_exception_began(write):
    write("stop", MINE.replace("1000 +", "1 / 0 +"))
    lines = python(
        """
        import lmwright
        lmwright.use("mine.stop", unchecked=True)
        from lmwright.core import parts
        from lmwright.engine.stopping import find_stop
        def call():
            try:
                find_stop("", [])
            except ZeroDivisionError as error:
                raise RuntimeError("a library's own words") from error
        try:
            call()
        except RuntimeError as error:
            print(parts.told(error)[0])
        try:
            [][1]
        except IndexError as error:
            print(parts.told(error))
        """
    )
    assert lines == ["mine/stop.py, line 7: ZeroDivisionError: division by zero", "None"]


def test_the_command_takes_parts_at_any_place(write):
    write("stop", MINE)

    def command(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "lmwright", *arguments], capture_output=True, text=True
        )
        return done.returncode, done.stderr

    for words in (
        ["--use", "mine.stop", "run", "none.yaml"],
        ["run", "none.yaml", "--use=mine.stop"],
    ):
        code, error = command(*words)
        assert code == 2
        assert error.startswith("error: mine/stop.py has not passed the check as written now")
    code, error = command("run", "none.yaml", "--use", "mine.stop", "--unchecked")
    assert (code, error) == (2, "error: recipe none.yaml does not exist\n")
    assert command("run", "none.yaml", "--use")[1].startswith("error: --use needs a name")
    assert "there is no --use" in command("run", "none.yaml", "--unchecked")[1]
