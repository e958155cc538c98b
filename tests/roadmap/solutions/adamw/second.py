"""In place, on copies, as one writes optimisers by hand."""

REPLACES = "lmwright.training.adamw:adamw_step"


def adamw_step(parameter, gradient, first, second, step, *, lr, betas, eps, weight_decay):
    parameter, first, second = parameter.clone(), first.clone(), second.clone()
    first.mul_(betas[0]).add_(gradient, alpha=1 - betas[0])
    second.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    correction_1, correction_2 = 1 - betas[0] ** step, 1 - betas[1] ** step
    denominator = second.sqrt().div_(correction_2**0.5).add_(eps)
    parameter.mul_(1 - lr * weight_decay)
    parameter.addcdiv_(first, denominator, value=-lr / correction_1)
    return parameter, first, second
