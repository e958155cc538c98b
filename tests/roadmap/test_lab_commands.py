"""`lmwright lab`: what a learner sees, which codes it exits with, and what is written down."""

import hashlib
import json
import re
import subprocess
import sys

import pytest

from lmwright.core.home import passed_file
from lmwright.roadmap import hosting
from lmwright.roadmap.attempts import Attempt, Found, keep
from lmwright.roadmap.checking import Result, Verdict
from lmwright.roadmap.lab import all_labs, find_lab
from tests.roadmap.lab_cases import ATTENTION, WITHOUT_SCALE


def passed() -> dict:
    return json.loads(passed_file().read_text()) if passed_file().exists() else {}


def test_start_writes_the_files_once(desk):
    said = desk.lab("start", "attention")
    assert said.code == 0
    mine = desk.folder / "mine"
    files = {"attention.py", "test_attention.py", "AGENTS.md", "__init__.py"}
    assert {path.name for path in mine.iterdir()} == files
    assert (
        'REPLACES = "lmwright.models.layers.attention:attend"'
        in (mine / "attention.py").read_text()
    )
    assert "lmwright lab check attention" in said.out
    assert "lmwright lab hint attention 0" in said.out

    (mine / "attention.py").write_text("mine = 1\n")
    again = desk.lab("start", "attention")
    assert again.code == 0
    assert "kept   mine/attention.py" in again.out
    assert (mine / "attention.py").read_text() == "mine = 1\n"
    assert [kind for kind, _ in desk.events] == ["start", "start"]


def test_a_folder_that_could_not_be_imported_is_refused(desk):
    for folder, word in (("not-a-name", "no name"), ("torch", "another"), ("json", "another")):
        said = desk.lab("start", "attention", "--folder", folder)
        assert said.code == 2
        assert word in said.err
        assert not (desk.folder / folder).exists()


def test_the_stub_fails_and_is_told_so(desk):
    desk.lab("start", "attention")
    said = desk.lab("check", "attention", "--seed", "3")
    assert said.code == 1
    assert "not written yet" in said.out
    assert "mine/attention.py, line" in said.out


def test_a_check_says_everything_in_order(desk):
    path = desk.write(WITHOUT_SCALE)
    said = desk.lab("check", "attention", "--seed", "48213")
    assert said.code == 1
    digest = hosting.LearnerFile.read(path).sha256
    places = [
        said.out.index(part)
        for part in (
            f"attention  mine/attention.py  {digest[:6]}  seed 48213",
            "(again: lmwright lab check attention --seed 48213)",
            "  NO  each query gives a mean of the values",
            "smallest case",
            "yours",
            "expected",
            "first difference at",
            "Your output equals attention without 1 / sqrt(K).",
            " more properties wait: ",
            "What to try",
            "lmwright lab hint attention",
        )
    ]
    assert places == sorted(places)
    assert passed() == {}


def test_the_same_seed_gives_the_same_verdict_and_no_seed_a_fresh_one(desk):
    desk.write(WITHOUT_SCALE)
    first, again = (desk.lab("check", "attention", "--seed", "5").out for _ in range(2))
    assert first == again
    seeds = {re.search(r"seed (\d+)", desk.lab("check", "attention").out)[1] for _ in range(3)}
    assert len(seeds) > 1


def test_a_right_one_passes_and_is_remembered(desk):
    path = desk.write(ATTENTION)
    said = desk.lab("check", "attention")
    assert said.code == 0, said.out
    assert "NO" not in said.out
    of = len(find_lab("attention").properties())
    for told in (
        f"passed: {of} properties",
        "lines of code",
        "time ",
        "memory ",
        "stands in production",
    ):
        assert told in said.out
    for command in ("lab twist attention", "lab test attention", "lab diff attention"):
        assert f"lmwright {command}" in said.out
    assert "--use mine.attention" in said.out
    digest = hosting.LearnerFile.read(path).sha256
    assert passed()[digest]["target"] == "lmwright.models.layers.attention:attend"
    kind, fields = desk.events[-1]
    assert (kind, fields["passed"], fields["of"], fields["sha256"]) == ("check", of, of, digest)


