"""Encoder-decoders against transformers: logits, caches, gradients, files, greedy text."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.engine.growing import GrowingCache
from tests.models.cases import relative
from tests.models.transformers_cases import (
    ENCODER_DECODERS,
    EOS,
    FIRST,
    class_of,
    config_of,
    logits_of,
    padded,
    reference,
    tokens_of,
)

SEEDS = range(4)
LOUD = 0.1
TASK = "sequence_to_sequence"


def targets_of(model, seed, rows=3, length=9):
    """What is written so far, begun as the family begins."""
    targets = tokens_of(model, seed + 100, rows, length)
    targets[:, 0] = model.config.decoder_start_token_id
    return targets


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_logits_equal_the_reference(family, seed, tmp_path):
    expected = reference(family, TASK, seed, tmp_path)
    tokens, targets = tokens_of(expected, seed), targets_of(expected, seed)
    ours = models.load(tmp_path)

    with torch.no_grad():
        for side in ("none", "left", "right"):
            ids, mask = padded(tokens, side, (0, 4, 10) if side != "none" else ())
            logits = expected(ids, attention_mask=mask, decoder_input_ids=targets).logits
            assert logits.square().mean().sqrt() >= LOUD
            found = ours(ids, attention_mask=mask, decoder_input_ids=targets).logits
            assert relative(found, logits) <= 1e-5, side


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_padding_in_what_is_written(family, side, tmp_path):
    expected = reference(family, TASK, 1, tmp_path)
    tokens, (targets, mask) = (
        tokens_of(expected, 1),
        padded(targets_of(expected, 1), side, (0, 3, 5)),
    )
    ours = models.load(tmp_path)

    given = {"decoder_input_ids": targets, "decoder_attention_mask": mask}
    with torch.no_grad():
        logits = expected(tokens, **given).logits[mask.bool()]
        assert relative(ours(tokens, **given).logits[mask.bool()], logits) <= 1e-5


@pytest.mark.parametrize("seed", SEEDS[:2])
@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_bfloat16_logits_equal_the_reference(family, seed, tmp_path):
    expected = reference(family, TASK, seed, tmp_path, torch.bfloat16, std=0.2, **PLAIN[family])
    tokens, targets = tokens_of(expected, seed), targets_of(expected, seed)
    ours = models.load(tmp_path)

    with torch.no_grad():
        logits = expected(tokens, decoder_input_ids=targets).logits
        found = ours(tokens, decoder_input_ids=targets).logits
    assert found.dtype == torch.bfloat16
    assert logits.square().mean().sqrt() >= LOUD
    assert relative(found, logits) <= 2e-2


# Activations that transformers computes in one piece: others it rounds at each step.
PLAIN = {family: {} for family in ENCODER_DECODERS} | {
    "t5_v1_1": {"feed_forward_proj": "gated-silu"}
}


@pytest.mark.parametrize("seed", SEEDS[:2])
@pytest.mark.parametrize("blocks", [[1] * 9, [4, 1, 1, 3]], ids=["steps", "uneven"])
@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_with_a_cache(family, blocks, seed, tmp_path):
    expected = reference(family, TASK, seed, tmp_path)
    tokens, mask = padded(tokens_of(expected, seed), "right")
    targets = targets_of(expected, seed)
    ours, cache, found = models.load(tmp_path), GrowingCache(), []

    with torch.no_grad():
        memory = ours.encode(tokens, mask)
        for block in blocks:
            start = len(cache)
            positions = torch.arange(start, start + block)[None]
            part = targets[:, start : start + block]
            states = ours.decoder_states(part, memory, mask, None, positions, cache)
            found.append(ours.project(states))
            memory = torch.zeros_like(memory)  # looked at once: its keys are in the cache
        logits = expected(tokens, attention_mask=mask, decoder_input_ids=targets).logits
    assert relative(torch.cat(found, 1), logits) <= 1e-5


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_gradients_equal_the_reference(family, tmp_path):
    expected = reference(family, TASK, 2, tmp_path)
    tokens, mask = padded(tokens_of(expected, 2), "right")
    targets = targets_of(expected, 2)
    ours = models.load(tmp_path)

    for model in (ours, expected):
        logits = model(tokens, attention_mask=mask, decoder_input_ids=targets).logits
        logits.logsumexp(-1).square().mean().backward()

    with torch.no_grad():
        for weight in ours.parameters():
            weight.copy_(weight.grad)
    models.save(ours, tmp_path / "gradients")
    found = load_file(tmp_path / "gradients" / "model.safetensors")
    compared = 0
    for name, weight in expected.named_parameters():
        other = weight.grad
        if other is None or name not in found:
            continue
        if other.abs().max() < 1e-6:
            assert found[name].abs().max() < 1e-6  # a key's bias shifts all scores alike
            continue
        compared += 1
        # transformers holds padding's row of the embedding still.
        rows = other.abs().sum(-1) > 0 if "shared" in name else slice(None)
        assert relative(found[name][rows], other[rows]) <= 1e-4, name
    assert compared >= 20


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_round_trip_is_identical_to_the_bit(family, tmp_path):
    dtype = torch.bfloat16 if family == "bart" else torch.float32
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    reference(family, TASK, 3, first, dtype=dtype)
    ours = models.load(first)

    models.save(ours, second)
    opened, notes = class_of(family, TASK).from_pretrained(
        second, dtype=dtype, output_loading_info=True
    )
    opened.save_pretrained(third)
    again = models.load(third)

    assert not any(notes.values()), notes
    assert again.config == ours.config
    assert again.state_dict().keys() == ours.state_dict().keys()
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
        assert weight.dtype == dtype


@pytest.mark.parametrize("family", ["t5", "t5_v1_1", "bart"])
def test_a_classifier_reads_the_text_twice_and_its_end_speaks(family, tmp_path):
    expected = reference(family, "sequence_classification", 1, tmp_path, num_labels=4)
    tokens, mask = padded(tokens_of(expected, 1), "right", (1, 4, 10))
    tokens[range(3), mask.sum(1) - 1] = EOS
    ours = models.load(tmp_path)

    with torch.no_grad():
        logits = expected(tokens, attention_mask=mask).logits
        assert relative(ours(tokens, attention_mask=mask).logits, logits) <= 1e-5
    models.save(ours, tmp_path / "again")
    assert models.load(tmp_path / "again").config == ours.config
    with pytest.raises(LmwrightError, match="no end-of-sequence token"):
        ours(torch.full((1, 4), FIRST))


@pytest.mark.parametrize("family", ["t5", "t5_v1_1", "bart"])
def test_spans(family, tmp_path):
    expected = reference(family, "span_qa", 1, tmp_path)
    tokens, mask = padded(tokens_of(expected, 1), "right")
    ours = models.load(tmp_path)

    with torch.no_grad():
        logits = logits_of(expected(tokens, attention_mask=mask))
        assert relative(ours(tokens, attention_mask=mask).logits, logits) <= 1e-5


def test_t5_s_encoder_alone(tmp_path):
    """Tagging and sentence vectors need no decoder, and may begin from a model that has one."""
    expected = reference("t5", "token_classification", 1, tmp_path / "tagger", num_labels=5)
    tokens, mask = padded(tokens_of(expected, 1), "left")
    ours = models.load(tmp_path / "tagger")
    with torch.no_grad():
        logits = expected(tokens, attention_mask=mask).logits[mask.bool()]
        found = ours(tokens, attention_mask=mask).logits[mask.bool()]
    assert relative(found, logits) <= 1e-5

    whole = reference("t5", TASK, 1, tmp_path / "whole")
    encoder = models.load(tmp_path / "whole", task="backbone")
    with torch.no_grad():
        states = whole.encoder(tokens, attention_mask=mask).last_hidden_state[mask.bool()]
        found = encoder(tokens, attention_mask=mask)[mask.bool()]
    assert relative(found, states) <= 1e-5
    models.save(encoder, tmp_path / "encoder")
    assert models.load(tmp_path / "encoder").config == encoder.config


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_greedy_text_equals_the_reference(family, tmp_path):
    # transformers' cache of T5 has room for as many blocks as the encoder has.
    even = {"num_layers": 2, "num_decoder_layers": 2} if "t5" in family else {}
    expected = reference(family, TASK, 1, tmp_path, **even)
    tokens, mask = padded(tokens_of(expected, 1), "right")
    ours, cache = models.load(tmp_path), GrowingCache()

    last = torch.full((3, 1), ours.config.decoder_start_token_id)
    written = [last]
    with torch.no_grad():
        memory = ours.encode(tokens, mask)
        for place in range(20):
            at = torch.full((1, 1), place)
            logits = ours.project(ours.decoder_states(last, memory, mask, None, at, cache))
            last = logits[:, -1].argmax(-1, keepdim=True)
            written.append(last)
        text = expected.generate(
            tokens, attention_mask=mask, do_sample=False, max_new_tokens=20, eos_token_id=None
        )

    assert torch.equal(torch.cat(written, 1)[:, : text.shape[1]], text)
    assert text.shape[1] > 10


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_transformers_knows_from_our_folder_how_to_begin_and_end(family, tmp_path):
    reference(family, TASK, 1, tmp_path / "first", **({"num_layers": 3} if "t5" in family else {}))
    models.save(models.load(tmp_path / "first"), tmp_path / "second")

    opened = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "second")

    given = opened.generation_config
    start = opened.config.decoder_start_token_id
    assert (given.decoder_start_token_id, given.eos_token_id) == (start, EOS)
    assert opened.generate(torch.full((1, 4), FIRST), max_new_tokens=3)[0, 0] == start


def test_t5_v1_1_as_its_authors_published_it(tmp_path):
    """tie_word_embeddings false, and nothing of the keys that transformers 5 adds."""
    expected = reference("t5_v1_1", TASK, 1, tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text()) | {"tie_word_embeddings": False}
    del values["scale_decoder_outputs"]
    path.write_text(json.dumps(values))
    tokens, targets = tokens_of(expected, 1), targets_of(expected, 1)

    ours = models.load(tmp_path)

    assert not ours.config.tie_word_embeddings
    logits = expected(tokens, decoder_input_ids=targets).logits
    assert relative(ours(tokens, decoder_input_ids=targets).logits, logits) <= 1e-5


def test_an_embedding_under_its_other_names(tmp_path):
    expected = reference("bart", TASK, 1, tmp_path)
    weights = dict(load_file(tmp_path / "model.safetensors"))
    shared = weights.pop("model.shared.weight")
    weights["model.encoder.embed_tokens.weight"] = shared
    weights["model.decoder.embed_tokens.weight"] = shared.clone()
    weights["lm_head.weight"] = shared.clone()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    tokens, targets = tokens_of(expected, 1), targets_of(expected, 1)

    found = models.load(tmp_path)(tokens, decoder_input_ids=targets).logits

    assert relative(found, expected(tokens, decoder_input_ids=targets).logits) <= 1e-5


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_a_new_model_begins_near_guessing(family, tmp_path):
    reference(family, TASK, 4, tmp_path)
    ours = models.load(tmp_path)

    ours.initialize(seed=0)
    first = {name: weight.clone() for name, weight in ours.state_dict().items()}
    tokens, targets = tokens_of(ours, 0, rows=16), targets_of(ours, 0, rows=16)
    logits = ours(tokens, decoder_input_ids=targets).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten())
    ours.initialize(seed=0)

    guessing = torch.tensor(float(ours.config.vocab_size)).log()
    assert abs((loss - guessing).item()) < 0.3
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, first[name]), name


def test_stacks_of_two_shapes(tmp_path):
    config_of("bart", 0, decoder_ffn_dim=44).save_pretrained(tmp_path)

    with pytest.raises(LmwrightError, match="decoder_ffn_dim is 44"):
        models.load(tmp_path)


def test_without_anything_to_write_after(tmp_path):
    reference("t5", TASK, 0, tmp_path)
    ours = models.load(tmp_path)

    with pytest.raises(LmwrightError, match="needs decoder_input_ids") as error:
        ours(torch.full((1, 4), FIRST))
    assert "shifted right" in error.value.hint
    with pytest.raises(LmwrightError, match="1 rows, decoder_input_ids 2"):
        ours(torch.full((1, 4), FIRST), decoder_input_ids=torch.full((2, 4), FIRST))
