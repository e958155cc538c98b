"""Recurrent classifiers, taggers and language models."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from lmwright.core import parts
from lmwright.core.errors import LmwrightError
from lmwright.models import cells
from lmwright.models.cells import CellNetwork
from lmwright.models.classic_config import RecurrentConfig
from lmwright.models.crf import UNTAGGED
from lmwright.models.layers import recurrence
from lmwright.models.layers.recurrence import RecurrentState
from lmwright.models.layers.sequences import of_rows
from lmwright.models.recurrent import recurrent_model
from lmwright.tokens.examples import ExampleBatch
from lmwright.tokens.loader import TokenBatch
from lmwright.training.objectives.causal_lm import CausalLM
from lmwright.training.objectives.tagging import Tagging
from tests.models.cases import fill, relative
from tests.models.classic_cases import VOCABULARY, contains_seven, padded, texts, train

CELLS = ["rnn", "lstm", "gru"]
SIDES = ["right", "left", "between"]
SHAPE = {"vocab_size": VOCABULARY, "embedding_size": 6, "hidden_size": 8, "num_labels": 5}
WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l1", "bias_hh_l1")
BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def model_of(seed=0, **fields):
    model = recurrent_model(RecurrentConfig(**(SHAPE | fields)))
    return fill(model, seed, 0.4).eval()


def tagger(seed=0, **fields):
    return model_of(seed, task="token_classification", **fields)


def language_model(seed=0, **fields):
    return model_of(seed, task="causal_lm", **fields)


def readable(model):
    """The model's network, from the equations."""
    config = model.config
    network = CellNetwork(
        config.cell,
        config.embedding_size,
        config.hidden_size,
        config.num_layers,
        bidirectional=config.bidirectional,
    )
    network.load_state_dict(model.recurrent.state_dict())
    return network


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
@pytest.mark.parametrize("cell", CELLS)
def test_logits_are_those_of_the_definition(cell, pooling, bidirectional):
    model = model_of(cell=cell, pooling=pooling, bidirectional=bidirectional, num_layers=2)
    (text,) = texts(0, [7])
    states, end = readable(model)(model.embed_tokens(text))
    if pooling == "last":
        # forward: after the last token; backward: after the first
        pooled = (
            states[:, -1]
            if not bidirectional
            else torch.cat((states[:, -1, :8], states[:, 0, 8:]), 1)
        )
        sides = end[0][-2:] if bidirectional else end[0][-1:]
        assert relative(torch.cat(tuple(sides), 1), pooled) <= 1e-6
    else:
        pooled = states.amax(1) if pooling == "max" else states.mean(1)
    expected = F.linear(pooled, model.classifier.weight, model.classifier.bias)
    assert relative(model(text).logits, expected) <= 1e-5


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[9, 6, 8, 7], [9, 1, 1, 0]], ids=["whole rows", "packed"])
def test_an_lstm_gives_the_same_either_way(lengths, bidirectional):
    """Over whole rows where most tokens are real, packed where few are."""
    model = model_of(bidirectional=bidirectional, num_layers=2)
    x, mask = torch.randn(4, 9, 6), torch.arange(9) < torch.tensor(lengths)[:, None]
    layout, network, results = of_rows(mask, mask), readable(model), []
    for run, owner in (
        (lambda: recurrence.outputs(model.recurrent, x, layout), model.recurrent),
        (lambda: network(x, lengths=layout.lengths)[0], network),
    ):
        states = run()[mask]
        states.square().sum().backward()
        results.append([states, *(dict(owner.named_parameters())[n].grad for n in WEIGHTS)])
    for found, expected in zip(*results, strict=True):
        assert relative(found, expected) <= 1e-5


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[9, 9, 9, 9], [9, 6, 1, 0]], ids=["whole", "ragged"])
def test_a_chosen_cell_takes_the_place_of_the_fused_network(lengths, bidirectional, monkeypatch):
    """Outputs, states and gradients are the fused ones', however long the rows; it is called."""
    model = model_of(bidirectional=bidirectional, num_layers=2)
    x, mask = torch.randn(4, 9, 6), torch.arange(9) < torch.tensor(lengths)[:, None]
    layout, calls, results = of_rows(mask, mask), [], []
    step = cells.lstm_step
    monkeypatch.setattr(cells, "lstm_step", lambda *given: calls.append(1) or step(*given))
    start = RecurrentState(*(torch.randn(2 * (1 + bidirectional), 4, 8) for _ in range(2)))
    for chosen in (False, True):
        monkeypatch.setattr(parts, "in_use", lambda _, chosen=chosen: chosen)
        model.zero_grad()
        assert not calls
        states, end = recurrence.run(model.recurrent, x, layout, start)
        read = recurrence.outputs(model.recurrent, x, layout)
        (states[mask].square().sum() + end.cell.square().sum() + read[mask].sum()).backward()
        named = dict(model.recurrent.named_parameters())
        gradients = [named[name].grad.clone() for name in WEIGHTS]
        results.append([states[mask], read[mask], end.hidden, end.cell, *gradients])
    assert len(calls) == 2 * 2 * 9 * (1 + bidirectional)
    for found, expected in zip(*results, strict=True):
        assert relative(found, expected) <= 1e-5


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("cell", "pooling"), list(itertools.product(CELLS, ["last", "max", "mean"]))
)
def test_padding_changes_nothing_of_a_classification(cell, pooling, bidirectional, side):
    model = model_of(cell=cell, pooling=pooling, bidirectional=bidirectional, num_layers=2)
    rows = texts(1, [4, 1, 9])
    ids, mask = padded(rows, side)
    expected = torch.cat([model(row).logits for row in rows])
    assert relative(model(ids, mask).logits, expected) <= 1e-5


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("crf", [False, True])
def test_padding_changes_nothing_of_a_tagging(crf, bidirectional, side):
    model = tagger(crf=crf, bidirectional=bidirectional)
    rows = texts(2, [4, 1, 9])
    gold = [torch.randint(0, 5, row.shape) for row in rows]
    ids, mask = padded(rows, side)
    labels = torch.full_like(ids, UNTAGGED)
    labels[mask.bool()] = torch.cat(gold, 1)[0]

    logits, tags = model(ids, mask).logits, model.decode(ids, mask)
    loss = model.loss(ids, mask, labels)

    alone = torch.cat([model(row).logits[0] for row in rows])
    assert relative(logits[mask.bool()], alone) <= 1e-5
    assert torch.equal(tags[mask.bool()], torch.cat([model.decode(row)[0] for row in rows]))
    assert (tags[mask == 0] == UNTAGGED).all()
    losses = sum(model.loss(row, None, g) for row, g in zip(rows, gold, strict=True))
    assert relative(loss, losses) <= 1e-5


