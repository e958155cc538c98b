"""The whole quickstart, small: from Python's documentation to a model that other tools open."""

import json
import random
import time

import pytest

from tests.end_to_end.cases import SMALL, lmwright

SUMMARY_NAMES = (
    "pipeline_seconds",
    "peak_rss_bytes",
    "documented_names",
    "heldout_exact_match_sft",
    "heldout_exact_match_dpo",
    "heldout_exact_match_paraphrase",
    "abstention_made_up",
    "abstention_misspelling",
    "abstention_wrong_attribute",
    "abstention_compound",
    "false_abstention",
    "heldout_exact_match_int8",
    "int8_size_ratio",
    "model_flops_utilization",
    "peak_flops_float32",
    "peak_flops_bfloat16",
    "processor_name",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    done = lmwright("run", "quickstart", *SMALL, runs=runs)
    assert done.returncode == 0, done.stdout + done.stderr
    return runs, done


def test_leaves_what_a_run_promises(finished):
    runs, done = finished
    folder = runs / "quickstart"
    for name in ("recipe.yaml", "summary.json", "metrics.jsonl", "report.html", "lineage.json"):
        assert (folder / name).stat().st_size > 0, name
    summary = json.loads((folder / "summary.json").read_text())
    missing = [name for name in SUMMARY_NAMES if summary.get(name) is None]
    assert not missing
    assert 0 < summary["int8_size_ratio"] < 0.5  # this model is nearly all embedding
    for line in ("lmwright chat", "lmwright serve", "report.html"):
        assert line in done.stdout
    report = (folder / "report.html").read_text()
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert "<svg" in report


def test_a_second_run_skips_everything(finished):
    runs, _ = finished
    before = {p: p.stat().st_mtime_ns for p in (runs / "quickstart").rglob("*.safetensors")}
    start = time.monotonic()
    again = lmwright("run", "quickstart", *SMALL, runs=runs)
    took = time.monotonic() - start
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(": kept, ") == 9
    assert {p: p.stat().st_mtime_ns for p in (runs / "quickstart").rglob("*.safetensors")} == before
    assert took < 60  # no promise of speed here: only that nothing was trained


def test_opens_in_transformers_with_the_same_text(finished):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from lmwright import engine

    folder = finished[0] / "quickstart" / "model"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    words = transformers.AutoTokenizer.from_pretrained(folder)
    ours = engine.LLM(folder)
    questions = [
        json.loads(line)["messages"]
        for line in (finished[0] / "quickstart/steps/corpus/output/questions/test.jsonl")
        .read_text()
        .splitlines()[:20]
    ]
    answers = ours.chat(questions, engine.SamplingParams(max_tokens=24))
    for question, answer in zip(questions, answers, strict=True):
        ids = words.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
        assert ids == ours.tokenizer.encode_chat(question)
        with torch.no_grad():
            out = theirs.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)
        expected = words.decode(out[0][len(ids) :], skip_special_tokens=True)
        assert answer.text == expected


def test_the_tokenizer_gives_transformers_the_same_ids(finished):
    transformers = pytest.importorskip("transformers")
    from lmwright import tokens

    folder = finished[0] / "quickstart" / "model"
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), tokens.load(folder)
    rng = random.Random(0)
    for _ in range(1000):
        high = rng.choice((127, 0x24F, 0xD7FF, 0x1FAFF))
        characters = [rng.randrange(1, high) for _ in range(rng.randrange(40))]
        text = "".join(chr(c) for c in characters if not 0xD800 <= c <= 0xDFFF)
        assert theirs.encode(text, add_special_tokens=False) == ours.encode(text)
        assert ours.decode(ours.encode(text)) == text


def test_chat_answers_from_a_script(finished):
    runs, _ = finished
    answer = lmwright("chat", "quickstart", "--prompt", "What does str.upper do?", runs=runs)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()


def test_the_last_steps_wrong_type_is_found_at_once(tmp_path):
    start = time.monotonic()
    refused = lmwright("run", "quickstart", "evaluation.questions=many", runs=tmp_path)
    assert refused.returncode == 2
    assert "evaluation.questions" in refused.stderr
    assert not (tmp_path / "quickstart").exists()
    assert time.monotonic() - start < 30
