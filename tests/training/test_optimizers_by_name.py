"""Every optimiser against the equations of its paper, its groups, and its life across a kill."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lmwright.core.errors import LmwrightError
from lmwright.training import checkpoint
from lmwright.training.adafactor import Adafactor
from lmwright.training.commands import LEARNING_RATES, LoopConfig
from lmwright.training.muon import orthogonalize
from lmwright.training.optimizers import Optimizers, build
from tests.training.cases import tiny_decoder

NAMES = tuple(LEARNING_RATES)
SHAPES = {"matrix": (7, 5), "vector": (6,)}
LR, DECAY, STEPS = 0.03, 0.2, 5


class Two(nn.Module):
    """A matrix and a vector."""

    def __init__(self, seed=0):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        for name, shape in SHAPES.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape, generator=g)))


def gradients(seed=1):
    g = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        # Of changing size, and with an entry that is zero at first.
        yield {
            name: torch.randn(shape, generator=g)
            * 10.0 ** (step - 2)
            * (torch.arange(shape[-1]) > (0 if step < 2 else -1))
            for name, shape in SHAPES.items()
        }


def made(name, model, **keys):
    keys = {"learning_rate": LR, "matrix_learning_rate": LR, "weight_decay": DECAY, **keys}
    return build(model, None, name=name, **keys)


def ours(name, **keys):
    model = Two()
    optimizers = made(name, model, **keys)
    for step in gradients():
        for part, gradient in step.items():
            getattr(model, part).grad = gradient.clone()
        optimizers.step()
    return {part: getattr(model, part).detach().double().numpy() for part in SHAPES}


def reference(update):
    """`update(weight, gradient, state, t, decay)` over the same gradients, in double precision."""
    model, states = Two(), {part: {} for part in SHAPES}
    weights = {part: getattr(model, part).detach().double().numpy() for part in SHAPES}
    for t, step in enumerate(gradients(), start=1):
        for part, gradient in step.items():
            decay = DECAY if part == "matrix" else 0.0
            g = gradient.double().numpy()
            weights[part] = update(weights[part], g, states[part], t, decay)
    return weights


def assert_equal(found, expected, tolerance=1e-5):
    for part in SHAPES:
        size = math.sqrt(
            np.mean((expected[part] - Two().get_parameter(part).detach().numpy()) ** 2)
        )
        assert size > 1e-3, "nothing moved"
        assert np.abs(found[part] - expected[part]).max() <= tolerance * max(size, 1.0), part


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [None, 0.5])
def test_sgd(momentum, nesterov):
    mu = 0.9 if momentum is None else momentum

    def update(w, g, s, t, decay):
        """Sutskever et al. 2013, in PyTorch's form: the rate outside of the velocity."""
        g = g + decay * w
        s["v"] = mu * s.get("v", 0.0) + g
        return w - LR * (g + mu * s["v"] if nesterov else s["v"])

    assert_equal(ours("sgd", momentum=momentum, nesterov=nesterov), reference(update))


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("betas", [None, (0.8, 0.99)])
def test_adam_and_adamw(name, betas):
    b1, b2 = betas or (0.9, 0.95)

    def update(w, g, s, t, decay):
        """Kingma & Ba 2014, algorithm 1; Loshchilov & Hutter 2017, algorithm 2."""
        if name == "adam":
            g = g + decay * w
        else:
            w = w * (1 - LR * decay)
        s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
        s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * g * g
        m, v = s["m"] / (1 - b1**t), s["v"] / (1 - b2**t)
        return w - LR * m / (np.sqrt(v) + 1e-8)

    assert_equal(ours(name, betas=betas), reference(update), tolerance=2e-5)


@pytest.mark.parametrize("momentum", [None, 0.7])
def test_rmsprop(momentum):
    def update(w, g, s, t, decay):
        """Tieleman & Hinton 2012, lecture 6e."""
        g = g + decay * w
        s["v"] = 0.99 * s.get("v", 0.0) + 0.01 * g * g
        step = g / (np.sqrt(s["v"]) + 1e-8)
        s["b"] = (momentum or 0.0) * s.get("b", 0.0) + step
        return w - LR * s["b"]

    assert_equal(ours("rmsprop", momentum=momentum), reference(update), tolerance=2e-5)