@pytest.mark.parametrize("crf", [False, True])
def test_tokens_without_a_label_are_read_but_not_tagged(crf):
    model, (ids,) = tagger(crf=crf, bidirectional=True), texts(3, [6])
    labels = torch.tensor([[1, UNTAGGED, 2, 0, UNTAGGED, 3]])
    labelled = labels != UNTAGGED
    logits = model(ids).logits
    if crf:
        expected = -model.crf.log_likelihood(logits[labelled][None], labels[labelled][None]).sum()
    else:
        expected = F.cross_entropy(logits[0], labels[0], reduction="sum")
    assert relative(model.loss(ids, None, labels), expected) <= 1e-5
    tags = model.decode(ids, label_mask=labelled)
    assert torch.equal(tags != UNTAGGED, labelled)


def test_a_scheme_gives_whole_spans_only():
    model = tagger(crf=True, labels=BIO, tag_scheme="BIO")
    ids = torch.cat(texts(4, [9] * 20))
    for row in model.decode(ids).tolist():
        names = ["O"] + [BIO[tag] for tag in row]
        for before, after in itertools.pairwise(names):
            assert after[0] != "I" or before[2:] == after[2:]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_rows_of_padding_only_are_classified_from_zeros(bidirectional):
    for pooling in ("last", "max", "mean"):
        model = model_of(pooling=pooling, bidirectional=bidirectional)
        ids, mask = padded(texts(5, [4, 3]), "right")
        mask[1] = 0
        logits = model(ids, mask).logits
        assert relative(logits[1], model.classifier.bias) <= 1e-6
        logits.square().sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())


