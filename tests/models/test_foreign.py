"""Families that we lack, through transformers: the same call, training, evaluation, exchange."""

import builtins
import json
import math

import pytest
import torch
import transformers

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.evaluation.likelihood import answer_loss, bits_per_byte
from lmwright.models.documents import Documents
from lmwright.models.foreign import Foreign
from lmwright.tokens.loader import Loader
from lmwright.tokens.tokenizer import train
from lmwright.training.budget import TrainingPlan
from lmwright.training.callbacks import Callback
from lmwright.training.objectives.causal_lm import CausalLM
from lmwright.training.objectives.classification import Classification
from lmwright.training.objectives.masked_lm import MaskedLM
from lmwright.training.optimizers import build
from lmwright.training.trainer import Trainer
from lmwright.training.validation import ValidationLoss
from tests.models.cases import relative
from tests.training.cases import random_rows
from tests.training.small_models import random_examples

V = 61
DECODERS = {
    "opt": transformers.OPTConfig(
        vocab_size=V, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, word_embed_proj_dim=32, dropout=0.0,
    ),
    "phi": transformers.PhiConfig(
        vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64,
    ),
    "gptj": transformers.GPTJConfig(
        vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    ),
}  # fmt: skip
"""One whose positions follow the mask, one with a biased projection, one of another rotation."""


def saved(config, folder, opener="AutoModelForCausalLM", seed=0):
    """A random transformers model, saved."""
    torch.manual_seed(seed)
    model = getattr(transformers, opener).from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return model


def load(folder, **options):
    return models.load(folder, implementation="transformers", **options)


def random_ids(rows=3, length=11, seed=1):
    return torch.randint(1, V, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=DECODERS)
def decoder(request, tmp_path):
    return saved(DECODERS[request.param], tmp_path / "theirs"), load(tmp_path / "theirs")


def test_the_call_and_its_two_halves(decoder):
    theirs, ours = decoder
    ids = random_ids()
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)
        expected = theirs(ids, attention_mask=mask).logits
        assert torch.equal(ours(ids, attention_mask=mask).logits, expected)
        hidden = ours.hidden_states(ids)
        bias = 0 if ours.output_bias is None else ours.output_bias
        assert relative(ours.project(hidden), theirs(ids).logits) <= 1e-5
        assert relative(hidden @ ours.output_weight.T + bias, theirs(ids).logits) <= 1e-5
        # Taking the projection aside left no trace.
        assert torch.equal(ours(ids).logits, theirs(ids).logits)


def test_families_that_scale_their_logits(tmp_path):
    shape = {
        "vocab_size": V, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    for config in (
        transformers.GraniteConfig(**shape, logits_scaling=8.0),
        transformers.CohereConfig(**shape, logit_scale=0.25),
    ):
        folder = tmp_path / config.model_type
        theirs, ours = saved(config, folder), load(folder)
        with torch.no_grad():
            expected = theirs(random_ids()).logits
            assert relative(ours.project(ours.hidden_states(random_ids())), expected) <= 1e-5


def test_documents_of_a_packed_row_do_not_see_each_other(decoder):
    _, ours = decoder
    ids = random_ids(2, 12)
    documents = torch.tensor([[1] * 5 + [2] * 4 + [0] * 3, [3] * 12])
    positions = torch.tensor([[*range(5), *range(4), 0, 0, 0], [*range(12)]])
    with torch.no_grad():
        for states in (ours.hidden_states, lambda *a, **k: ours(*a, **k).logits):
            packed = states(ids, position_ids=positions, document_ids=documents)
            for row, start, stop in ((0, 0, 5), (0, 5, 9), (1, 0, 12)):
                alone = states(ids[row : row + 1, start:stop])
                assert relative(packed[row : row + 1, start:stop], alone) <= 1e-5


def test_documents_apart_and_together():
    draw = torch.Generator().manual_seed(0)
    for _ in range(30):
        ids = torch.randint(0, 4, (3, 14), generator=draw).sort(dim=1).values
        ids = ids.flip(1) if torch.rand((), generator=draw) < 0.5 else ids
        values = torch.randn(3, 14, 2, generator=draw)
        documents = Documents(ids)
        apart = documents.apart(values)
        assert torch.equal(documents.together(apart), values * (ids != 0)[..., None])
        runs = [row.unique_consecutive(return_counts=True) for row in ids]
        lengths = [int(n) for kinds, counts in runs for n in counts[kinds != 0]]
        assert documents.mask.sum(dim=1).tolist() == lengths


def trainer(model, folder, steps=20, objective=None, data=None):
    return Trainer(
        model,
        objective or CausalLM(),
        data or Loader(random_rows(4), batch_rows=8, seed=1),
        build(
            model, None, name="adamw", learning_rate=1e-2, matrix_learning_rate=1e-2,
            weight_decay=0.0,
        ),
        TrainingPlan(steps=steps, micro_rows=4, threads=1),
        folder=folder,
        note=lambda text: None,
    )  # fmt: skip


def test_training_lowers_the_loss_and_what_is_saved_is_the_same(decoder, tmp_path):
    _, ours = decoder
    measure = ValidationLoss(random_rows(9), CausalLM(), 0)
    before = measure(ours)["validation_loss"]
    ours.train()
    trainer(ours, tmp_path / "work").train()
    ours.eval()
    after = measure(ours)["validation_loss"]
    assert after < 0.8 * before
    models.save(ours, tmp_path / "trained", eos_token_id=[1, 2])
    again = load(tmp_path / "trained")
    ids = random_ids()
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, again(ids).logits)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "trained").eval()
        assert torch.equal(theirs(ids).logits, again(ids).logits)
    assert measure(again)["validation_loss"] == after
    assert json.loads((tmp_path / "trained" / "config.json").read_text())["eos_token_id"] == [1, 2]