@pytest.mark.parametrize("betas", [None, (0.95, 0.98)])
def test_lion(betas):
    b1, b2 = betas or (0.9, 0.99)

    def update(w, g, s, t, decay):
        """Chen et al. 2023, algorithm 2."""
        m = s.get("m", np.zeros_like(w))
        direction = np.sign(b1 * m + (1 - b1) * g)
        s["m"] = b2 * m + (1 - b2) * g
        return w - LR * (direction + decay * w)

    assert_equal(ours("lion", betas=betas), reference(update))


def test_adafactor():
    def update(w, g, s, t, decay):
        """Shazeer & Stern 2018, algorithms 4 and 5, with the sums of rows and columns as there."""
        b2 = 1 - t**-0.8
        squares = g * g + 1e-30
        if w.ndim == 2:
            s["r"] = b2 * s.get("r", 0.0) + (1 - b2) * squares.sum(1)
            s["c"] = b2 * s.get("c", 0.0) + (1 - b2) * squares.sum(0)
            v = np.outer(s["r"], s["c"]) / s["r"].sum()
        else:
            s["v"] = v = b2 * s.get("v", 0.0) + (1 - b2) * squares
        u = g / np.sqrt(v)
        u = u / max(1.0, np.sqrt(np.mean(u * u)))
        rate = max(1e-3, np.sqrt(np.mean(w * w))) * LR
        return w * (1 - rate * decay) - rate * u

    assert_equal(ours("adafactor"), reference(update), tolerance=2e-5)