# Language models


@pytest.mark.parametrize("cell", CELLS)
def test_a_language_model_does_not_see_what_follows(cell):
    model = language_model(cell=cell, num_layers=2)
    (ids,) = texts(6, [8])
    changed = ids.clone()
    changed[0, 5] = (ids[0, 5] + 1) % VOCABULARY
    before, after = model(ids).logits, model(changed).logits
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("cell", CELLS)
def test_padding_changes_nothing_of_a_language_model(cell, side):
    model = language_model(cell=cell)
    rows = texts(7, [4, 1, 9])
    ids, mask = padded(rows, side)
    expected = torch.cat([model(row).logits[0] for row in rows])
    assert relative(model(ids, mask).logits[mask.bool()], expected) <= 1e-5


@pytest.mark.parametrize("cell", CELLS)
def test_packed_documents_are_as_if_alone(cell):
    model = language_model(cell=cell)
    rows = texts(8, [3, 5, 2, 6])
    ids = torch.cat([*rows[:2], torch.zeros(1, 2).long(), *rows[2:], torch.zeros(1, 2).long()], 1)
    ids = ids.reshape(2, 10)
    documents = torch.tensor([[1] * 3 + [2] * 5 + [0] * 2, [1] * 2 + [2] * 6 + [0] * 2])
    expected = torch.cat([model(row).logits[0] for row in rows])
    found = model(ids, document_ids=documents.int()).logits
    assert relative(found[documents != 0], expected) <= 1e-5


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_without_documents_trains_without_nan(cell):
    model, ids = language_model(cell=cell), texts(8, [4])[0]
    hidden = model.hidden_states(ids, document_ids=torch.zeros_like(ids))
    assert not hidden.any()
    model.project(hidden).logsumexp(-1).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_goes_on_where_it_stopped(cell, side):
    """Prompts of unequal length, then token by token, as the whole at once."""
    model = language_model(cell=cell, num_layers=2)
    rows = texts(9, [9, 7])
    prompts, mask = padded([rows[0][:, :5], rows[1][:, :3]], side)
    cache, found = RecurrentState(), []
    prompt_logits = model(prompts, mask, cache=cache).logits
    for t in range(4):
        following = torch.cat((rows[0][:, 5 + t], rows[1][:, 3 + t]))[:, None]
        mask = torch.cat((mask, torch.ones(2, 1).long()), 1)
        found.append(model(following, mask, cache=cache).logits)
    expected = [model(row).logits[0] for row in rows]
    assert relative(prompt_logits[0][mask[0, : prompts.shape[1]].bool()], expected[0][:5]) <= 1e-5
    found = torch.cat(found, 1)
    for row, start in enumerate((5, 3)):
        assert relative(found[row], expected[row][start:]) <= 1e-5


def test_states_of_other_rows_can_be_chosen():
    model = language_model(cell="lstm")
    cache, ids = RecurrentState(), torch.cat(texts(10, [5, 5, 5]))
    model(ids, cache=cache)
    rows = torch.tensor([2, 2, 0])
    chosen = cache.select(rows)
    following = torch.tensor([[1], [2], [3]])
    expected = model(torch.cat((ids[rows], following), 1)).logits[:, -1:]
    assert relative(model(following, cache=chosen).logits, expected) <= 1e-5


@pytest.mark.parametrize(("tied", "width"), [(False, 8), (True, 8), (True, 6)])
def test_the_chunked_loss_trains_a_language_model(tied, width):
    model = language_model(tie_word_embeddings=tied, hidden_size=width)
    assert model.output_weight.shape == (VOCABULARY, 6 if tied else width)
    assert (model.output_weight is model.embed_tokens.weight) == tied
    model.initialize(0)
    ids = torch.arange(24).remainder(4)[None].repeat(3, 1) + torch.arange(3)[:, None]
    documents = torch.ones_like(ids).int()
    documents[:, 20:] = 0
    targets = ids.roll(-1, 1)
    targets[:, 19:] = -100
    batch = TokenBatch(ids, targets, documents, torch.arange(24)[None].expand(3, 24))

    def loss_of(model):
        result = CausalLM().loss(model, batch)
        assert result.weight == 3 * 19
        return result.loss / result.weight

    logits = model(ids, document_ids=documents).logits
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert relative(loss_of(model), expected) <= 1e-5
    losses = train(model, loss_of, learning_rate=0.05)
    assert losses[-1] < 0.5 * losses[0]


