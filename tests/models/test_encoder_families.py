"""Encoders against transformers: logits, gradients, files."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lmwright import models
from lmwright.core.errors import LmwrightError
from tests.models.cases import relative
from tests.models.transformers_cases import (
    ENCODERS,
    FIRST,
    class_of,
    config_of,
    logits_of,
    padded,
    reference,
    tokens_of,
)

SEEDS = range(4)
TASKS = ("masked_lm", "sequence_classification", "token_classification", "span_qa")
# At least this much is what logits must vary for a tolerance to mean something.
LOUD = 0.1


def segments(family, model, seed):
    """Token types where the family has them."""
    if family in ("distilbert", "modernbert"):
        return {}
    generator = torch.Generator().manual_seed(seed)
    kinds = model.config.type_vocab_size
    return {"token_type_ids": torch.randint(0, kinds, (3, 13), generator=generator)}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", ENCODERS)
def test_logits_equal_the_reference(family, seed, task, tmp_path):
    expected = reference(family, task, seed, tmp_path)
    tokens = tokens_of(expected, seed)
    given = segments(family, expected, seed)
    ours = models.load(tmp_path)

    assert ours.config.task == task
    with torch.no_grad():
        for side in ("none", "left", "right"):
            ids, mask = padded(tokens, side, (0, 4, 10) if side != "none" else ())
            logits = logits_of(expected(ids, attention_mask=mask, **given))
            found = ours(ids, attention_mask=mask, **given).logits
            if task != "sequence_classification":
                logits, found = logits[mask.bool()], found[mask.bool()]
            assert logits.square().mean().sqrt() >= LOUD
            assert relative(found, logits) <= 1e-5, side


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", ENCODERS)
def test_bfloat16_logits_equal_the_reference(family, seed, tmp_path):
    # The one activation that transformers rounds at each of its steps is left out.
    plain = {"hidden_act": "gelu"} if family in ("bert", "roberta") else {}
    expected = reference(family, "masked_lm", seed, tmp_path, torch.bfloat16, **plain)
    tokens = tokens_of(expected, seed)
    ours = models.load(tmp_path)

    with torch.no_grad():
        logits = expected(tokens).logits
        found = ours(tokens).logits
    assert found.dtype == torch.bfloat16
    assert logits.square().mean().sqrt() >= LOUD
    assert relative(found, logits) <= 2e-2


@pytest.mark.parametrize("family", ENCODERS)
def test_the_backbone_is_what_the_reference_calls_model(family, tmp_path):
    expected = reference(family, "backbone", 1, tmp_path)
    tokens, mask = padded(tokens_of(expected, 1), "right")
    ours = models.load(tmp_path)

    with torch.no_grad():
        states = expected(tokens, attention_mask=mask).last_hidden_state[mask.bool()]
        found = ours(tokens, attention_mask=mask)[mask.bool()]
    assert relative(found, states) <= 1e-5


@pytest.mark.parametrize("family", ENCODERS)
def test_gradients_equal_the_reference(family, tmp_path):
    expected = reference(family, "masked_lm", 3, tmp_path)
    tokens, mask = padded(tokens_of(expected, 3), "right")
    ours = models.load(tmp_path)

    for model in (ours, expected):
        logits = model(tokens, attention_mask=mask).logits[mask.bool()]
        logits.logsumexp(-1).square().mean().backward()

    # Under the published names, so that fused and renamed weights meet their partners.
    gradients = {name: weight.grad for name, weight in ours.named_parameters()}
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            weight.copy_(gradients[name])
    models.save(ours, tmp_path / "gradients")
    found = load_file(tmp_path / "gradients" / "model.safetensors")
    compared = 0
    for name, weight in expected.named_parameters():
        if weight.grad is None or name not in found:
            continue
        other = weight.grad
        if other.abs().max() < 1e-6:
            assert found[name].abs().max() < 1e-6  # a key's bias shifts all scores alike
            continue
        compared += 1
        if "word_embeddings" in name or "tok_embeddings" in name or "position" in name:
            # transformers holds padding's rows of a table still.
            rows = other.abs().sum(-1) > 0
            assert relative(found[name][rows], other[rows]) <= 1e-4, name
        else:
            assert relative(found[name], other) <= 1e-4, name
    assert compared >= 10


@pytest.mark.parametrize("task", [*TASKS, "backbone"])
@pytest.mark.parametrize("family", ENCODERS)
def test_round_trip_is_identical_to_the_bit(family, task, tmp_path):
    dtype = torch.bfloat16 if task == "masked_lm" else torch.float32
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    reference(family, task, 2, first, dtype=dtype)
    ours = models.load(first)

    models.save(ours, second)
    cls = class_of(family, task)
    opened, notes = cls.from_pretrained(second, dtype=dtype, output_loading_info=True)
    opened.save_pretrained(third)
    again = models.load(third)

    assert not any(notes.values()), notes
    assert again.config == ours.config
    assert again.state_dict().keys() == ours.state_dict().keys()
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
        assert weight.dtype == dtype


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_pooler_is_kept_beside_a_backbone(family, tmp_path):
    expected = reference(family, "backbone", 0, tmp_path / "first")

    models.save(models.load(tmp_path / "first", dtype=torch.bfloat16), tmp_path / "second")

    written = load_file(tmp_path / "second" / "model.safetensors")
    pooler = expected.state_dict()["pooler.dense.weight"]
    assert torch.equal(written["pooler.dense.weight"], pooler.bfloat16())


def test_bert_as_its_pre_training_published_it(tmp_path):
    config = config_of("bert", 0, tie_word_embeddings=True)
    expected = transformers.BertForPreTraining(config).eval()
    expected.save_pretrained(tmp_path)
    tokens = tokens_of(expected, 0)

    ours = models.load(tmp_path)

    assert ours.config.task == "masked_lm"
    assert relative(ours(tokens).logits, expected(tokens).prediction_logits) <= 1e-5


def test_names_of_very_old_files(tmp_path):
    """gamma and beta, a stored table of positions, an embedding stored twice."""
    expected = reference("bert", "masked_lm", 1, tmp_path, tie_word_embeddings=True)
    weights = {}
    for name, weight in expected.state_dict().items():
        if "LayerNorm" in name:
            name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        weights[name] = weight.clone()
    weights["bert.embeddings.position_ids"] = torch.arange(24)[None]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    tokens = tokens_of(expected, 1)

    assert relative(models.load(tmp_path)(tokens).logits, expected(tokens).logits) <= 1e-5


def test_older_modernbert_files(tmp_path):
    """Which layers are local, and the two thetas, by their old keys."""
    expected = reference("modernbert", "masked_lm", 1, tmp_path, num_hidden_layers=5)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    del values["rope_parameters"], values["layer_types"]
    values |= {
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160_000.0,
        "local_rope_theta": 10_000.0,
    }
    path.write_text(json.dumps(values))
    tokens = tokens_of(expected, 1, length=21)

    assert relative(models.load(tmp_path)(tokens).logits, expected(tokens).logits) <= 1e-5


def test_roberta_counts_positions_from_tokens_and_not_from_the_mask(tmp_path):
    """Its reference does: padding that the mask forgets still has no position."""
    expected = reference("roberta", "backbone", 2, tmp_path)
    tokens, _ = padded(tokens_of(expected, 2), "left", (0, 5, 0))

    found = models.load(tmp_path)(tokens)

    assert relative(found, expected(tokens).last_hidden_state) <= 1e-5


@pytest.mark.parametrize("family", ENCODERS)
def test_a_new_model_begins_as_good_as_guessing(family, tmp_path):
    reference(family, "masked_lm", 4, tmp_path)
    ours = models.load(tmp_path)

    ours.initialize(seed=0)
    first = {name: weight.clone() for name, weight in ours.state_dict().items()}
    tokens = tokens_of(ours, 0)
    loss = torch.nn.functional.cross_entropy(ours(tokens).logits.flatten(0, 1), tokens.flatten())
    ours.initialize(seed=0)

    guessing = torch.tensor(float(ours.config.vocab_size)).log()
    assert abs(loss.item() - guessing.item()) < 0.3
    # What training left in a bias, a new start forgets.
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, first[name]), name


def test_an_unknown_kind_of_token(tmp_path):
    reference("bert", "masked_lm", 0, tmp_path, type_vocab_size=2)
    ours = models.load(tmp_path)
    tokens = torch.full((1, 3), FIRST)

    with pytest.raises(LmwrightError, match=r"token_type_ids has 2; .* 0 \.\.\. 1"):
        ours(tokens, token_type_ids=torch.tensor([[0, 1, 2]]))


def test_a_config_that_asks_for_what_we_lack(tmp_path):
    reference("modernbert", "masked_lm", 0, tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text()) | {"embedding_dropout": 0.1}
    path.write_text(json.dumps(values))

    with pytest.raises(LmwrightError, match=r"embedding_dropout is 0\.1"):
        models.load(tmp_path)
