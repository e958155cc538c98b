"""Recurrent encoder-decoders against their papers' equations, written out step by step."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from lmwright.core.errors import LmwrightError
from lmwright.models import cells
from lmwright.models.cells import CellWeights
from lmwright.models.classic_config import RecurrentEncoderDecoderConfig
from lmwright.models.recurrent_encoder_decoder import RecurrentEncoderDecoder
from lmwright.tokens.examples import ExampleBatch
from lmwright.training.objectives.sequence_to_sequence import SequenceToSequence
from tests.models.cases import fill, relative
from tests.models.classic_cases import VOCABULARY, padded, texts, train

SHAPE = {
    "vocab_size": VOCABULARY,
    "target_vocab_size": 20,
    "embedding_size": 6,
    "hidden_size": 8,
}
VARIANTS = {
    "none": {"attention": "none"},
    "none-tied": {"attention": "none", "tie_word_embeddings": True},
    "dot": {"attention": "luong_dot", "cell": "lstm"},
    "general": {"attention": "luong_general", "encoder_hidden_size": 5},
    "fed": {"attention": "luong_general", "input_feeding": True, "cell": "lstm"},
    "fed-tied": {
        "attention": "luong_dot",
        "input_feeding": True,
        "tie_word_embeddings": True,
        "bidirectional": False,
    },
    "bahdanau": {"attention": "bahdanau", "encoder_hidden_size": 5},
    "bahdanau-lstm": {"attention": "bahdanau", "cell": "lstm", "num_layers": 2},
    "deep": {"attention": "luong_general", "num_layers": 3, "cell": "rnn"},
    "shared": {"share_embeddings": True, "target_vocab_size": None, "tie_word_embeddings": True},
}


def model_of(name, seed=0, **fields):
    config = RecurrentEncoderDecoderConfig(**(SHAPE | VARIANTS[name] | fields))
    return fill(RecurrentEncoderDecoder(config), seed, 0.4).eval()


def targets(seed, lengths):
    return texts(seed + 50, lengths, 20)


def by_the_equations(model, source, target):
    """Logits (U, V) and attention weights of one source and target with a single decoder layer."""
    config, decoder = model.config, model.decoder
    states, end = model.encoder(model.embed_tokens(source))
    memory = states[0]
    end = end if isinstance(end, tuple) else (end,)
    state = [torch.tanh(model.bridge(torch.cat(tuple(end[0][:, 0]))))]
    if config.cell == "lstm":
        state.append(model.cell_bridge(torch.cat(tuple(end[1][:, 0]))))
    state = tuple(part[None] for part in state)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = CellWeights(*(getattr(decoder.recurrent, name) for name in names))
    embedding = model.target_embed_tokens or model.embed_tokens
    feed, logits, seen = torch.zeros(config.output_size), [], []

    def look(query):
        if config.attention == "bahdanau":
            a = decoder.attention
            energy = torch.stack(
                [
                    a.score_proj.weight[0]
                    @ torch.tanh(
                        a.query_proj.weight @ query + a.memory_proj.weight @ m + a.memory_proj.bias
                    )
                    for m in memory
                ]
            )
        elif config.attention == "luong_dot":
            energy = torch.stack([query @ m for m in memory])
        else:
            energy = torch.stack([query @ decoder.attention.memory_proj.weight @ m for m in memory])
        share = energy.exp() / energy.exp().sum()
        seen.append(share)
        return sum(weight * m for weight, m in zip(share, memory, strict=True))

    for token in target[0]:
        word = embedding.weight[token]
        if config.attention == "bahdanau":
            context = look(state[0][0])
            state = cells.step_of(config.cell)(torch.cat((word, context))[None], state, weights)
            mixed = decoder.combine.weight @ torch.cat((state[0][0], context, word))
            output = (mixed + decoder.combine.bias).reshape(-1, 2).amax(1)
        else:
            x = torch.cat((word, feed)) if config.input_feeding else word
            state = cells.step_of(config.cell)(x[None], state, weights)
            hidden = state[0][0]
            if config.attention == "none":
                output = hidden if decoder.combine is None else decoder.combine.weight @ hidden
            else:
                output = decoder.combine.weight @ torch.cat((look(hidden), hidden))
                output = feed = torch.tanh(output)
        logits.append(model.output_weight @ output)
    return torch.stack(logits), seen


@pytest.mark.parametrize("name", [n for n in VARIANTS if n not in ("deep", "bahdanau-lstm")])
def test_logits_are_those_of_the_equations(name):
    model = model_of(name)
    (source,), (target,) = texts(0, [6]), targets(0, [5])
    logits, seen = by_the_equations(model, source, target)
    assert relative(model(source, decoder_input_ids=target).logits[0], logits) <= 1e-5

    memory = model.encode(source)
    state = memory.state
    for t, token in enumerate(target[0]):
        _, state, weights = model.step(memory, state, token[None])
        if weights is not None:
            assert relative(weights[0], seen[t]) <= 1e-5
        assert (weights is None) == (model.config.attention == "none")


@pytest.mark.parametrize("name", VARIANTS)
def test_step_by_step_is_all_at_once(name):
    model = model_of(name)
    ids, mask = padded(texts(1, [4, 7, 2]), "left")
    target = torch.cat(targets(1, [6, 6, 6]))
    expected = model(ids, mask, decoder_input_ids=target).logits
    memory = model.encode(ids, mask)
    state, found = memory.state, []
    for t in range(6):
        logits, state, weights = model.step(memory, state, target[:, t])
        found.append(logits)
        if weights is not None:
            assert not weights[mask == 0].any()
            assert torch.allclose(weights.sum(1), torch.ones(3))
    assert relative(torch.stack(found, 1), expected) <= 1e-5


@pytest.mark.parametrize("side", ["right", "left", "between"])
@pytest.mark.parametrize("name", VARIANTS)
def test_padding_changes_nothing(name, side):
    model = model_of(name)
    sources, wanted = texts(2, [4, 1, 7]), targets(2, [3, 5, 1])
    ids, mask = padded(sources, side)
    given, real = padded(wanted, "right")
    given = given.remainder(20)
    found = model(ids, mask, decoder_input_ids=given).logits
    pairs = zip(sources, wanted, strict=True)
    expected = [model(source, decoder_input_ids=target).logits[0] for source, target in pairs]
    assert relative(found[real.bool()], torch.cat(expected)) <= 1e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_the_target_so_far_decides_alone(name):
    model = model_of(name)
    (source,), (target,) = texts(3, [6]), targets(3, [6])
    changed = target.clone()
    changed[0, 4] = (target[0, 4] + 1) % 20
    before = model(source, decoder_input_ids=target).logits
    after = model(source, decoder_input_ids=changed).logits
    assert relative(after[:, :4], before[:, :4]) <= 1e-6
    assert not torch.equal(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("name", VARIANTS)
def test_beams_can_be_reordered(name):
    """Two sources, three beams of each, dropped and doubled on the way."""
    model = model_of(name)
    ids, mask = padded(texts(4, [5, 3]), "right")
    memory = model.encode(ids, mask).select(torch.tensor([0, 0, 0, 1, 1, 1]))
    first, second = torch.arange(6), torch.tensor([3, 4, 5, 6, 7, 8])
    _, state, _ = model.step(memory, memory.state, first)
    kept = torch.tensor([2, 2, 0, 3, 5, 5])
    logits, _, _ = model.step(memory, state.select(kept), second)

    sources = torch.tensor([0, 0, 0, 1, 1, 1])
    target = torch.stack((first[kept], second), 1)
    expected = model(ids[sources], mask[sources], decoder_input_ids=target).logits[:, -1]
    assert relative(logits, expected) <= 1e-5


@pytest.mark.parametrize("name", ["fed", "bahdanau", "dot"])
def test_gradients_reach_everything_and_equal_the_equations(name):
    model = model_of(name).double()
    (source,), (target,) = texts(5, [4]), targets(5, [5])
    gradients = []
    for logits in (
        model(source, decoder_input_ids=target).logits[0],
        by_the_equations(model, source, target)[0],
    ):
        model.zero_grad()
        logits.logsumexp(-1).square().sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    for parameter, gradient in gradients[0].items():
        assert gradient.any(), parameter
        assert relative(gradient, gradients[1][parameter]) <= 1e-8, parameter


@pytest.mark.parametrize("name", VARIANTS)
def test_learns_to_copy(name):
    fields = {"target_vocab_size": VOCABULARY, "hidden_size": 32, "embedding_size": 16}
    fields |= {"encoder_hidden_size": None}
    model = model_of(name, **fields)
    model.initialize(0)
    source = torch.randint(2, 8, (32, 5), generator=torch.Generator().manual_seed(0))
    target = torch.cat((torch.ones(32, 1).long(), source[:, :-1]), 1)

    batch = ExampleBatch(source, torch.ones_like(source), source, None, target)

    def loss_of(model):
        result = SequenceToSequence().loss(model, batch)
        return result.loss / result.weight

    logits = model(source, decoder_input_ids=target).logits
    expected = F.cross_entropy(logits.flatten(0, 1), source.flatten())
    assert relative(loss_of(model), expected) <= 1e-5
    losses = train(model, loss_of)
    assert losses[-1] < 0.5 * losses[0]


def test_first_weights_are_seeded():
    model = model_of("bahdanau")
    model.initialize(2)
    first = {name: weight.clone() for name, weight in model.state_dict().items()}
    fill(model, 1)
    model.initialize(2)
    assert all(torch.equal(first[name], w) for name, w in model.state_dict().items())


def test_wrong_shapes_are_refused():
    model, (source,) = model_of("dot"), texts(0, [4])
    target = torch.zeros(1, 3).long()
    for arguments, message in (
        ((source[0], None, target), "input_ids"),
        ((source, torch.ones(1, 5), target), "mask"),
        ((source, None, target[0]), "decoder_input_ids must be"),
        ((source, None, target.expand(2, 3)), "decoder_input_ids 2"),
    ):
        ids, mask, given = arguments
        with pytest.raises(LmwrightError, match=message) as caught:
            model(ids, mask, decoder_input_ids=given)
        assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cell": "qrnn"}, "rnn"),
        ({"attention": "luong_dot", "encoder_hidden_size": 5}, "10 wide"),
        ({"attention": "bahdanau", "input_feeding": True}, "input_feeding"),
        ({"share_embeddings": True}, "one vocabulary"),
        ({"hidden_size": 7}, "odd"),
    ],
)
def test_impossible_configs_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        RecurrentEncoderDecoderConfig(**(SHAPE | fields))
