"""Greedy and beam search against transformers, and against every target there is."""

import itertools

import pytest
import torch

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.engine.beam_search import penalty
from lmwright.engine.encoder_decoder import generate
from lmwright.models.classic_config import RecurrentEncoderDecoderConfig
from lmwright.models.recurrent_encoder_decoder import RecurrentEncoderDecoder
from tests.models.cases import fill
from tests.models.transformers_cases import EOS, FIRST, PAD, padded, reference

FAMILIES = ("t5", "bart", "marian")
ATTENTIONS = ("none", "luong_general", "bahdanau")


def transformer(family, seed, folder, **fixed):
    """A random model of transformers, and ours of the same weights."""
    # transformers' cache of T5 has room for as many blocks as the encoder has.
    even = {"num_layers": 2, "num_decoder_layers": 2} if family == "t5" else {}
    expected = reference(family, "sequence_to_sequence", seed, folder, **even, **fixed)
    return expected, models.load(folder)


def recurrent(attention, seed, **fixed):
    """A random recurrent model."""
    shape = {
        "vocab_size": 30,
        "embedding_size": 6,
        "hidden_size": 8,
        "attention": attention,
        "input_feeding": attention == "luong_general",
        "target_vocab_size": 5,
        "decoder_start_token_id": 0,
        "eos_token_id": EOS,
    }
    return fill(
        RecurrentEncoderDecoder(RecurrentEncoderDecoderConfig(**shape | fixed)), seed, 0.5
    ).eval()


def ended(row):
    """A row of transformers' `generate` without its start, its end and what follows."""
    row = row.tolist()[1:]
    return row[: row.index(EOS)] if EOS in row else row


@pytest.fixture(scope="module", params=["t5", "bart"])
def copier(request, tmp_path_factory):
    """transformers' and our model that have half learned to copy: their targets end, and vary."""
    folder = tmp_path_factory.mktemp(request.param)
    expected, _ = transformer(request.param, 1, folder, vocab_size=12, dropout=0.0)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(expected.parameters(), lr=0.01)
    for _ in range(60):
        tokens = torch.randint(FIRST, 12, (24, 7), generator=generator)
        places = torch.randint(2, 7, (24,), generator=generator)[:, None]
        tokens = tokens.masked_fill(torch.arange(7) > places, PAD)
        tokens = tokens.masked_fill(torch.arange(7) == places, EOS)
        labels = tokens.masked_fill(tokens == PAD, -100)
        optimizer.zero_grad()
        expected(tokens, attention_mask=(tokens != PAD).long(), labels=labels).loss.backward()
        optimizer.step()
    expected.save_pretrained(folder)
    return expected, models.load(folder)


def sources():
    """Sixteen of uneven length, and their mask."""
    tokens = torch.randint(FIRST, 12, (16, 8), generator=torch.Generator().manual_seed(7))
    return padded(tokens, "right", [row % 7 for row in range(16)])


def test_greedy_equals_the_reference(copier):
    expected, ours = copier
    tokens, mask = sources()

    text = expected.generate(tokens, attention_mask=mask, do_sample=False, max_new_tokens=14)

    found = generate(ours, tokens, mask, max_tokens=14)
    assert found == [ended(row) for row in text]
    assert len({len(target) for target in found}) > 2


@pytest.mark.parametrize("beams", [2, 3, 5])
def test_beam_search_equals_the_reference(copier, beams):
    """By log-probability alone: with lengths, transformers divides by another function."""
    expected, ours = copier
    tokens, mask = sources()

    text = expected.generate(
        tokens,
        attention_mask=mask,
        do_sample=False,
        num_beams=beams,
        length_penalty=0.0,
        early_stopping=False,
        max_new_tokens=10,
    )

    found = generate(ours, tokens, mask, max_tokens=10, beams=beams, length_penalty=0.0)
    assert found == [ended(row) for row in text]
    # Wide beams prefer short targets, here of one token or none.
    assert len({tuple(target) for target in found}) > 2
    assert found != generate(ours, tokens, mask, max_tokens=10)


