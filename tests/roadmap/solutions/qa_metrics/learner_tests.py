"""What a learner might ask of their own qa_metrics."""

from mine.qa_metrics import answer_scores


def f1(answer, *references):
    return answer_scores(answer, list(references)).f1


def exact(answer, *references):
    return answer_scores(answer, list(references)).exact_match


def close(a, b):
    return abs(a - b) < 1e-9


def test_bags():
    assert close(f1("cat cat", "cat"), 2 / 3)
    assert close(f1("cat", "cat cat"), 2 / 3)
    assert close(f1("cat sat", "sat cat"), 1)
    assert close(f1("cat sat on mat", "cat"), 2 / 5)
    assert close(f1("dog", "cat"), 0)


def test_exact():
    assert exact("The Cat.", "cat")
    assert not exact("sat cat", "cat sat")
    assert not exact("cat sat", "cat")
    assert exact("  cat \n sat", "cat sat")


def test_punctuation():
    assert exact("x-ray", "xray")
    assert not exact("x-ray", "x ray")
    assert not exact("a—b", "ab")
    assert exact("the-end", "theend")


def test_articles():
    assert exact("an apple a day", "apple day")
    assert not exact("banana", "bn")
    assert close(f1("the—end", "—end"), 1)


def test_references():
    assert close(f1("cat", "dog", "cat"), 1)
    assert close(f1("cat", "cat", "dog"), 1)
    assert close(f1("cat"), 0)
    assert not exact("cat")


def test_empty():
    assert close(f1("", "the"), 1)
    assert close(f1("", "cat"), 0)
    assert close(f1("cat", ""), 0)