def test_the_loss_of_packed_rows_is_the_sum_over_documents(decoder):
    """Independent: transformers' own logits of every document alone, and torch's cross-entropy."""
    theirs, ours = decoder
    batch = next(iter(Loader(random_rows(4), batch_rows=4, seed=1)))
    total = 0.0
    with torch.no_grad():
        found = CausalLM().loss(ours, batch)
        for row in range(len(batch)):
            for document in batch.document_ids[row].unique():
                where = batch.document_ids[row] == document
                logits = theirs(batch.input_ids[row][where][None]).logits[0]
                targets = batch.targets[row][where]
                total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    assert abs(float(found.loss) - float(total)) <= 1e-4 * float(total)


def test_evaluation_by_likelihood(decoder):
    """Bits per byte and answer losses, which evaluation reports of every model."""
    _, ours = decoder
    words = train(["the cat sat on the mat", "a cat is no dog"] * 9, 259)
    theirs = transformers.AutoModelForCausalLM.from_config(
        type(ours.config).from_dict(ours.config.to_dict() | {"vocab_size": words.vocab_size})
    ).eval()
    model = Foreign(theirs, "causal_lm")
    text = "the dog sat on the cat"
    found = bits_per_byte(model, words, [text], row_length=64)
    ids = torch.tensor([[*words.encode(text), words.eos_token_id]])
    with torch.no_grad():
        logits = theirs(ids).logits[0, :-1]
    nats = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
    spelled = len(text) - len(words.token_bytes[int(ids[0, 0])])  # nothing predicts the first
    expected = float(nats) / math.log(2) / spelled
    assert found.value == pytest.approx(expected, rel=1e-5)
    chats = [[{"role": "user", "content": "cat?"}, {"role": "assistant", "content": "mat"}]]
    assert 0 < answer_loss(model, words, chats) < 20


def test_masked_classifying_and_two_stack_models(tmp_path):
    config = transformers.ElectraConfig(
        vocab_size=V, hidden_size=32, embedding_size=16, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_labels=2,
    )  # fmt: skip
    ids, segments = random_ids(), torch.ones(3, 11, dtype=torch.long)
    for task, opener in (
        ("masked_lm", "AutoModelForMaskedLM"),
        ("sequence_classification", "AutoModelForSequenceClassification"),
        ("token_classification", "AutoModelForTokenClassification"),
        ("span_qa", "AutoModelForQuestionAnswering"),
    ):
        theirs = saved(config, tmp_path / task, opener)
        ours = load(tmp_path / task)
        assert ours.task == task
        with torch.no_grad():
            found = ours(ids, token_type_ids=segments).logits
            expected = theirs(ids, token_type_ids=segments)
            if task == "span_qa":
                assert torch.equal(found[..., 1], expected.end_logits)
            else:
                assert torch.equal(found, expected.logits)
            if task == "masked_lm":
                assert relative(ours.project(ours.hidden_states(ids)), ours(ids).logits) <= 1e-5
            else:
                with pytest.raises(LmwrightError, match="no output projection"):
                    ours.hidden_states(ids)
    config = transformers.PegasusConfig(
        vocab_size=V, d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=48,
        decoder_ffn_dim=48, encoder_attention_heads=4, decoder_attention_heads=4,
    )  # fmt: skip
    theirs = saved(config, tmp_path / "two", "AutoModelForSeq2SeqLM")
    ours = load(tmp_path / "two")
    with torch.no_grad():
        expected = theirs(ids, decoder_input_ids=ids[:, :5]).logits
        assert torch.equal(ours(ids, decoder_input_ids=ids[:, :5]).logits, expected)
        hidden = ours.hidden_states(ids, decoder_input_ids=ids[:, :5])
        assert relative(ours.project(hidden), expected) <= 1e-5
    with pytest.raises(LmwrightError, match="cannot take packed rows"):
        ours(ids, decoder_input_ids=ids, document_ids=torch.ones_like(ids))