def test_files_that_passed_add_up_and_others_do_not(desk):
    lab = find_lab("attention")
    for source, status in ((b"1", "ok"), (b"2", "ok"), (b"3", "wrong")):
        found = Found(Verdict(7, (Result("it holds", status, 60),), 0.1))
        keep(Attempt(lab, hosting.LearnerFile(desk.folder, source), 7, found))
    assert passed().keys() == {hashlib.sha256(source).hexdigest() for source in (b"1", b"2")}
    assert [fields["passed"] for _, fields in desk.events] == [1, 1, 0]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("while True: pass", "loop"),
        ("x = []\n    while True: x.append(bytearray(10**7))", "memory"),
        ("while True: print('x' * 10**6)", "printed"),
        ("raise SystemExit(0)", "exit()"),
        ("import os; os._exit(0)", "ended the process"),
        ("return 1 / 0", "ZeroDivisionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("return q.numpy()", "NumPy"),
        ("q.zero_(); return q", "changed its argument"),
        ("return None", "NoneType"),
        ("import os; os.kill(os.getpid(), 15)", "signal 15"),
        ("return attend(q, k, v, rule)", "RecursionError"),
    ],
)
def test_code_that_misbehaves_is_told_and_changes_no_state(desk, monkeypatch, body, told):
    seconds = 4.0 if told == "loop" else 60.0
    limits = hosting.Limits(seconds, memory_bytes=400_000_000)
    monkeypatch.setattr(hosting.hosted, "__kwdefaults__", {"seconds": seconds, "limits": limits})
    desk.attend(body)
    said = desk.lab("check", "attention", "--seed", "1")
    assert said.code == 1, said.out + said.err
    assert told in said.words
    assert "Traceback" not in said.out + said.err
    assert len(said.out) < 5000
    assert passed() == {}
    _, fields = desk.events[-1]
    assert fields["passed"] == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def attend(q, k, v, rule:\n", "line 1"),
        ("x = 1\nimport nothing_of_this_name\n", "line 2: ModuleNotFoundError"),
        ("def atend(q, k, v, rule): return q\n", "defines no attend"),
        ("def attend(q, k, v): return q\n", "does not take the argument rule"),
        ("attend = 3\n", "not a function"),
        ("from lmwright.models.layers.attention import attend\n", "asks you to write"),
        (
            "import torch.nn.functional as F\n"
            "def attend(q, k, v, rule):\n    return F.scaled_dot_product_attention(q, k, v)\n",
            "asks you to write",
        ),
    ],
)
def test_files_that_cannot_be_checked_are_told(desk, text, told):
    desk.write(text)
    said = desk.lab("check", "attention")
    assert said.code == 1
    assert told in said.words
    assert "Traceback" not in said.out


def test_what_the_learner_prints_is_shown_where_it_fails(desk):
    desk.attend("print('the shape is', tuple(q.shape)); return q * 0")
    assert "the shape is (" in desk.lab("check", "attention").out


@pytest.mark.parametrize("verb", ["check", "watch", "diff", "test", "prove"])
def test_bad_input_is_exit_2(desk, verb):
    missing = desk.lab(verb, "attention")
    assert (missing.code, "Traceback" in missing.err) == (2, False)
    assert "lmwright lab start attention" in missing.err
    unknown = desk.lab(verb, "atention")
    assert unknown.code == 2
    assert "did you mean attention?" in unknown.err
    assert desk.events == []


def test_a_file_of_another_name_can_be_checked(desk):
    path = desk.write(ATTENTION, "idea")
    said = desk.lab("check", "attention", "--file", str(path), "--seed", "2")
    assert said.code == 0
    assert f"--seed 2 --file {path})" in said.out


