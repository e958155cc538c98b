"""What stands on the stacks: losses, tags, vectors, scores, and their files."""

import json

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoModelForSequenceClassification

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.models import families
from lmwright.models.build import build
from lmwright.models.config import HeadConfig, TransformerConfig
from lmwright.models.pooling import pool
from tests.models.cases import fill, relative
from tests.models.transformers_cases import (
    ENCODERS,
    EOS,
    FIRST,
    PAD,
    padded,
    reference,
    tokens_of,
)

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
OURS = {
    "masked_lm": {},
    "sequence_classification": {"labels": ("bad", "so so", "good"), "num_labels": 3},
    "token_classification": {"labels": TAGS, "num_labels": 5, "crf": True, "tag_scheme": "BIO"},
    "span_qa": {},
    "embedding": {"pooling": "first", "normalize": False, "max_length": 9},
    "reward": {"num_labels": 1},
    "backbone": {},
}


def model_of(family, task, tmp_path, seed=0, **changes):
    """A random model of ours with a head that a config.json of that family may have."""
    reference(family, "backbone", seed, tmp_path / "backbone")
    model = models.load(tmp_path / "backbone", task=task)
    head = model.config.head.model_dump() | {"task": task} | OURS[task] | changes
    config = model.config.model_copy(update={"head": HeadConfig(**head)})
    return fill(build(config), seed).eval()


@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("family", ENCODERS)
def test_every_head_is_saved_and_opened_again(family, task, tmp_path):
    model = model_of(family, task, tmp_path)
    tokens, mask = padded(tokens_of(model, 1), "right")

    models.save(model, tmp_path / "saved")
    again = models.load(tmp_path / "saved")

    assert type(again) is type(model)
    assert again.config == model.config
    found, expected = again(tokens, mask), model(tokens, mask)
    if task != "backbone":
        found, expected = found.logits, expected.logits
    assert torch.equal(found, expected)


@pytest.mark.parametrize("family", [*ENCODERS, "t5", "bart", "marian"])
def test_a_new_model_of_every_family_and_task_survives_its_config_json(family):
    shape = {
        "vocab_size": 50,
        "hidden_size": 24,
        "intermediate_size": 36,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
    }
    if family not in ENCODERS:
        shape["decoder_start_token_id"] = PAD
    for task in families.named(family).heads:
        config = TransformerConfig(**families.named(family).fresh(task, **shape))

        assert config.task == task
        build(config).initialize(0)
        assert TransformerConfig.from_hf(config.to_hf()) == config


@pytest.mark.parametrize("family", ENCODERS)
def test_a_published_model_gets_another_head(family, tmp_path):
    """The stack stays, the old head goes, the new one is the same each time."""
    reference(family, "masked_lm", 1, tmp_path)
    stack = models.load(tmp_path, task="backbone").state_dict()

    for task in ("sequence_classification", "token_classification", "embedding", "reward"):
        model = models.load(tmp_path, task=task)
        again = models.load(tmp_path, task=task)
        for name, weight in model.state_dict().items():
            assert torch.equal(weight, again.state_dict()[name])
            if name == "head.project.weight" and task == "reward":
                assert len(weight) == 1
            if name.startswith("backbone."):
                assert torch.equal(weight, stack[name.removeprefix("backbone.")])


@pytest.mark.parametrize("architecture", [None, "marian"])
def test_a_head_that_the_family_lacks(architecture, tmp_path):
    if architecture is None:
        reference("bert", "masked_lm", 0, tmp_path)
        match = r"bert has no head for causal_lm"
    else:
        reference("marian", "sequence_to_sequence", 0, tmp_path)
        match = r"marian has no head for causal_lm"
    with pytest.raises(LmwrightError, match=match) as error:
        models.load(tmp_path, task="causal_lm")
    assert "it has: " in error.value.hint


def test_labels_that_do_not_fit(tmp_path):
    reference("bert", "sequence_classification", 0, tmp_path, num_labels=3)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    values["id2label"] = {"0": "no", "1": "yes"}
    path.write_text(json.dumps(values))
    with pytest.raises(LmwrightError, match=r"classifier\.weight is \(3, \d+\), .* says \(2,"):
        models.load(tmp_path)

    values["lmwright_head"] = {"task": "sequence_classification", "num_labels": 7}
    path.write_text(json.dumps(values))
    with pytest.raises(LmwrightError, match="2 labels are named, num_labels is 7"):
        models.load(tmp_path)


def test_a_classifier_s_labels_are_named_for_other_readers(tmp_path):
    model = model_of("bert", "sequence_classification", tmp_path)
    models.save(model, tmp_path / "saved")

    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")

    assert opened.config.id2label == {0: "bad", 1: "so so", 2: "good"}
    assert opened.config.label2id["good"] == 2


def test_a_reward_is_one_score_and_transformers_reads_it(tmp_path):
    model = model_of("roberta", "reward", tmp_path)
    tokens, mask = padded(tokens_of(model, 1), "right")
    models.save(model, tmp_path / "saved")

    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()

    assert model(tokens, mask).logits.shape == (3, 1)
    logits = opened(tokens, attention_mask=mask).logits
    assert relative(model(tokens, mask).logits, logits) <= 1e-5


