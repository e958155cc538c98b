"""Learning-rate schedules, as a factor of the peak."""


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