@pytest.mark.parametrize("relative_step", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_adafactor_equals_transformers(relative_step, scaled):
    from transformers.optimization import Adafactor as Theirs

    mine, other = Two(), Two()
    keys = {"weight_decay": DECAY, "relative_step": relative_step}
    lr = 1e-2 if relative_step else LR
    first = Adafactor(mine.parameters(), lr, scale_by_parameter=scaled, **keys)
    given = None if relative_step else LR
    second = Theirs(other.parameters(), lr=given, scale_parameter=scaled, **keys)
    for step in gradients():
        for part, gradient in step.items():
            mine.get_parameter(part).grad = gradient.clone()
            other.get_parameter(part).grad = gradient.clone()
        first.step()
        second.step()
    for part in SHAPES:
        assert_close(mine.get_parameter(part), other.get_parameter(part), rtol=1e-5, atol=1e-6)


def test_relative_step_falls_with_the_root():
    weight = nn.Parameter(torch.ones(4))
    optimizer = Adafactor([weight], 1.0, relative_step=True)
    for t in range(1, 5):
        before = weight.detach().clone()
        weight.grad = -torch.ones(4)
        optimizer.step()
        size = float(before.square().mean().sqrt())
        assert_close(weight.detach() - before, torch.full((4,), size * t**-0.5))


def test_adafactor_keeps_a_row_and_a_column():
    model = tiny_decoder()
    optimizers = made("adafactor", model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.step()
    kept = sum(
        value.numel() for state in optimizers.members[0].state.values() for value in state.values()
    )
    assert kept < 0.15 * sum(p.numel() for p in model.parameters())


def test_muon_takes_stacks_of_matrices():
    """The experts of a layer, one by one."""
    from lmwright.training.muon import Muon

    g = torch.Generator().manual_seed(0)
    stack = nn.Parameter(torch.zeros(3, 8, 4))
    gradient = torch.randn(3, 8, 4, generator=g)
    stack.grad = gradient.clone()
    Muon([stack], lr=0.1).step()
    for expert in range(3):
        direction = orthogonalize(gradient[expert : expert + 1])[0]
        assert_close(stack.detach()[expert], -0.1 * 2**0.5 * direction, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_matrices_and_embeddings_decay_and_vectors_never(name):
    """With gradients of zero nothing but decay moves a weight."""
    model = tiny_decoder()
    model.register_module("extra", nn.Linear(4, 3))
    optimizers = made(name, model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizers.step()
    seen = set()
    for part, parameter in model.named_parameters():
        moved = not torch.equal(parameter.detach(), before[part])
        assert moved == (parameter.ndim >= 2), part
        seen.add((part.rsplit(".", 2)[-2], moved))
    assert {("embed_tokens", True), ("q_proj", True), ("norm", False), ("extra", True)} <= seen


@pytest.mark.parametrize("name", NAMES)
def test_all_learn(name):
    """A quadratic bowl, at every optimiser's usual rate for a few hundred steps."""
    torch.manual_seed(5)
    model = Two()
    goal = {part: torch.randn(shape) for part, shape in SHAPES.items()}
    keys = {"learning_rate": LEARNING_RATES[name], "matrix_learning_rate": 0.02}
    optimizers = made(name, model, weight_decay=0.0, **keys)
    losses = []
    for step in range(600):
        optimizers.set_factor(1 - step / 600)
        loss = sum((getattr(model, p) - goal[p]).square().mean() for p in SHAPES)
        loss.backward()
        optimizers.step()
        optimizers.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def train_steps(model, optimizers, first, last):
    for step in range(first, last):
        g = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=g)
        optimizers.set_factor(1.0 / (step + 1))
        optimizers.step()
        optimizers.zero_grad()


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_a_checkpoint_to_the_bit(name, tmp_path):
    keys = {"momentum": 0.8} if name in ("sgd", "rmsprop") else {}
    whole = nn.ModuleDict({"model": tiny_decoder()})
    kept: Optimizers = made(name, whole["model"], **keys)
    train_steps(whole, kept, 0, 3)
    checkpoint.save(tmp_path, 3, whole, kept.members, {})
    train_steps(whole, kept, 3, 6)

    other = nn.ModuleDict({"model": tiny_decoder(seed=8)})
    loaded = made(name, other["model"], **keys)
    checkpoint.load(checkpoint.newest(tmp_path), other, loaded.members)
    train_steps(other, loaded, 3, 6)
    for one, two in zip(whole.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    for one, two in zip(kept.members, loaded.members, strict=True):
        assert one.param_groups[0].keys() == two.param_groups[0].keys()
        here, there = ([p for g in o.param_groups for p in g["params"]] for o in (one, two))
        for mine, yours in zip(here, there, strict=True):
            assert one.state[mine].keys() == two.state[yours].keys()
            for key, value in one.state[mine].items():
                other_value = torch.as_tensor(two.state[yours][key])
                assert torch.equal(torch.as_tensor(value), other_value), key


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_without_a_gradient_so_far_survives_too(name, tmp_path):
    """Its first gradient finds a fresh state, as it would have without a kill."""

    def later(modules, optimizers):
        modules["model"].vector.grad = torch.arange(6.0)
        modules["model"].matrix.grad = torch.ones(7, 5)
        optimizers.step()
        return [p.detach().clone() for p in modules.parameters()]

    whole = nn.ModuleDict({"model": Two()})
    kept = made(name, whole["model"])
    whole["model"].matrix.grad = torch.ones(7, 5)
    kept.step()
    kept.zero_grad()
    checkpoint.save(tmp_path, 1, whole, kept.members, {})
    other = nn.ModuleDict({"model": Two(seed=1)})
    loaded = made(name, other["model"])
    checkpoint.load(checkpoint.newest(tmp_path), other, loaded.members)
    for one, two in zip(later(whole, kept), later(other, loaded), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", NAMES)
def test_is_deterministic(name):
    def run():
        model = tiny_decoder()
        train_steps(model, made(name, model), 0, 3)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(run(), run())


# --- the keys of a step ---------------------------------------------------------------------------


def test_every_optimizer_has_its_usual_rate():
    assert LoopConfig().peak == 4e-3
    assert LoopConfig(optimizer="lion").peak == LEARNING_RATES["lion"]
    assert LoopConfig(optimizer="lion", learning_rate=1.0).peak == 1.0
    described = LoopConfig.model_fields["learning_rate"].description
    assert all(f"`{name}`" in described for name in NAMES)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"optimizer": "adamw", "momentum": 0.5},
            "momentum goes with sgd, rmsprop, muon, not with adamw",
        ),
        ({"optimizer": "sgd", "betas": (0.5, 0.5)}, "betas goes with adam"),
        ({"optimizer": "lion", "nesterov": True}, "nesterov goes with sgd, not with lion"),
        ({"optimizer": "sgd", "nesterov": True, "momentum": 0.0}, "which is 0"),
        ({"optimizer": "adam", "betas": (0.9, 1.0)}, "betas must lie"),
        ({"optimizer": "adamax"}, "Input should be 'muon', 'adamw'"),
    ],
)
def test_keys_without_use_are_refused(keys, message):
    with pytest.raises((ValueError, LmwrightError), match=message):
        LoopConfig(**keys)
