"""Small texts with padding in every place, and a few steps of training on a tiny task."""

import torch

VOCABULARY = 30


def texts(seed, lengths, vocabulary=VOCABULARY):
    """One (1, T) row of random tokens for each length."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, vocabulary, (1, n), generator=generator) for n in lengths]


def padded(rows, side, seed=0, width=None):
    """Rows as one batch, the padding random tokens; returns ids, mask (B, T).

    `side` is right, left or between: there the padding stands at random places.
    """
    generator = torch.Generator().manual_seed(seed)
    width = width or max(row.shape[1] for row in rows) + 2
    ids = torch.randint(0, VOCABULARY, (len(rows), width), generator=generator)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(rows):
        length = text.shape[1]
        if side == "right":
            places = torch.arange(length)
        elif side == "left":
            places = torch.arange(width - length, width)
        else:
            places = torch.randperm(width, generator=generator)[:length].sort().values
        mask[row, places] = 1
        ids[row, places] = text[0]
    return ids, mask


def train(model, loss_of, steps=30, learning_rate=0.02):
    """Losses of `steps` Adam steps on `loss_of(model)`."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    losses = []
    model.train()
    for _ in range(steps):
        loss = loss_of(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def contains_seven(seed=0, rows=32, width=9):
    """A task: does token 7 occur? ids, mask, labels."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(8, VOCABULARY, (rows, width), generator=generator)
    lengths = torch.randint(3, width + 1, (rows,), generator=generator)
    labels = torch.arange(rows) % 2
    for row in range(rows):
        if labels[row]:
            ids[row, int(lengths[row]) // 2] = 7
    mask = (torch.arange(width) < lengths[:, None]).long()
    return ids, mask, labels
