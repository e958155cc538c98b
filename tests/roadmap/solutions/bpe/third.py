"""Byte-pair encoding on text in which each token is one character."""

import re
from collections import defaultdict

REPLACES = "lmwright.tokens.bpe:BytePairs"

# A word is kept as text in which each token is one character: merging is `str.replace`.


class BytePairs:
    def __init__(self, merges):
        self.merges = [(bytes(left), bytes(right)) for left, right in merges]

    @classmethod
    def train(cls, words, vocab_size):
        tokens = {chr(i): bytes([i]) for i in range(256)}
        spelled = {word.decode("latin-1"): times for word, times in words.items()}
        merges = []
        for number in range(256, vocab_size):
            counts = defaultdict(int)
            for text, times in spelled.items():
                for i in range(len(text) - 1):
                    counts[text[i : i + 2]] += times
            top = max(counts.values(), default=0)
            if top < 2:
                break
            best = sorted(pair for pair, count in counts.items() if count == top)[0]
            merges.append((tokens[best[0]], tokens[best[1]]))
            tokens[chr(number)] = merges[-1][0] + merges[-1][1]
            spelled = {text.replace(best, chr(number)): n for text, n in spelled.items()}
        return cls(merges)

    def split(self, word):
        characters = {bytes([i]): chr(i) for i in range(256)}
        text = word.decode("latin-1")
        for number, (left, right) in enumerate(self.merges):
            characters[left + right] = chr(256 + number)
            pattern = re.escape(characters[left] + characters[right])
            text = re.sub(pattern, chr(256 + number), text)
        back = {character: token for token, character in characters.items()}
        return [back[character] for character in text]
