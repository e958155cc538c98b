"""Byte-pair encoding on numbers, with counts that are kept up to date."""

import itertools

REPLACES = "lmwright.tokens.bpe:BytePairs"


class BytePairs:
    """Inside, tokens are numbers."""

    def __init__(self, merges):
        self.merges = list(merges)
        self.texts = [bytes([i]) for i in range(256)]
        number = {text: i for i, text in enumerate(self.texts)}
        self.table = {}
        for left, right in self.merges:
            self.table[number[left], number[right]] = len(self.texts)
            number[left + right] = len(self.texts)
            self.texts.append(left + right)

    @classmethod
    def train(cls, words, vocab_size):
        texts = [bytes([i]) for i in range(256)]
        spelled = [(list(word), times) for word, times in words.items()]
        counts = {}
        homes = {}
        for index, (ids, times) in enumerate(spelled):
            for pair in itertools.pairwise(ids):
                counts[pair] = counts.get(pair, 0) + times
                homes.setdefault(pair, set()).add(index)
        merges = []
        while len(texts) < vocab_size and counts:
            best = max(counts.values())
            if best < 2:
                break
            pair = min(p for p in counts if counts[p] == best)
            new = len(texts)
            texts.append(texts[pair[0]] + texts[pair[1]])
            merges.append((texts[pair[0]], texts[pair[1]]))
            for index in homes.pop(pair):
                ids, times = spelled[index]
                for old in itertools.pairwise(ids):
                    counts[old] -= times
                    if not counts[old]:
                        del counts[old]
                ids = cls._replace(ids, pair, new)
                spelled[index] = (ids, times)
                for made in itertools.pairwise(ids):
                    counts[made] = counts.get(made, 0) + times
                    homes.setdefault(made, set()).add(index)
        return cls(merges)

    @staticmethod
    def _replace(ids, pair, new):
        ids = list(ids)
        at = 0
        while at < len(ids) - 1:
            if (ids[at], ids[at + 1]) == pair:
                ids[at : at + 2] = [new]
            at += 1
        return ids

    def split(self, word):
        ids = list(word)
        while True:
            found = [self.table[pair] for pair in itertools.pairwise(ids) if pair in self.table]
            if not found:
                return [self.texts[i] for i in ids]
            new = min(found)
            pair = next(p for p, number in self.table.items() if number == new)
            ids = self._replace(ids, pair, new)