class Repeated:
    """The same batch for ever."""

    def __init__(self, batch):
        self.batch = batch

    def __iter__(self):
        while True:
            yield self.batch

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize("task", ["sequence_classification", "masked_lm"])
def test_other_objectives_train_them_too(task, tmp_path):
    config = transformers.ElectraConfig(
        vocab_size=V, hidden_size=32, embedding_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_labels=3,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    saved(config, tmp_path)
    model = load(tmp_path, task=task)
    batch = random_examples(8, 12, lambda g, mask: torch.randint(0, 3, (8,), generator=g))
    if task == "masked_lm":
        objective = MaskedLM(V, mask_token_id=3, special_token_ids=[0, 1, 2, 4], fraction=0.3)
    else:
        objective = Classification()
    losses = []
    run = trainer(model.train(), tmp_path / "work", 40, objective, Repeated(batch))
    run.callbacks.append(Notes(losses))
    run.train()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


class Notes(Callback):
    def __init__(self, losses):
        self.losses = losses

    def on_step(self, trainer, result):
        self.losses.append(result.loss)


def test_a_new_head_for_another_task(tmp_path):
    saved(DECODERS["opt"], tmp_path)
    first = load(tmp_path, task="sequence_classification")
    again = load(tmp_path, task="sequence_classification")
    ids = random_ids()
    assert first(ids[:1]).logits.shape == (1, 2)
    assert torch.equal(first(ids[:1]).logits, again(ids[:1]).logits)


def test_what_cannot_be_done_is_said(tmp_path):
    saved(transformers.BloomConfig(vocab_size=V, hidden_size=32, n_head=4), tmp_path / "bloom")
    bloom = load(tmp_path / "bloom")
    ids = random_ids()
    with pytest.raises(LmwrightError, match="BloomForCausalLM takes no position_ids"):
        bloom(ids, position_ids=torch.arange(11)[None] + 3)
    with pytest.raises(LmwrightError, match="takes no token_type_ids"):
        bloom(ids, token_type_ids=torch.ones_like(ids))
    with pytest.raises(LmwrightError, match="our engine cannot generate with"):
        bloom(ids, cache=object())
    capped = transformers.Gemma2Config(
        vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.1,
    )  # fmt: skip
    saved(capped, tmp_path / "capped")
    with pytest.raises(LmwrightError, match="does more to its logits than project"):
        load(tmp_path / "capped").hidden_states(ids)


def test_an_unknown_family_says_how_it_opens(tmp_path):
    saved(DECODERS["phi"], tmp_path)
    with pytest.raises(LmwrightError) as caught:
        models.load(tmp_path)
    assert "model_type 'phi' is not a family we have" in str(caught.value)
    assert "implementation: transformers" in str(caught.value)


def test_code_in_a_folder_is_never_run(tmp_path):
    saved(DECODERS["opt"], tmp_path)
    (tmp_path / "modeling_evil.py").write_text("open('RUN', 'w')")
    path = tmp_path / "config.json"
    evil = {
        "model_type": "evil",
        "auto_map": {
            "AutoConfig": "modeling_evil.Config",
            "AutoModelForCausalLM": "modeling_evil.Model",
        },
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | evil))
    with pytest.raises(LmwrightError, match="transformers cannot open"):
        load(tmp_path)


def test_missing_weights_and_missing_files(tmp_path):
    saved(DECODERS["opt"], tmp_path)
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    name = next(name for name in weights if "fc1.weight" in name)
    save_file(
        {k: v for k, v in weights.items() if k != name},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(LmwrightError, match=f"missing weights: .*{name}"):
        load(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LmwrightError, match="transformers cannot open"):
        load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(LmwrightError, match="transformers cannot open"):
        load(tmp_path)


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    saved(DECODERS["opt"], tmp_path)
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "transformers":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LmwrightError, match=r"needs the package transformers\n.*lmwright\[foreign"):
        load(tmp_path)


def test_a_failed_save_leaves_the_old_folder_whole(tmp_path):
    saved(DECODERS["opt"], tmp_path / "theirs")
    ours = load(tmp_path / "theirs")
    assert isinstance(ours, Foreign)
    models.save(ours, tmp_path / "ours")

    class BrokenTokenizer:
        def save(self, folder):
            raise RuntimeError("no")

    assert len({path.stat().st_mode for path in (tmp_path / "ours").iterdir()}) == 1
    before = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    with pytest.raises(RuntimeError):
        models.save(ours, tmp_path / "ours", tokenizer=BrokenTokenizer())
    assert {p.name: p.read_bytes() for p in (tmp_path / "ours").iterdir()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(LmwrightError, match="will not be overwritten"):
        models.save(ours, tmp_path / "other")
