"""With the corrections as sums of the weights that the means gave out so far."""

import torch

REPLACES = "lmwright.training.adamw:adamw_step"


def given_out(beta, step):
    return (1 - beta) * sum(beta**age for age in range(step))


def adamw_step(parameter, gradient, first, second, step, *, lr, betas, eps, weight_decay):
    new_first = first + (1 - betas[0]) * (gradient - first)
    new_second = second + (1 - betas[1]) * (gradient * gradient - second)
    direction = new_first / given_out(betas[0], step)
    size = torch.sqrt(new_second / given_out(betas[1], step))
    change = weight_decay * parameter + direction / (size + eps)
    return torch.sub(parameter, change, alpha=lr), new_first, new_second