# Training and bad input


@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
@pytest.mark.parametrize("cell", CELLS)
def test_learns_whether_a_word_is_there(cell, pooling):
    config = SHAPE | {"num_labels": 2, "cell": cell, "pooling": pooling, "bidirectional": True}
    model = recurrent_model(RecurrentConfig(**config))
    model.initialize(0)
    ids, mask, labels = contains_seven()
    losses = train(model, lambda m: F.cross_entropy(m(ids, mask).logits, labels))
    assert losses[-1] < 0.5 * losses[0]


def test_learns_to_tag_with_a_crf():
    model = tagger(crf=True, labels=BIO, tag_scheme="BIO")
    model.initialize(0)
    ids, mask, _ = contains_seven()
    labels = torch.where(mask.bool(), torch.zeros_like(ids), UNTAGGED)
    labels[:, 0], labels[:, 1] = 1, 2
    batch = ExampleBatch(ids, mask, labels, torch.zeros_like(ids))
    result = Tagging().loss(model, batch)
    assert result.weight == mask.sum()
    assert torch.equal(result.loss, model.loss(ids, mask, labels))
    losses = train(model, lambda m: Tagging().loss(m, batch).loss)
    assert losses[-1] < 0.1 * losses[0]
    assert torch.equal(model.eval().decode(ids, mask), labels)


def test_first_weights():
    model = model_of(cell="lstm", num_layers=2, bidirectional=True)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    model.initialize(5)
    assert torch.equal(torch.rand(3), expected)
    for name, weight in model.recurrent.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.split(8):
                assert torch.allclose(gate @ gate.T, torch.eye(8), atol=1e-5)
        if name.startswith("bias"):
            forget = torch.zeros(32)
            forget[8:16] = 1.0 if name.startswith("bias_ih") else 0.0
            assert torch.equal(weight, forget)
    first = {name: weight.clone() for name, weight in model.state_dict().items()}
    fill(model, 1)
    model.initialize(5)
    assert all(torch.equal(first[name], w) for name, w in model.state_dict().items())


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize(
    ("labels", "message"),
    [(torch.tensor([[0, 5, 0]]), "label 5"), (torch.tensor([[0, 0]]), "shape")],
)
def test_impossible_labels_are_refused(labels, message, crf):
    with pytest.raises(LmwrightError, match=message) as caught:
        tagger(crf=crf).loss(texts(0, [3])[0], None, labels)
    assert "\n" not in caught.value.what


def test_documents_and_a_cache_exclude_each_other():
    ids = texts(0, [3])[0]
    with pytest.raises(LmwrightError, match="document_ids"):
        language_model()(ids, cache=RecurrentState(), document_ids=torch.ones_like(ids))


@pytest.mark.parametrize("task", ["sequence_classification", "token_classification", "causal_lm"])
def test_wrong_shapes_are_refused(task):
    model = model_of(task=task)
    empty, text = torch.zeros(2, 0).long(), torch.zeros(2, 3).long()
    for ids, mask in (
        (text[0], None),
        (text, torch.ones(2, 4)),
        (text.float(), None),
        (empty, None),
    ):
        with pytest.raises(LmwrightError) as caught:
            model(ids, mask)
        assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cell": "qrnn"}, "rnn"),
        ({"task": "causal_lm", "bidirectional": True}, "follows"),
        ({"crf": True}, "crf"),
        ({"tag_scheme": "BIO"}, "tag_scheme"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"labels": ("a", "b")}, "num_labels"),
        ({"labels": ("a", "b", "c", "d", "d")}, "twice"),
    ],
)
def test_impossible_configs_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        RecurrentConfig(**(SHAPE | fields))
