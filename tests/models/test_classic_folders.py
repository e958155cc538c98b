"""Folders and accounts of what came before attention."""

import json
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lmwright.core.errors import LmwrightError
from lmwright.models import classic_accounting
from lmwright.models.cells import CellNetwork
from lmwright.models.classic_config import classic_config
from lmwright.models.folders import classic_model, load_classic, save_classic
from tests.models.cases import fill
from tests.models.classic_cases import padded, texts

BASE = {"vocab_size": 30, "embedding_size": 6, "dropout": 0.2}
LABELS = {"labels": ("O", "B-X", "I-X"), "num_labels": 3}
NETWORK = {"model_type": "recurrent", "hidden_size": 8}
SEQUENCE = {"model_type": "recurrent_encoder_decoder", "hidden_size": 8, "target_vocab_size": 20}
TAGS = {"task": "token_classification", "bidirectional": True}
CASES = {
    "perceptron": {"model_type": "perceptron", "hidden_size": 8, **LABELS},
    "perceptron-norm": {"model_type": "perceptron", "batch_norm": True, "num_layers": 3},
    "linear": {"model_type": "perceptron", "num_layers": 0},
    "cnn": {"model_type": "text_cnn", "widths": (2, 3), "num_filters": 5, **LABELS},
    "cnn-norm": {"model_type": "text_cnn", "num_filters": 5, "batch_norm": True},
    "rnn": NETWORK | {"cell": "rnn", "num_layers": 2},
    "gru": NETWORK | {"cell": "gru", "bidirectional": True, "num_layers": 3},
    "tagger": NETWORK | LABELS | TAGS,
    "crf": NETWORK | LABELS | TAGS | {"crf": True, "tag_scheme": "BIO"},
    "lm": NETWORK | {"task": "causal_lm", "num_layers": 2},
    "lm-tied": NETWORK | {"task": "causal_lm", "tie_word_embeddings": True},
    "lm-tied-same": NETWORK | {"task": "causal_lm", "tie_word_embeddings": True, "hidden_size": 6},
    "seq2seq": SEQUENCE | {"attention": "none"},
    "seq2seq-tied": SEQUENCE | {"attention": "none", "tie_word_embeddings": True},
    "dot": SEQUENCE | {"attention": "luong_dot", "cell": "lstm", "bidirectional": False},
    "general": SEQUENCE | {"attention": "luong_general", "num_layers": 2},
    "fed": SEQUENCE | {"input_feeding": True, "cell": "lstm"},
    "bahdanau": SEQUENCE | {"attention": "bahdanau", "encoder_hidden_size": 5},
    "shared": SEQUENCE
    | {"share_embeddings": True, "tie_word_embeddings": True, "target_vocab_size": None},
}


def config_of(name):
    return classic_config(BASE | CASES[name])


def logits(model, ids, mask):
    if model.config.model_type == "recurrent_encoder_decoder":
        return model(ids, mask, decoder_input_ids=ids[:, :4] % 20).logits
    return model(ids, mask).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_saved_and_opened_again_is_the_same(name, dtype, tmp_path):
    model = fill(classic_model(config_of(name)), 0).to(dtype).eval()
    save_classic(model, tmp_path / "model")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    again = load_classic(tmp_path / "model")

    assert torch.equal(torch.rand(3), expected)
    assert again.config == model.config
    assert not again.training
    ids, mask = padded(texts(0, [5, 3]), "right")
    assert torch.equal(logits(again, ids, mask), logits(model, ids, mask))
    assert again.state_dict().keys() == model.state_dict().keys()
    for weight, other in zip(again.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(weight, other)
        assert weight.dtype == other.dtype
    half = load_classic(tmp_path / "model", dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", CASES)
def test_half_precision_is_near_and_trains(name):
    """As the loop runs it: weights in fp32, products in bf16."""
    model = classic_model(config_of(name)).eval()
    model.initialize(0)
    ids, mask = padded(texts(0, [5, 3, 4]), "left")
    expected = logits(model, ids, mask)
    with torch.autocast("cpu", torch.bfloat16):
        found = logits(model, ids, mask).float()
        assert (found - expected).norm() <= 0.05 * expected.norm()
        logits(model.train(), ids, mask).float().square().sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.fixture
def folder(tmp_path):
    save_classic(fill(classic_model(config_of("crf")), 0), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"cell": "qrnn"}, "cell: Input should be 'rnn', 'lstm' or 'gru'"),
        ({"model_type": "recurent"}, "did you mean recurrent"),
        ({"model_type": None}, "not one of ours"),
        ({"hidden": 3}, "hidden is not a field"),
        ({"hidden_size": 9}, "config.json says"),
        ({"num_layers": 2}, "missing weights: recurrent.weight_ih_l1"),
        ({"crf": False, "tag_scheme": None}, "weights without a place: crf.end"),
        ({"task": "causal_lm"}, "follows"),
    ],
)
def test_folders_that_do_not_fit_are_refused(folder, edit, message):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    with pytest.raises(LmwrightError) as caught:
        load_classic(folder)
    assert message in str(caught.value)
    assert "\n" not in caught.value.what


