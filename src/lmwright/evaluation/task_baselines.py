"""What a model of a labelled task must beat: counted words, a linear classifier, a lookup."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import Row
from lmwright.metrics.classification import accuracy

# Words, and every sign between them by itself: "n't" and "!" say much of a sentiment.
_WORD = r"\w+|[^\w\s]"
_SENTENCE = r"(?<=[.!?])\s+"
# Inverse strengths of the penalty to choose from, on the validation split.
_LOGISTIC = (0.3, 1.0, 3.0, 10.0, 30.0)
_SVM = (0.03, 0.1, 0.3, 1.0, 3.0)
# Share of the classifier's own weights against their mean size: Wang & Manning's 0.25.
_OWN = 0.25

Splits = Mapping[str, Sequence[Row]]


def majority(splits: Splits) -> list[str]:
    """The commonest class of the training split, for every test row."""
    [(label, _)] = Counter(row["label"] for row in splits["train"]).most_common(1)
    return [label] * len(splits["test"])


def tfidf(splits: Splits) -> list[str]:
    """TF-IDF of words and their pairs (Sparck Jones 1972), logistic regression.

    Returns:
        classes of the test rows; the penalty is the one best on the validation split.

    Raises:
        LmwrightError: if the training split has a single class.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(token_pattern=_WORD, ngram_range=(1, 2), sublinear_tf=True)
    features = _features(vectorizer, splits)
    labels = _labels(splits)
    # liblinear knows two classes only, and is three times as fast on them.
    solver = "liblinear" if len(set(labels["train"])) == 2 else "lbfgs"

    def fitted(strength: float) -> Callable[[Any], Sequence[str]]:
        model = LogisticRegression(C=strength, solver=solver, max_iter=1000, random_state=0)
        predict: Callable[[Any], Sequence[str]] = model.fit(
            features["train"], labels["train"]
        ).predict
        return predict

    return _best(fitted, _LOGISTIC, features, labels)


def nb_svm(splits: Splits) -> list[str]:
    """A linear SVM on presence of words and pairs, scaled by naive Bayes' log-count ratios.

    Wang & Manning 2012, Baselines and bigrams, section 2.3: r = log of p/|p| over q/|q| with p, q
    the smoothed counts inside and outside a class; weights (1 - b) mean|w| + b w, b = 0.25.

    Returns:
        classes of the test rows; the penalty is the one best on the validation split.

    Raises:
        LmwrightError: if the training split has a single class.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.svm import LinearSVC

    vectorizer = CountVectorizer(token_pattern=_WORD, ngram_range=(1, 2), binary=True)
    features = _features(vectorizer, splits)
    labels = _labels(splits)
    classes = sorted(set(labels["train"]))
    truth = np.array(labels["train"])

    def fitted(strength: float) -> Callable[[Any], Sequence[str]]:
        scorers = []
        for name in classes:
            ratio = _log_count_ratio(features["train"], truth == name)
            svm = LinearSVC(C=strength, random_state=0)
            svm.fit(features["train"].multiply(ratio).tocsr(), truth == name)
            own = svm.coef_[0]
            weights = (1 - _OWN) * np.abs(own).mean() + _OWN * own
            scorers.append((weights * ratio, svm.intercept_[0]))

        def predict(matrix: Any) -> Sequence[str]:
            scores = np.stack([matrix @ weights + bias for weights, bias in scorers], axis=1)
            return [classes[index] for index in scores.argmax(axis=1)]

        return predict

    return _best(fitted, _SVM, features, labels)


def commonest_tags(splits: Splits) -> list[list[str]]:
    """For each word of the test split the tag it has most often in training.

    A word that is not there gets the tag that words seen once have most often.
    """
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for row in splits["train"]:
        for word, tag in zip(row["tokens"], row["tags"], strict=True):
            seen[word][tag] += 1
    best = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
    rare = Counter(best[word] for word, counts in seen.items() if counts.total() == 1)
    unknown = (rare or Counter(best.values())).most_common(1)[0][0]
    return [[best.get(word, unknown) for word in row["tokens"]] for row in splits["test"]]


def nearest_sentence(splits: Splits) -> list[str]:
    """For each test question the sentence of its context that is most like it, by TF-IDF.

    The look-up that a reader has to beat: it finds the place and not the answer.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    contexts = {row["context"] for rows in splits.values() for row in rows}
    vectorizer = TfidfVectorizer(token_pattern=_WORD, sublinear_tf=True).fit(sorted(contexts))
    found = []
    for row in splits["test"]:
        sentences = [part for part in re.split(_SENTENCE, row["context"]) if part.strip()]
        alike = vectorizer.transform(sentences) @ vectorizer.transform([row["question"]]).T
        found.append(sentences[int(alike.toarray()[:, 0].argmax())])
    return found


def text_of(row: Row) -> str:
    """What a bag of words sees of a row: of a pair both texts."""
    return str(row["text"]) if "text" in row else f"{row['sentence1']} {row['sentence2']}"


def _features(vectorizer: Any, splits: Splits) -> dict[str, Any]:
    texts = {split: [text_of(row) for row in rows] for split, rows in splits.items()}
    found = {"train": vectorizer.fit_transform(texts["train"]).tocsr()}
    return found | {
        split: vectorizer.transform(texts[split]).tocsr() for split in ("validation", "test")
    }


def _labels(splits: Splits) -> dict[str, list[str]]:
    labels = {split: [row["label"] for row in rows] for split, rows in splits.items()}
    if len(set(labels["train"])) < 2:
        raise LmwrightError("all training rows have one label: there is nothing to tell apart")
    return labels


def _log_count_ratio(features: Any, inside: Any) -> Any:
    """(F,) log of how much likelier a feature is inside a class than outside, add-one smoothed."""
    counts = [np.asarray(features[mask].sum(axis=0)).ravel() + 1.0 for mask in (inside, ~inside)]
    shares = [count / count.sum() for count in counts]
    return np.log(shares[0] / shares[1])


def _best(
    fitted: Callable[[float], Callable[[Any], Sequence[str]]],
    strengths: Sequence[float],
    features: Mapping[str, Any],
    labels: Mapping[str, list[str]],
) -> list[str]:
    """Test predictions with the penalty that is best on the validation split."""
    models = [fitted(strength) for strength in strengths]
    scores = [accuracy(labels["validation"], list(m(features["validation"]))) for m in models]
    return [str(label) for label in models[int(np.argmax(scores))](features["test"])]
