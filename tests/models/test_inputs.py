"""What a model is called with wrongly is named in a line, whichever family it is of."""

import pytest
import torch

from lmwright.core.errors import LmwrightError
from lmwright.models import families
from lmwright.models.build import build
from lmwright.models.config import TransformerConfig

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 12,
}
LEARNED = ("gpt2", "bert", "roberta", "distilbert")


def fresh(family, task=None, **changes):
    fields = families.named(family).fresh(task, **SHAPE | changes)
    model = build(TransformerConfig.model_validate(fields)).eval()
    model.initialize(0)
    return model


def tokens(rows=2, length=6):
    return torch.randint(3, 50, (rows, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (tokens().fill_(50), None, "has 50; this model knows the tokens 0 ... 49"),
        (tokens().fill_(-100), None, "has -100"),
        (tokens().float(), None, "torch.float32"),
        (tokens()[0], None, r"shape \(6,\)"),
        (tokens(), torch.ones(2, 5), r"\(2, 5\), input_ids \(2, 6\)"),
        (tokens(), torch.ones(2, 9), r"\(2, 9\)"),
        (tokens(), torch.ones(3, 6), r"\(3, 6\)"),
        (tokens(), torch.ones(6), r"\(6,\)"),
    ],
)
@pytest.mark.parametrize("family", ["gpt2", "llama", "mixtral", "bert"])
def test_wrong_inputs_are_named(family, ids, mask, message):
    with pytest.raises(LmwrightError, match=message):
        fresh(family)(ids, mask)


@pytest.mark.parametrize("family", LEARNED)
def test_texts_longer_than_the_learned_positions(family):
    model = fresh(family)
    model(tokens(length=12))
    with pytest.raises(LmwrightError, match=r"position 12; this model has learned .* 0 \.\.\. 11"):
        model(tokens(length=13))


@pytest.mark.parametrize("family", ["gpt2", "bloom", "llama", "mixtral", "bert"])
def test_no_rows_give_no_logits(family):
    with torch.no_grad():
        assert fresh(family)(tokens(rows=0)).logits.shape == (0, 6, 50)


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_one_mask_for_all_rows(family):
    model, ids = fresh(family), tokens()
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    with torch.no_grad():
        together, apart = model(ids, mask).logits, model(ids, mask.expand_as(ids)).logits
    assert torch.equal(together, apart)
