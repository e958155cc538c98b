"""Gradients formed on the way forward, handed out on the way back; and the lab's variants."""

import torch

REPLACES = "lmwright.training.objectives.loss:linear_cross_entropy"

ROWS = 1024


class PiecewiseLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, smoothing, cap):
        total = torch.zeros((), dtype=torch.float32)
        slope_hidden = torch.zeros(hidden.shape)
        slope_weight = torch.zeros(weight.shape)
        slope_bias = torch.zeros(len(weight))
        classes = len(weight)
        for start in range(0, len(targets), ROWS):
            piece, goal = hidden[start : start + ROWS], targets[start : start + ROWS]
            counted = (goal != -100).float()[:, None]
            goal = goal.clamp(min=0)[:, None]
            logits = (piece @ weight.T).float()
            if bias is not None:
                logits = logits + bias
            if cap is not None:
                bent = torch.tanh(logits / cap)
                logits = cap * bent
            log_p = logits - torch.logsumexp(logits, 1, keepdim=True)
            losses = -(1 - smoothing) * log_p.gather(1, goal)
            losses = losses - smoothing * log_p.mean(1, keepdim=True)
            total = total + (losses * counted).sum()
            wanted = torch.full_like(log_p, smoothing / classes)
            wanted.scatter_add_(1, goal, torch.full(goal.shape, 1 - smoothing))
            slope = (log_p.exp() - wanted) * counted
            if cap is not None:
                slope = slope * (1 - bent**2)
            slope_hidden[start : start + ROWS] = slope @ weight.float()
            slope_weight += slope.T @ piece.float()
            slope_bias += slope.sum(0)
        ctx.save_for_backward(
            slope_hidden.to(hidden.dtype),
            slope_weight.to(weight.dtype),
            None if bias is None else slope_bias.to(bias.dtype),
        )
        return total

    @staticmethod
    def backward(ctx, above):
        slopes = [None if s is None else s * above.to(s.dtype) for s in ctx.saved_tensors]
        return (*slopes, None, None, None)


def linear_cross_entropy(hidden, weight, targets, bias=None, *, label_smoothing=0.0, soft_cap=None):
    return PiecewiseLoss.apply(hidden, weight, bias, targets, label_smoothing, soft_cap)


def row_losses(hidden, weight, targets):
    logits = (hidden @ weight.T).float()
    totals = logits.logsumexp(1)
    losses = totals - logits.gather(1, targets.clamp(min=0)[:, None])[:, 0]
    counted = (targets != -100).float()
    return losses * counted, totals, counted


def linear_cross_entropy_with_z(hidden, weight, targets, share):
    losses, totals, counted = row_losses(hidden, weight, targets)
    return (losses + share * totals**2 * counted).sum()


def weighted_linear_cross_entropy(hidden, weight, targets, importance):
    losses, _, _ = row_losses(hidden, weight, targets)
    return (losses * importance).sum()


def focal_linear_cross_entropy(hidden, weight, targets, gamma):
    losses, _, _ = row_losses(hidden, weight, targets)
    return ((1 - torch.exp(-losses)) ** gamma * losses).sum()