def test_a_published_classifier_with_one_output_is_a_reward(tmp_path):
    expected = reference("bert", "sequence_classification", 0, tmp_path / "one", num_labels=1)
    tokens = tokens_of(expected, 0)
    reference("bert", "sequence_classification", 0, tmp_path / "three", num_labels=3)

    found = models.load(tmp_path / "one", task="reward")(tokens).logits

    assert relative(found, expected(tokens).logits) <= 1e-5
    assert models.load(tmp_path / "three", task="reward")(tokens).logits.shape == (3, 1)


def tagged(model, seed):
    """Tokens, mask and random tags that the scheme allows, some tokens without a tag."""
    tokens, mask = padded(tokens_of(model, seed), "right")
    labels = torch.randint(0, 2, tokens.shape, generator=torch.Generator().manual_seed(seed))
    labels[mask == 0] = -100
    labels[:, [0, 5]] = -100
    return tokens, mask, labels


def test_loss_of_tags_without_a_crf_is_cross_entropy_summed(tmp_path):
    model = model_of("bert", "token_classification", tmp_path, crf=False, tag_scheme=None)
    tokens, mask, labels = tagged(model, 1)

    loss = model.loss(tokens, mask, labels=labels)

    logits = model(tokens, mask).logits
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    assert relative(loss, expected) <= 1e-5
    best = model.decode(tokens, mask, label_mask=labels != -100)
    assert torch.equal(best, torch.where(labels == -100, -100, logits.argmax(-1)))


def test_loss_and_tags_with_a_crf_are_those_of_all_sequences(tmp_path):
    """Against every tag sequence written out, on a row of four tagged tokens."""
    model = model_of("bert", "token_classification", tmp_path)
    tokens, mask, labels = tagged(model, 2)
    tokens, mask, labels = tokens[:1, :6], mask[:1, :6], labels[:1, :6]
    scores = model(tokens, mask).logits[0][labels[0] != -100].double()
    crf = model.crf.double()
    start, follow, end = crf._scores(torch.float64)

    every = torch.cartesian_prod(*[torch.arange(5)] * len(scores))
    totals = start[every[:, 0]] + end[every[:, -1]]
    for place, score in enumerate(scores):
        totals = totals + score[every[:, place]]
        if place:
            totals = totals + follow[every[:, place - 1], every[:, place]]
    chosen = (every == labels[labels != -100]).all(1)
    expected = totals.logsumexp(0) - totals[chosen].squeeze()
    crf.float()

    assert relative(model.loss(tokens, mask, labels=labels), expected) <= 1e-5
    best = model.decode(tokens, mask, label_mask=labels != -100)
    assert torch.equal(best[labels != -100], every[totals.argmax()])
    names = [TAGS[tag] for tag in best[labels != -100].tolist()]
    assert all(
        not after.startswith("I-") or before.endswith(after[2:])
        for before, after in zip(["O", *names], names, strict=False)
    )


def test_a_crf_learns(tmp_path):
    model = model_of("bert", "token_classification", tmp_path)
    model.initialize(0)
    tokens, mask, labels = tagged(model.train(), 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    losses = []
    for _ in range(25):
        loss = model.loss(tokens, mask, labels=labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < losses[0] / 4
    assert model.crf.transitions.abs().max() > 0


def test_pooling():
    hidden = torch.arange(24.0).view(2, 4, 3)
    tokens = torch.tensor([[5, 6, EOS, 7], [5, EOS, EOS, PAD]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])

    def pooled(kind, **changes):
        shape = {"pad_token_id": PAD, "eos_token_id": EOS} | changes
        config = TransformerConfig(
            vocab_size=9,
            hidden_size=3,
            intermediate_size=3,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=4,
            head=HeadConfig(task="embedding", pooling=kind),
            **shape,
        )
        return pool(hidden, tokens, mask, config)

    assert torch.equal(pooled("first"), hidden[:, 0])
    assert torch.equal(pooled("last"), torch.stack((hidden[0, 3], hidden[1, 2])))
    assert torch.equal(pooled("last", pad_token_id=None), pooled("last"))
    assert torch.equal(pooled("eos"), torch.stack((hidden[0, 2], hidden[1, 2])))
    assert torch.equal(pooled("eos", eos_token_id=(EOS, 7))[0], hidden[0, 3])
    assert torch.allclose(pooled("mean"), torch.stack((hidden[0].mean(0), hidden[1, :3].mean(0))))


def test_vectors_do_not_see_padding(tmp_path):
    model = model_of("bert", "embedding", tmp_path, pooling="mean", normalize=True)
    tokens, mask = padded(tokens_of(model, 1), "right")

    vectors = model(tokens, mask).logits
    alone = torch.cat(
        [model(row[: int(m.sum())][None]).logits for row, m in zip(tokens, mask, strict=True)]
    )

    assert relative(vectors, alone) <= 1e-5
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3))
    assert torch.isfinite(model(torch.full((1, 2), FIRST), torch.zeros(1, 2)).logits).all()


def test_a_sentence_embedder_without_its_own_folder_layout_is_a_plain_model(tmp_path):
    reference("bert", "backbone", 0, tmp_path)

    assert models.load(tmp_path).config.task == "backbone"
    embedder = models.load(tmp_path, task="embedding")
    assert embedder.config.head.pooling == "mean"


def test_transformers_opens_a_sentence_embedder_without_a_complaint(tmp_path):
    reference("bert", "backbone", 0, tmp_path / "first")
    models.save(models.load(tmp_path / "first", task="embedding"), tmp_path / "second")

    _, notes = AutoModel.from_pretrained(tmp_path / "second", output_loading_info=True)

    assert not any(notes.values()), notes
