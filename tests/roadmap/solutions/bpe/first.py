"""Byte-pair encoding that counts anew for every merge, and the lab's twists."""

import itertools
from collections import Counter

REPLACES = "lmwright.tokens.bpe:BytePairs"


def join(tokens, pair):
    out = []
    i = 0
    while i < len(tokens):
        if i + 1 < len(tokens) and (tokens[i], tokens[i + 1]) == pair:
            out.append(tokens[i] + tokens[i + 1])
            i += 2
        else:
            out.append(tokens[i])
            i += 1
    return out


def learn(words, vocab_size, longest=None):
    spelled = {word: [word[i : i + 1] for i in range(len(word))] for word in words}
    ids = {bytes([i]): i for i in range(256)}
    merges = []
    while len(ids) < vocab_size:
        counts = Counter()
        for word, times in words.items():
            tokens = spelled[word]
            for pair in itertools.pairwise(tokens):
                if longest is None or len(pair[0]) + len(pair[1]) <= longest:
                    counts[pair] += times
        if not counts:
            break
        best = min(counts, key=lambda p: (-counts[p], ids[p[0]], ids[p[1]]))
        if counts[best] < 2:
            break
        merges.append(best)
        ids[best[0] + best[1]] = len(ids)
        spelled = {word: join(tokens, best) for word, tokens in spelled.items()}
    return merges


class BytePairs:
    def __init__(self, merges):
        self.merges = merges

    @classmethod
    def train(cls, words, vocab_size):
        return cls(learn(words, vocab_size))

    def split(self, word):
        tokens = [word[i : i + 1] for i in range(len(word))]
        for pair in self.merges:
            tokens = join(tokens, pair)
        return tokens


def split_to_ids(merges, word):
    ids = {bytes([i]): i for i in range(256)}
    for a, b in merges:
        ids[a + b] = len(ids)
    return [ids[token] for token in BytePairs(merges).split(word)]


def train_with_longest(words, vocab_size, longest):
    return learn(words, vocab_size, longest)


def split_with_dropout(merges, word, uniforms, dropout):
    kept = [pair for i, pair in enumerate(merges) if not uniforms[i] < dropout]
    return BytePairs(kept).split(word)
