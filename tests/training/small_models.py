"""The smallest models that have what an objective asks for; rows never see each other."""

from types import SimpleNamespace

import torch
from torch import nn

from lmwright.tokens.examples import ExampleBatch

VOCAB, WIDTH = 61, 12


def random_examples(rows, length, labels, *, seed=0, kinds=True):
    """Padded texts of ragged length, tokens 5..60; `labels(generator, mask)` makes the labels."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCAB, (rows, length), generator=generator)
    sizes = torch.randint(length // 2, length + 1, (rows, 1), generator=generator)
    sizes[0] = length
    mask = (torch.arange(length) < sizes).long()
    return ExampleBatch(
        input_ids=ids * mask,
        attention_mask=mask,
        labels=labels(generator, mask),
        token_type_ids=torch.randint(0, 2, ids.shape, generator=generator) * mask
        if kinds
        else None,
    )


class Reader(nn.Module):
    """Each state mixes its token with the mean of its text."""

    def __init__(self, outputs=None, *, pooled=False, seed=0, dropout=0.0):
        super().__init__()
        self.config = SimpleNamespace(decoder_start_token_id=1, pad_token_id=0)
        self.words = nn.Embedding(VOCAB, WIDTH)
        self.kinds = nn.Embedding(2, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.pooled = pooled
        self.score = nn.Linear(WIDTH, outputs) if outputs else None
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.5, generator=generator)

    def hidden_states(
        self,
        input_ids,
        attention_mask=None,
        position_ids=None,
        token_type_ids=None,
        document_ids=None,
    ):
        x = self.words(input_ids)
        if token_type_ids is not None:
            x = x + self.kinds(token_type_ids)
        if document_ids is None:
            real = attention_mask.bool()
            seen = (real[:, None, :] & real[:, :, None]).to(x.dtype)
        else:
            same = document_ids[:, :, None] == document_ids[:, None, :]
            seen = (same & (document_ids != 0)[:, None, :]).to(x.dtype)
        mean = seen @ x / seen.sum(-1, keepdim=True).clamp_min(1)
        return self.dropout(torch.tanh(self.mix(x + mean)))

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        hidden = self.hidden_states(input_ids, attention_mask, token_type_ids=token_type_ids)
        if self.pooled:
            mask = attention_mask[:, :, None].to(hidden.dtype)
            hidden = (hidden * mask).sum(1) / mask.sum(1)
        if self.score is None:
            return SimpleNamespace(logits=hidden)
        return SimpleNamespace(logits=self.score(hidden))


class MaskedReader(Reader):
    """With a head for masked tokens: a transform, the words as output, a bias."""

    def __init__(self, *, seed=0, dropout=0.0):
        super().__init__(seed=seed, dropout=dropout)
        self.head = nn.Linear(WIDTH, WIDTH)
        self.output_bias = nn.Parameter(torch.zeros(VOCAB))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in (*self.head.parameters(), self.output_bias):
                parameter.normal_(0, 0.5, generator=generator)

    @property
    def output_weight(self):
        return self.words.weight

    def transform(self, hidden):
        return torch.tanh(self.head(hidden))


class Translator(Reader):
    """Each target state sees the source's mean and the target token before."""

    def encode(self, input_ids, attention_mask=None):
        return self.hidden_states(input_ids, attention_mask)

    def decoder_states(self, decoder_input_ids, memory, memory_mask=None):
        mask = memory_mask[:, :, None].to(memory.dtype)
        mean = (memory * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        return torch.tanh(self.mix(mean + self.words(decoder_input_ids)))

    @property
    def output_weight(self):
        return self.words.weight


class LogitsTranslator(nn.Module):
    """The same model, without the parts: logits only."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config = inner, inner.config

    def forward(self, input_ids, attention_mask=None, decoder_input_ids=None):
        memory = self.inner.encode(input_ids, attention_mask)
        states = self.inner.decoder_states(decoder_input_ids, memory, attention_mask)
        return SimpleNamespace(logits=states @ self.inner.output_weight.T)


def summed_gradients(model, objective, batch, micro_rows):
    """Mean loss and gradients of a batch cut into micro-batches, as the loop forms them."""
    model.zero_grad(set_to_none=True)
    loss = weight = 0.0
    metrics = {}
    for start in range(0, len(batch), micro_rows):
        result = objective.loss(model, batch.slice(start, start + micro_rows))
        if result.weight:
            result.loss.backward()
        loss, weight = loss + float(result.loss.detach()), weight + result.weight
        for name, value in result.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + float(value)
    gradients = {n: p.grad / weight for n, p in model.named_parameters() if p.grad is not None}
    means = {name: value / weight for name, value in metrics.items()}
    return loss / weight, gradients, means


def assert_same_however_cut(model, make_objective, batch, tolerance=1e-5):
    """1 x B equals B x 1: loss, gradients relative to their RMS, and metrics."""
    loss, gradients, metrics = summed_gradients(model, make_objective(), batch, len(batch))
    largest = max(float(gradient.square().mean().sqrt()) for gradient in gradients.values())
    for micro in (1, 3):
        other, others, seen = summed_gradients(model, make_objective(), batch, micro)
        assert abs(loss - other) <= tolerance * abs(loss)
        for name, gradient in gradients.items():
            # Some are 0 but for rounding: a bias in front of a softmax over positions.
            size = max(float(gradient.square().mean().sqrt()), 0.1 * largest)
            assert float((gradient - others[name]).abs().max()) <= tolerance * size, name
        for name, value in metrics.items():
            assert abs(value - seen[name]) <= tolerance * max(1.0, abs(value)), name
