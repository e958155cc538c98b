"""The inference benchmark: files for peers, floors, who takes part, and what quality is."""

import importlib
import json
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file

from lmwright import models, tokens
from lmwright.models.gguf import reader, vocabulary
from lmwright.models.gguf.container import GGUFFile

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TEXTS = ["def f(x):\n    return x + 1\n", "What does str.upper do? It's the 2nd one.", "ä€ 😀"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model as the benchmark writes them, its tokenizer learned from little."""
    from lmwright.models.config import TransformerConfig
    from lmwright.models.transformer import Decoder
    from lmwright.tokens.tokenizer import train

    path = tmp_path_factory.mktemp("models") / "tiny"
    words = train(TEXTS * 3, vocab_size=300)
    model = Decoder(
        TransformerConfig(
            vocab_size=words.vocab_size,
            hidden_size=128,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=64,
            max_position_embeddings=128,
            eos_token_id=words.eos_token_id,
        )
    )
    model.initialize(3)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(1.0 if weight.ndim == 1 else 0.0, 0.1, generator=draw)
    models.save(model, path, tokenizer=words, eos_token_id=words.eos_token_id)
    return path


def test_the_gguf_file_holds_the_folders_weights(folder, tmp_path):
    importlib.import_module("gguf_file").write_llama(folder, tmp_path / "m.gguf", "f32")
    values, weights = reader.read(tmp_path / "m.gguf")
    expected = load_file(folder / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    config = json.loads((folder / "config.json").read_text())
    for name in ("num_key_value_heads", "head_dim", "intermediate_size", "vocab_size"):
        assert values[name] == config[name]


@pytest.mark.parametrize(("kind", "bound"), [("q8_0", 0.01), ("q4_0", 0.12)])
def test_a_quantised_gguf_file_is_near_and_small(folder, tmp_path, kind, bound):
    path = tmp_path / "m.gguf"
    importlib.import_module("gguf_file").write_llama(folder, path, kind)
    file, stored = GGUFFile(path), gguf.GGMLQuantizationType[kind.upper()]
    types = {info.type_id for info in file.tensors.values() if len(info.shape) > 1}
    assert types == {int(stored)}, "every matrix, so that the file is as fast as it can be"
    found = models.load(path).state_dict()
    original = models.load(folder).state_dict()
    for name, weight in original.items():
        apart = (found[name] - weight).square().mean() / weight.square().mean()
        assert apart.sqrt() < bound, name


def test_the_gguf_file_cuts_text_into_the_same_tokens(folder, tmp_path):
    importlib.import_module("gguf_file").write_llama(folder, tmp_path / "m.gguf", "q8_0")
    theirs, ours = vocabulary.tokenizer(tmp_path / "m.gguf"), tokens.load(folder)
    for text in TEXTS:
        assert theirs.decode(ours.encode(text)) == text
        assert theirs.encode(text) == ours.encode(text)
    assert theirs.eos_token_id == ours.eos_token_id


def test_prompts_of_a_task_are_its_own():
    task_class = importlib.import_module("inference_contenders").Task
    prompts = task_class(3, 50, 4, seed=1).prompts(300)
    assert [len(ids) for ids in prompts] == [50] * 3
    assert all(8 <= token < 300 for ids in prompts for token in ids)
    assert prompts == task_class(3, 50, 9, seed=1).prompts(300)
    assert prompts != task_class(3, 50, 4, seed=2).prompts(300)
    assert len({tuple(ids) for ids in prompts}) == 3, "no two share a cache"


def test_the_floor_of_a_step_by_hand(folder):
    contenders = importlib.import_module("inference_contenders")
    limits = importlib.import_module("machine_limits").Limits(1e9, 2e9, 8e9, 30_000, True)
    floor = importlib.import_module("inference_floor").floor_of(folder, 8)
    vocabulary_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    # Per block: queries and output 128 x 128, keys and values 128 x 64, three of 128 x 96.
    matrices = 2 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 96) + vocabulary_size * 128
    assert floor.weight_bytes == pytest.approx(matrices * 130 / 128)
    assert not floor.fits(limits)
    # One at a time memory decides: all weights, and 100 + 8 tokens of keys and values in 2 bytes.
    cached = 108 * 2 * 2 * 64 * 2
    decode = contenders.Task(1, 100, 16)
    assert floor.seconds(decode, limits, reading=False) == pytest.approx(
        (matrices * 130 / 128 + cached) / 1e9
    )
    # Many at once the products do: two operations a weight, and two for each of the scores' parts.
    many = contenders.Task(1_000, 100, 16)
    operations = 2 * matrices + 2 * 2 * 2 * 108 * 128
    expected = max(operations / 8e9, (matrices * 130 / 128 / 1_000 + cached) / 1e9)
    assert floor.seconds(many, limits, reading=False) == pytest.approx(expected)
    # Reading, only the last token of 50 is scored, and each sees 25 others on average.
    body = matrices - vocabulary_size * 128
    operations = 2 * body + 2 * 2 * 2 * 25 * 128 + 2 * vocabulary_size * 128 / 50
    read = floor.seconds(contenders.Task(1, 50, 1), limits, reading=True)
    assert read == pytest.approx(operations / 8e9)


class FakeProcess:
    """A contender of known speeds, in tokens per second by setting."""

    def __init__(self, name, speeds):
        self.name = self.label = name
        self.speeds = dict(speeds)
        self.settings = [{"threads": number} for number in self.speeds]
        self.ran = []

    def run(self, task, setting, seconds=0.0):
        timing = importlib.import_module("inference_contenders").Timing
        self.ran.append((task, setting["threads"]))
        speed = self.speeds[setting["threads"]]
        if speed is None:
            raise RuntimeError("it does not work")
        prefill, decode = task.prompt_tokens, task.new_tokens - 1
        return [timing(task.batch * prefill / speed, task.batch * decode / speed)]


@pytest.fixture
def benchmark():
    return importlib.import_module("inference_vs_peers")


@pytest.fixture
def work(benchmark):
    task = importlib.import_module("inference_contenders").Task
    return benchmark.Work("decode", task(1, 10, 5), task(1, 10, 3), False, None)


def test_everyone_runs_at_the_best_setting_and_the_hopeless_sit_out(benchmark, work):
    ours = FakeProcess("lmwright", {1: 10.0})
    quick = FakeProcess("quick", {1: 50.0, 2: 100.0, 3: None})
    slow, broken = FakeProcess("slow", {1: 49.0}), FakeProcess("broken", {1: None})
    known = {}
    entrants = benchmark.trials([ours, quick, slow, broken], work, known)
    assert [(e.process.name, e.setting["threads"]) for e in entrants] == [
        ("lmwright", 1),
        ("quick", 2),
    ]
    quick.ran.clear()
    benchmark.trials([ours, quick], work, known)
    assert {threads for _, threads in quick.ran} == {2}, "what is known is not looked for again"


def test_rows_compare_with_the_best_peer_round_by_round(benchmark, work, folder):
    limits = importlib.import_module("machine_limits").Limits(1e9, 2e9, 8e9, 30_000, True)
    floor = importlib.import_module("inference_floor").floor_of(folder, 8)
    shape = importlib.import_module("inference_models").TOY
    processes = [FakeProcess("lmwright", {1: 300.0}), FakeProcess("a", {1: 100.0})]
    processes.append(FakeProcess("b", {1: 150.0}))
    speeds = iter((1e9, 3e9) * 3)  # before and after each turn of ours
    row, share = benchmark.compare(
        shape, 8, processes, work, limits, floor, 3, {}, lambda: next(speeds)
    )
    assert row.peer.startswith("b ")
    assert row.values == pytest.approx([2.0] * 3)
    assert row.target == benchmark.DECODE_OUT_OF_CACHE
    assert "a 100" in row.note
    seconds = floor.seconds(work.task, limits, reading=False)
    assert row.share_of_peak == pytest.approx(300 * seconds / 2), "of what memory gave then"
    assert share.values == pytest.approx([300 * seconds / 2] * 3)
    assert share.target == 0.8
    seeds = [task.seed for task, _ in processes[0].ran[2:]]
    assert seeds == [1, 2, 3], "every round has prompts of its own"


def test_short_work_is_done_again_with_other_prompts():
    contenders = importlib.import_module("inference_contenders")
    processes = importlib.import_module("inference_processes")
    seeds = []

    class Quick:
        def run(self, task, setting):
            seeds.append(task.seed)
            return contenders.Timing(0.25, 0.25)

    timings = processes._repeated(Quick(), contenders.Task(1, 4, 2, seed=3), {}, 1.2)
    assert len(timings) == 3
    assert len(set(seeds)) == 3
    assert len(processes._repeated(Quick(), contenders.Task(1, 4, 2), {}, 0.0)) == 1


def test_targets_depend_on_the_machine(benchmark, folder):
    machine = importlib.import_module("machine_limits").Limits
    floor = importlib.import_module("inference_floor").floor_of(folder, 8)
    decode, batched, *_, prefill = benchmark.works(benchmark.MIDDLE, toy=False)
    cached = machine(1e9, 2e9, 8e9, 1 << 30, True)
    assert [benchmark._target(w, cached, floor) for w in (decode, batched, prefill)] == [
        1.8,
        2.5,
        2,
    ]
    old = machine(1e9, 2e9, 8e9, 1 << 30, False)
    assert [benchmark._target(w, old, floor) for w in (decode, batched, prefill)] == [1, 1, 1]


def test_a_peer_that_is_not_there_says_so(folder):
    contenders = importlib.import_module("inference_contenders")
    processes = importlib.import_module("inference_processes")
    spec = contenders.Spec("transformers", folder / "nowhere", 300, 1, {"dtype": "float32"})
    with processes.started([spec]) as (process,):
        task = contenders.Task(1, 4, 2)
        assert process.absent is None
        with pytest.raises(RuntimeError, match=r"transformers .*nowhere"):
            process.run(task, process.settings[0])
    with processes.started([contenders.Spec("ours", folder, 300, 1)]) as (process,):
        assert "KeyError" in process.absent


def test_bits_per_byte_are_the_evaluations(folder, monkeypatch):
    """Texts shorter than a row, which the evaluation cuts nowhere; the model computed eagerly."""
    from lmwright.engine import native
    from lmwright.evaluation import likelihood

    class Eager:
        def __init__(self, model, **options):
            self.model = model

        def forward(self, batch):
            with torch.no_grad():
                return self.model(batch.token_ids[None]).logits[0, batch.logit_rows]

    monkeypatch.setattr(native, "open_runner", Eager)
    quality = importlib.import_module("inference_quality")
    model, words = models.load(folder), tokens.load(folder)
    rows = list(quality._rows(words, TEXTS, 128))
    found = quality.bits_per_byte(model, rows, words, "fp32", None)
    expected = likelihood.bits_per_byte(model, words, TEXTS, 128).value
    assert found == pytest.approx(expected, rel=1e-5)
    cut = list(quality._rows(words, TEXTS, 7))
    assert max(map(len, cut)) == 7
    assert min(map(len, cut)) >= 2