def test_other_folders_are_not_overwritten(folder, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    with pytest.raises(LmwrightError, match="not be overwritten"):
        save_classic(load_classic(folder), tmp_path / "precious")
    assert (tmp_path / "precious" / "file").read_text() == "x"
    save_classic(load_classic(folder), folder)


def test_a_tokenizer_goes_along(folder, tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "tokenizer.json").write_text("{}")
    save_classic(load_classic(folder), folder, tokenizer=tmp_path / "from")
    assert (folder / "tokenizer.json").read_text() == "{}"


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_those_of_the_module(name):
    config = config_of(name)
    parts = classic_accounting.parameters(config)
    model = classic_model(config)
    assert parts["total"] == sum(p.numel() for p in model.parameters())
    assert parts["total"] == sum(n for part, n in parts.items() if part != "total")
    assert parts["embedding"] == model.embed_tokens.weight.numel()
    assert classic_accounting.parameters(config.model_dump(mode="json")) == parts


class Steps(CellNetwork):
    """A network whose products torch's counter sees, in the fused one's place."""

    def __init__(self, fused):
        kind = fused.mode.removesuffix("_TANH").lower()
        super().__init__(
            kind,
            fused.input_size,
            fused.hidden_size,
            fused.num_layers,
            bidirectional=fused.bidirectional,
        )
        self.bidirectional = fused.bidirectional
        self.fused_kind = kind

    def forward(self, inputs, state=None):
        outputs, end = super().forward(inputs, state if isinstance(state, tuple) else (state,))
        return outputs, end if len(end) == 2 else end[0]


@pytest.mark.parametrize("name", CASES)
def test_flops_are_those_of_torchs_counter(name, monkeypatch):
    config = config_of(name)
    model = classic_model(config).eval()
    stepwise = CASES[name].get("input_feeding") or CASES[name].get("attention") == "bahdanau"
    for module in list(model.modules()):
        if stepwise and module is model.decoder:
            continue  # its products are seen as they are
        for child, network in list(module.named_children()):
            if isinstance(network, torch.nn.RNNBase):
                setattr(module, child, Steps(network))
    start = "lmwright.models.layers.recurrence._start"
    monkeypatch.setattr(start, lambda network, inputs, state: first(network, inputs, state))
    ids = torch.cat(texts(1, [7, 7, 7]))
    with FlopCounterMode(display=False) as counter:
        logits(model, ids, None)

    targets = 4 if config.model_type == "recurrent_encoder_decoder" else 0
    expected = classic_accounting.flops_per_row(config, 7, False, target_length=targets)
    assert 3 * expected == counter.get_total_flops()
    per_token = classic_accounting.flops_per_token(config, 7, True, target_length=targets)
    assert per_token * (7 + targets) == pytest.approx(3 * expected)


def first(network, inputs, state):
    if state is None or state.hidden is None:
        rows = network.num_layers * len(network.suffixes)
        zeros = inputs.new_zeros(rows, len(inputs), network.hidden_size)
        return (zeros, zeros) if network.kind == "lstm" else (zeros,)
    return (state.hidden,) if state.cell is None else (state.hidden, state.cell)


def test_configs_and_accounts_need_no_torch():
    code = (
        "import sys; from lmwright.models import classic_accounting as a;"
        "print(a.parameters({'model_type': 'text_cnn', 'vocab_size': 9})['total']);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