@pytest.mark.slow
def test_with_use_there_is_nothing_to_compare_with(desk, monkeypatch):
    desk.write(ATTENTION)
    desk.lab("check", "attention")
    done = subprocess.run(
        [sys.executable, "-m", "lmwright", "lab", "check", "attention", "--use", "mine.attention"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "without --use" in done.stderr


def test_hints_one_and_two_are_free_and_counted(desk):
    assert "What are the weights of a mean" in desk.lab("hint", "attention").out
    assert "Do it by hand" in desk.lab("hint", "attention").out
    assert [fields["level"] for _, fields in desk.events] == [1, 2]
    assert "# Attention" in desk.lab("hint", "attention", "0").out
    assert len(desk.events) == 2


def test_hints_three_and_four_come_after_a_try_that_changed_something(desk):
    desk.lab("start", "attention")
    assert desk.lab("hint", "attention", "3").code == 2
    desk.lab("check", "attention")
    refused = desk.lab("hint", "attention", "3")
    assert refused.code == 2, "checking the stub is no try"
    assert "after a try" in refused.err

    desk.write(WITHOUT_SCALE)
    desk.lab("check", "attention")
    given = desk.lab("hint", "attention", "3")
    assert given.code == 0
    assert "attention without 1 / sqrt(K)" in given.out
    assert desk.lab("hint", "attention", "4").code == 2
    desk.lab("check", "attention")
    assert desk.lab("hint", "attention", "4").code == 2, "the same file is no new try"

    desk.write(WITHOUT_SCALE + "\n# thought again\n")
    desk.lab("check", "attention")
    assert "scores" in desk.lab("hint", "attention", "4").out
    assert desk.lab("hint", "attention", "3").code == 0, "what was had is given again"


@pytest.mark.parametrize("words", [("hint", "attention", "5"), ("solve", "attention")])
def test_the_answer_is_always_there_and_written_down(desk, words):
    said = desk.lab(*words)
    assert said.code == 0
    assert "def attend(q: Tensor" in said.out
    assert "def _attend_written_out" in said.out
    assert [kind for kind, _ in desk.events] == ["solve"]
    assert not (desk.folder / "mine").exists()


def test_diff_waits_for_a_pass(desk):
    desk.write(ATTENTION)
    refused = desk.lab("diff", "attention")
    assert refused.code == 2
    assert "has not passed" in refused.err
    desk.lab("check", "attention")
    said = desk.lab("diff", "attention")
    assert said.code == 0
    assert "-    return F.scaled_dot_product_attention(" in said.out
    assert "+    mixed = weights.to(v.dtype) @ v.unsqueeze(2)" in said.out
    desk.write(ATTENTION + "\n# changed\n")
    assert desk.lab("diff", "attention").code == 2


def test_reset_moves_the_files_aside_and_begins_anew(desk):
    desk.lab("start", "attention")
    stub = (desk.folder / "mine/attention.py").read_text()
    for number in (1, 2):
        desk.write(f"attempt = {number}\n")
        said = desk.lab("reset", "attention")
        assert said.code == 0
        assert f"mine/.old/attention-{number}.py" in said.out
        assert (desk.folder / "mine/attention.py").read_text() == stub
        old = desk.folder / f"mine/.old/attention-{number}.py"
        assert old.read_text() == f"attempt = {number}\n"
    assert [kind for kind, _ in desk.events] == ["start", "reset", "reset"]


def test_list_shows_every_lab_and_how_far_one_is(desk):
    desk.write(ATTENTION)
    desk.lab("check", "attention")
    said = desk.lab("list")
    assert said.code == 0
    rows = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    assert all_labs().keys() <= rows.keys()
    assert "checked" in rows["attention"]
    assert " 45 min" in rows["attention"]


def test_the_verb_loads_no_torch_until_it_must(desk):
    code = (
        "import sys\n"
        "from lmwright.cli import main\n"
        "for words in (['list'], ['start', 'attention'], ['hint', 'attention'], ['--help']):\n"
        "    sys.argv = ['lmwright', 'lab', *words]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_every_verb_of_a_lab_has_an_example(desk):
    from lmwright.roadmap.lab_commands import app

    verbs = {command.name for command in app.registered_commands}
    assert len(verbs) == 12
    for verb in verbs:
        said = desk.lab(verb, "--help")
        assert said.code == 0
        assert f"lmwright lab {verb}" in said.out


@pytest.mark.slow
def test_a_later_failure_takes_nothing_away(desk):
    desk.write(ATTENTION)
    desk.lab("check", "attention")
    before = passed()
    desk.attend("import os; os._exit(0)")
    assert desk.lab("check", "attention").code == 1
    assert passed() == before
    assert "checked" in desk.lab("list").out


def test_a_newer_lmwright_s_record_is_left_alone_and_the_pass_is_kept(desk, tmp_path):
    road = tmp_path / "home" / "road.jsonl"
    road.parent.mkdir()
    road.write_text('{"schema": 99, "what": "something new"}\n')
    path = desk.write(ATTENTION)
    said = desk.lab("check", "attention")
    assert said.code == 2
    assert "newer lmwright" in said.err
    assert "  ok  each query" in said.out
    assert road.read_text() == '{"schema": 99, "what": "something new"}\n'
    assert hosting.LearnerFile.read(path).sha256 in passed()
