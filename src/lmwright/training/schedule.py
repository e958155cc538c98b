"""Learning-rate schedules, as a factor of the peak.

Each takes the number of finished steps (0 at the first) and of all steps, and gives a factor above
0 also at the first step. `warmup` and `decay` are shares of the steps, `floor` the last factor.
"""

import math

from lmwright.training.commands import ScheduleName


def factor(
    name: ScheduleName, step: int, steps: int, *, warmup: float, decay: float, floor: float
) -> float:
    """The factor of the schedule called `name`; keys that it has no use for count nothing.

    Args:
        name: as `LoopConfig.schedule` names it.
        step: number of finished steps, 0 at the first.
        steps: of the whole training.
        warmup: share of the steps in which the factor rises to 1.
        decay: share of the steps, at the end, in which `warmup_stable_decay` falls.
        floor: factor at the last step, where the schedule falls to one.
    """
    if name == "warmup_stable_decay":
        return warmup_stable_decay(step, steps, warmup=warmup, decay=decay, floor=floor)
    if name == "linear":
        return linear(step, steps, warmup=warmup, floor=floor)
    if name == "cosine":
        return cosine(step, steps, warmup=warmup, floor=floor)
    if name == "inverse_square_root":
        return inverse_square_root(step, steps, warmup=warmup)
    if name == "plateau_inverse_square_root":
        return inverse_square_root(step, steps, warmup=warmup, rising=False)
    return constant(step, steps, warmup=warmup)


def warmup_stable_decay(
    step: int, steps: int, *, warmup: float = 0.02, decay: float = 0.6, floor: float = 0.02
) -> float:
    """Warm-up, plateau, linear decay (Hu et al. 2024, MiniCPM, section 4).

    Args:
        step: number of finished steps, 0 at the first.
        steps: of the whole training.
        warmup: share of the steps in which the factor rises to 1.
        decay: share of the steps, at the end, in which it falls to `floor`.
        floor: factor at the last step.

    Returns:
        The factor, above 0 also at the first step.
    """
    rising = max(1, round(warmup * steps))
    falling = max(1, round(decay * steps))
    if step < rising:
        return (step + 1) / rising
    if step < steps - falling:
        return 1.0
    progress = (step - (steps - falling) + 1) / falling
    return 1.0 - (1.0 - floor) * progress


def linear(step: int, steps: int, *, warmup: float = 0.02, floor: float = 0.02) -> float:
    """Warm-up, then a straight line down to `floor` (Devlin et al. 2018, BERT, appendix A.2)."""
    rising = _rising(steps, warmup)
    if step < rising:
        return (step + 1) / rising
    return 1.0 - (1.0 - floor) * _progress(step, steps, rising)


def cosine(step: int, steps: int, *, warmup: float = 0.02, floor: float = 0.02) -> float:
    """Warm-up, then half a cosine down to `floor` (Loshchilov & Hutter 2016, SGDR, equation 5)."""
    rising = _rising(steps, warmup)
    if step < rising:
        return (step + 1) / rising
    height = 0.5 * (1.0 + math.cos(math.pi * _progress(step, steps, rising)))
    return floor + (1.0 - floor) * height


def inverse_square_root(
    step: int, steps: int, *, warmup: float = 0.02, rising: bool = True
) -> float:
    """1 at the end of the warm-up of w steps, sqrt(w / n) at step n after it.

    Args:
        step, steps, warmup: see the module.
        rising: whether the factor rises linearly in the warm-up (Vaswani et al. 2017, equation 3)
            or is 1 from the beginning (Raffel et al. 2019, T5, section 3.1.2; Du et al. 2021,
            GLaM, section 5.1).
    """
    held = _rising(steps, warmup)
    if step < held:
        return (step + 1) / held if rising else 1.0
    return math.sqrt(held / (step + 1))


def constant(step: int, steps: int, *, warmup: float = 0.02) -> float:
    """Warm-up, then 1."""
    return min(1.0, (step + 1) / _rising(steps, warmup))


def _rising(steps: int, warmup: float) -> int:
    """Steps of the warm-up; the first step is at least one of them, so that none has factor 0."""
    return max(1, round(warmup * steps))


def _progress(step: int, steps: int, rising: int) -> float:
    """Share of the way down that is done once `step` is: 1 at the last step."""
    return (step - rising + 1) / max(1, steps - rising)