def every_target(model, source, length, alpha):
    """The best of all targets up to `length` tokens, scored with the whole target given."""
    size = model.output_weight.shape[0]
    tokens = [token for token in range(size) if token != EOS]
    targets = [
        [*target, *([EOS] if count < length else [])]
        for count in range(length + 1)
        for target in itertools.product(tokens, repeat=count)
    ]
    best = (-float("inf"), [])
    for count, group in itertools.groupby(targets, key=len):
        rows = torch.tensor(list(group))
        start = torch.full((len(rows), 1), model.config.decoder_start_token_id)
        given = torch.cat((start, rows[:, :-1]), 1)
        logits = model(source.expand(len(rows), -1), decoder_input_ids=given).logits
        scores = logits.log_softmax(-1).gather(2, rows[:, :, None]).sum((1, 2))
        top = int(scores.argmax())
        target = rows[top].tolist()
        score = float(scores[top]) / ((5 + count) / 6) ** alpha
        best = max(best, (score, target[:-1] if target[-1] == EOS else target))
    return best[1]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("kind", [*FAMILIES, *ATTENTIONS])
def test_wide_beams_find_the_best_of_all_targets(kind, alpha, tmp_path):
    if kind in ATTENTIONS:
        model = recurrent(kind, 1)
    else:
        _, model = transformer(kind, 1, tmp_path, vocab_size=5)
    tokens = torch.randint(FIRST, 5, (4, 6), generator=torch.Generator().manual_seed(0))

    found = generate(model, tokens, max_tokens=4, beams=260, length_penalty=alpha)

    with torch.no_grad():
        assert found == [every_target(model, row[None], 4, alpha) for row in tokens]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", ["bart", "t5", "bahdanau", "luong_general"])
def test_company_and_padding_change_nothing(kind, beams, tmp_path):
    if kind in ATTENTIONS:
        model = recurrent(kind, 2, target_vocab_size=12)
    else:
        _, model = transformer(kind, 2, tmp_path, vocab_size=12)
    tokens = torch.randint(FIRST, 12, (5, 9), generator=torch.Generator().manual_seed(1))
    for side in ("left", "right"):
        # Models that learned where a token stands count from the first column.
        if side == "left" and kind == "bart":
            continue
        ids, mask = padded(tokens, side, (0, 4, 7, 2, 8))
        together = generate(model, ids, mask, max_tokens=12, beams=beams)
        alone = [
            generate(model, row[m.bool()][None], max_tokens=12, beams=beams)[0]
            for row, m in zip(ids, mask, strict=True)
        ]
        assert together == alone


def test_a_larger_penalty_makes_longer_targets():
    model = recurrent("bahdanau", 4, target_vocab_size=6)
    tokens = torch.randint(FIRST, 30, (40, 6), generator=torch.Generator().manual_seed(0))

    lengths = [
        sum(map(len, generate(model, tokens, max_tokens=20, beams=4, length_penalty=alpha)))
        for alpha in (0.0, 1.0, 3.0)
    ]

    assert lengths[0] < lengths[1] < lengths[2]
    assert penalty(1, 0.6) == 1.0
    assert penalty(7, 1.0) == pytest.approx(2.0)


def test_the_model_is_left_as_it_was():
    model = recurrent("bahdanau", 0).train()

    generate(model, torch.full((2, 3), FIRST), max_tokens=3, beams=2)

    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_tokens": 0}, "max_tokens 0"),
        ({"beams": 0}, "beams 0"),
        ({"length_penalty": -1.0}, r"length_penalty -1\.0"),
        ({"max_tokens": 41}, "41 to write; the model has 40 positions"),
        ({"attention_mask": torch.ones(1, 5)}, r"attention_mask has shape \(1, 5\)"),
    ],
)
def test_settings_out_of_range(wrong, message, tmp_path):
    _, model = transformer("bart", 0, tmp_path)

    with pytest.raises(LmwrightError, match=message):
        generate(model, torch.full((1, 4), FIRST), **({"max_tokens": 4} | wrong))


def test_nothing_to_begin_with():
    model = recurrent("none", 0, decoder_start_token_id=None)

    with pytest.raises(LmwrightError, match="names no decoder_start_token_id"):
        generate(model, torch.full((1, 4), FIRST), max_tokens=4)
