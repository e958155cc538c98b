"""The report: whole, one file, no network, nothing of a model's text taken as HTML."""

import re
from html.parser import HTMLParser

import pytest

from lmwright.pipeline.curves import curve_svg
from lmwright.pipeline.launch import launch


class Outline(HTMLParser):
    """Checks that tags nest and collects what a test asks for."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input", "use", "path", "line", "rect"})

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.ids, self.tags = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def page(recipe, runs):
    launch(recipe(), ["budget=30s", "base.plot=true"])
    return (runs / "tiny" / "report.html").read_text()


def test_it_is_whole_and_asks_for_nothing_from_outside(page):
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert all(address.startswith("#") for address in outline.addresses)
    assert "script" not in outline.tags
    assert not re.search(r"@import|url\((?!#)", page)
    assert len(set(outline.ids)) == len(outline.ids)


def test_it_tells_what_ran(page):
    for said in (
        "a tiny recipe",
        "fakesteps.train",
        ">done<",
        "no C++ compiler works here: training runs eager",
        "Exact match",
        "0.97",
        "documented names",
        "Lineage",
        "Environment",
        "learning_rate: 0.1",
        "prefers-color-scheme: dark",
    ):
        assert said in page, said
    assert page.count("<svg") == 1


def test_text_of_a_model_is_text(page):
    assert "&lt;b&gt;a&lt;/b&gt;" in page
    assert "<b>a</b>" not in page


def test_curves_leave_out_what_was_not_logged():
    metrics = [
        {"step": i, "loss": 1.0 / (i + 1), "validation_loss": None if i % 2 else 1.0}
        for i in range(5_000)
    ]
    svg = curve_svg('A < "B"', "step", ["loss", "validation_loss"], metrics, salt="a")
    assert svg.startswith('<svg role="img" aria-label="A &lt; &quot;B&quot;"')
    assert len(svg) < 200_000  # thinned out: a long training must not make a page of megabytes
    assert "currentColor" in svg
    assert curve_svg("none", "step", ["never"], metrics, salt="a") is None
    assert curve_svg("one point", "step", ["loss"], metrics[:1], salt="a") is None
