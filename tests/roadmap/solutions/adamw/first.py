"""The step from its equations, and the lab's variants."""

import torch

REPLACES = "lmwright.training.adamw:adamw_step"


def adamw_step(parameter, gradient, first, second, step, *, lr, betas, eps, weight_decay):
    b1, b2 = betas
    first = b1 * first + (1 - b1) * gradient
    second = b2 * second + (1 - b2) * gradient**2
    first_hat = first / (1 - b1**step)
    second_hat = second / (1 - b2**step)
    parameter = parameter - lr * weight_decay * parameter
    parameter = parameter - lr * first_hat / (torch.sqrt(second_hat) + eps)
    return parameter, first, second


def nadamw_step(parameter, gradient, first, second, step, *, lr, betas, eps, weight_decay):
    b1, b2 = betas
    first = b1 * first + (1 - b1) * gradient
    second = b2 * second + (1 - b2) * gradient**2
    ahead = (b1 * first + (1 - b1) * gradient) / (1 - b1**step)
    root = torch.sqrt(second / (1 - b2**step)) + eps
    return parameter - lr * weight_decay * parameter - lr * ahead / root, first, second


def amsgrad_step(
    parameter, gradient, first, second, largest, step, *, lr, betas, eps, weight_decay
):
    b1, b2 = betas
    first = b1 * first + (1 - b1) * gradient
    second = b2 * second + (1 - b2) * gradient**2
    largest = torch.maximum(largest, second)
    root = torch.sqrt(largest / (1 - b2**step)) + eps
    moved = lr * first / (1 - b1**step) / root
    return parameter - lr * weight_decay * parameter - moved, first, second, largest


def stable_adamw_step(parameter, gradient, first, second, step, *, lr, betas, eps, weight_decay):
    b1, b2 = betas
    first = b1 * first + (1 - b1) * gradient
    second = b2 * second + (1 - b2) * gradient**2
    second_hat = second / (1 - b2**step)
    surprise = torch.sqrt((gradient**2 / torch.clamp(second_hat, min=eps**2)).mean()).item()
    lr = lr / max(1.0, surprise)
    moved = lr * first / (1 - b1**step) / (torch.sqrt(second_hat) + eps)
    return parameter - lr * weight_decay * parameter - moved, first, second
