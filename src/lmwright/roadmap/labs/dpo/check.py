"""What the loss of direct preference optimisation must do, in the order in which it is learnt."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.alignment.preference import dpo_loss
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call
from lmwright.roadmap.values import copied

# Log-probabilities lie near -10 and their differences near 2: taking differences in another order
# moves their last digits.
TOLERANCE = 2e-5


def losses(subject: Subject, case: Case) -> Any:
    """The losses alone."""
    return call(subject, case)[0]


def rewards(subject: Subject, case: Case) -> Any:
    """The two rewards alone."""
    return tuple(call(subject, case)[1:3])


def policy_gradients(subject: Subject, case: Case) -> Any:
    """The gradient of the weighted losses by both log-probabilities of the policy."""
    chosen, rejected, *others = copied(case.args)
    chosen.requires_grad_(True)
    rejected.requires_grad_(True)
    with torch.enable_grad():
        found = subject(chosen, rejected, *others)[0]
        if not found.requires_grad:
            return "no gradient: the losses do not depend on the policy in autograd's eyes"
        weights = 1.0 + torch.arange(found.numel()) % 3
        by = torch.autograd.grad((found * weights).sum(), (chosen, rejected), allow_unused=True)
    return tuple(torch.zeros_like(chosen) if gradient is None else gradient for gradient in by)


def carries_gradient(subject: Subject, case: Case) -> Any:
    """Of losses and rewards, which depend on the policy in autograd's eyes."""
    chosen, rejected, *others = copied(case.args)
    with torch.enable_grad():
        found = subject(chosen.requires_grad_(True), rejected.requires_grad_(True), *others)
    return [bool(each.requires_grad) for each in found]


def log_probabilities(draw: Draw) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of B pairs: chosen and rejected under the policy, then under the reference."""
    pairs = draw.size(1, 8)
    reference = [-1.0 - 12.0 * draw.uniforms(pairs) for _ in range(2)]
    policy = [each + 2.0 * draw.normal(pairs) for each in reference]
    # One pair is on the wrong side, so that not all losses are tiny.
    policy[0][0] = reference[0][0] - draw.uniform(0.1, 2.0)
    policy[1][0] = reference[1][0] + draw.uniform(0.1, 2.0)
    return policy[0], policy[1], reference[0], reference[1]


def at_the_start(draw: Draw) -> Case:
    chosen, rejected, *_ = log_probabilities(draw)
    return Case((chosen, rejected, chosen, rejected, draw.uniform(0.05, 1.0)))


def trained(draw: Draw) -> Case:
    return Case((*log_probabilities(draw), draw.uniform(0.05, 1.5)))


def in_double(draw: Draw) -> Case:
    case = trained(draw)
    return replace(case, args=(*(each.double() for each in case.args[:4]), case.args[4]))


def far_apart(draw: Draw) -> Case:
    """Rewards that lie a thousand nats apart, on one side or the other."""
    chosen, rejected, *reference, _ = trained(draw).args
    side = torch.where(draw.booleans(0.5, len(chosen)), 1.0, -1.0)
    side[0] = -1.0  # one pair at least is on the steep side
    chosen = chosen + side * (500.0 + 500.0 * draw.uniforms(len(chosen)))
    rejected = rejected - side * (500.0 + 500.0 * draw.uniforms(len(chosen)))
    return Case(
        (chosen, rejected, *reference, draw.uniform(0.5, 1.0)), note="margins of 1,000 nats"
    )


def far_or_near(draw: Draw) -> Case:
    far = draw.chance(0.4)
    case = far_apart(draw) if far else trained(draw)
    return replace(case, branches=frozenset({"far" if far else "near"}), tolerance=1e-4)


PROPERTIES = (
    Property(
        "where the policy is the reference, each loss is log 2",
        at_the_start,
        observe=losses,
        tolerance=TOLERANCE,
    ),
    Property(
        "each pair's loss is -log sigmoid(beta * margin)",
        trained,
        edges={"float64": in_double},
        observe=losses,
        tolerance=TOLERANCE,
    ),
    Property("margins of 1,000 nats overflow nothing", far_apart, observe=losses, tolerance=1e-5),
    Property(
        "an answer's reward is beta * its log-ratio of policy and reference",
        trained,
        edges={"float64": in_double},
        observe=rewards,
        tolerance=TOLERANCE,
    ),
    Property(
        "gradients reach chosen and rejected, and stay finite at large margins",
        far_or_near,
        observe=policy_gradients,
        branches=frozenset({"far", "near"}),
    ),
    Property(
        "rewards are for looking at: they carry no gradient",
        trained,
        cases=5,
        observe=carries_gradient,
    ),
)


def with_noise(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    flipped: float,
) -> Tensor:
    right = dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta).losses
    wrong = dpo_loss(rejected, chosen, reference_rejected, reference_chosen, beta).losses
    return (1 - flipped) * right + flipped * wrong


def ipo(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
) -> Tensor:
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return (margin - 1 / (2 * beta)).square()


def simpo(
    chosen: Tensor,
    rejected: Tensor,
    chosen_tokens: Tensor,
    rejected_tokens: Tensor,
    beta: float,
    target: float,
) -> Tensor:
    return -F.logsigmoid(beta * (chosen / chosen_tokens - rejected / rejected_tokens) - target)


def _flipped(draw: Draw) -> Case:
    case = trained(draw)
    return replace(case, args=(*case.args, draw.uniform(0.0, 0.4)))


def _counted(draw: Draw) -> Case:
    chosen, rejected, _, _, beta = trained(draw).args
    counts = (draw.integers(1, 20, len(chosen)) for _ in range(2))
    return Case((chosen, rejected, *counts, 10 * beta, draw.uniform(0.0, 1.5)))


TWISTS = {
    "with_noise": Twist(
        "dpo_loss_with_noise",
        "`dpo_loss_with_noise(chosen, rejected, reference_chosen, reference_rejected, beta, "
        "flipped)` gives the (B,) losses where a share `flipped` of the labels may be wrong "
        "(conservative DPO): 1 - flipped times the pair's loss, and flipped times the loss of "
        "the same pair with its answers exchanged.",
        with_noise,
        (Property("labels are wrong with probability `flipped`", _flipped, tolerance=TOLERANCE),),
    ),
    "ipo": Twist(
        "ipo_loss",
        "`ipo_loss(chosen, rejected, reference_chosen, reference_rejected, beta)` gives the (B,) "
        "losses of identity preference optimisation (Azar et al. 2023, equation 17): the margin of "
        "the log-ratios is pulled to 1 / (2 * beta) by the square of its distance, and never "
        "beyond.",
        ipo,
        (Property("the margin is pulled to 1 / (2 beta)", trained, tolerance=1e-4),),
    ),
    "simpo": Twist(
        "simpo_loss",
        "`simpo_loss(chosen, rejected, chosen_tokens, rejected_tokens, beta, target)` gives the "
        "(B,) losses of simple preference optimisation (Meng et al. 2024, equation 6), which needs "
        "no reference: -log sigmoid of beta times the difference of the log-probabilities per "
        "token, less `target`, a margin to be won by. The counts are (B,) int64.",
        simpo,
        (Property("log-probabilities per token, less a target", _counted, tolerance=TOLERANCE),),
    ),
}
