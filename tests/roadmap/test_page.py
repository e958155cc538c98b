"""The road's page in a real browser."""

import os
import re
import threading
import time

import pytest

from lmwright.roadmap.record import Record, road_file
from lmwright.roadmap.server import HOST, make_server
from lmwright.roadmap.verdicts import keep_verdict
from lmwright.serving import options
from tests.chromium import PHONE
from tests.roadmap.road import check
from tests.roadmap.test_server import WRONG

pytestmark = pytest.mark.browser

DESK = {"viewport": {"width": 1280, "height": 860}}
FOCUSED = "document.activeElement.id"


@pytest.fixture
def url(tmp_path, monkeypatch):
    """Address of a road whose learner has begun nothing."""
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LMWRIGHT_RUNS", str(tmp_path / "runs"))
    listener = options.bind(HOST, 0)
    server = make_server()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield options.address(listener)
    server.should_exit = True
    thread.join()


@pytest.fixture
def open_page(browser, url):
    """`open_page("#2.4")` gives a page; what it says to its console or asks elsewhere fails."""
    complaints: list[str] = []
    contexts = []

    def open_(place="", *, expect_errors=False, **more):
        context = browser.new_context(**{**DESK, **more})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        if not expect_errors:
            page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: r.url.startswith(url) or complaints.append(r.url))
        page.goto(f"{url}/{place}")
        page.wait_for_selector("#detail h1", state="attached")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def failing_check(name="attention"):
    """What `lab check` leaves behind when a property does not hold."""
    kind, fields = check(name, "a" * 64, passed=1)
    Record.open().append("start", lab=name)
    Record.open().append(kind, **fields)
    keep_verdict(name, sha256="a" * 64, verdict=WRONG)


def wait_until(page, condition):
    """Wait for a JavaScript condition; Playwright's own wait is an `eval`, which we forbid."""
    deadline = time.monotonic() + 15
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never: {condition}"
        page.wait_for_timeout(20)


def heading(page):
    return page.text_content("#detail h1")


def test_the_map_has_every_topic_and_says_what_to_do_next(open_page):
    page = open_page()
    assert page.locator(".topic").count() == 44
    assert page.locator(".stage h2").count() == 6
    assert heading(page) == "What to do next"
    assert re.match("lmwright lab start ", page.text_content(".hero .command code"))
    assert "New here?" in page.text_content("#detail")
    built = page.get_attribute("#progress", "aria-label")
    assert re.match(r"0 of \d+ labs built", built)


def test_a_topic_tells_what_to_read_run_and_write(open_page):
    page = open_page()
    page.click("text=Transformer, self-attention")
    wait_until(page, "document.querySelector('#detail h1').textContent.startsWith('Transformer')")
    shown = page.text_content("#detail")
    for words in (
        "lmwright/models/layers/attention.py",
        "lmwright run positions",
        "rope",
        "45 min",
    ):
        assert words in shown
    assert page.get_attribute("#topic-2\\.4", "aria-current") == "true"
    page.click("#detail .topics a")
    wait_until(page, "location.hash === '#2.1'")
    page.go_back()
    wait_until(page, "document.querySelector('#detail h1').textContent.startsWith('Transformer')")


def test_a_lab_shows_its_specification_and_the_last_failure(open_page):
    failing_check()
    page = open_page("#lab/attention")
    assert heading(page) == "attention"
    assert page.locator(".spec h1").count() == 0, "its title stands above already"
    assert "softmax" in page.text_content(".spec")
    check_ = page.text_content(".check")
    assert "1 of 3 properties" in check_
    assert "Your output equals attention with tiled heads." in check_
    assert "yours, at [0, 1]" in check_
    assert "1 more property waits" in check_
    assert "lmwright lab check attention --seed 7" in check_
    assert page.locator(".steps [data-done=yes]").all_text_contents() == ["begun, done"]


def test_the_page_follows_the_record_while_it_is_open(open_page):
    page = open_page("#lab/attention")
    assert page.locator(".check").count() == 0
    failing_check()
    page.wait_for_selector(".check")
    kind, fields = check("attention", "b" * 64)
    Record.open().append(kind, **fields)
    page.wait_for_selector(".check[data-passed=yes]")
    assert "3 of 3 properties" in page.text_content(".check")


def test_looking_again_takes_no_focus_away(open_page):
    page = open_page()
    page.locator(".topic").first.focus()
    page.keyboard.press("ArrowDown")
    Record.open().append("start", lab="attention")
    wait_until(page, "document.querySelector('#topic-2\\\\.4 .pip[data-word=started]') !== null")
    assert page.evaluate(FOCUSED) == "topic-1.2"


def test_what_is_wrong_with_the_record_is_said(open_page):
    Record.open().append("start", lab="attention")
    road_file().write_bytes(road_file().read_bytes() + b"torn")
    page = open_page()
    assert "line 2: torn" in page.text_content(".problems")


def test_what_the_learners_code_said_is_text_and_never_markup(open_page):
    attack = "<img src=x onerror='window.hacked=1'>"
    kind, fields = check("attention", "a" * 64, passed=0, of=0)
    Record.open().append(kind, **fields, problem=attack)
    page = open_page("#lab/attention")
    assert attack in page.text_content(".check")
    assert page.locator(".check img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_the_arrow_keys_walk_the_topics(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == "home"
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == "topic-1.1", "one stop for all topics"
    walk = {
        "ArrowDown": "topic-1.2",
        "ArrowRight": "topic-2.1",
        "ArrowUp": "topic-1.4",
        "ArrowLeft": "topic-1.1",
        "End": "topic-B.2",
        "Home": "topic-1.1",
    }
    for key, expected in walk.items():
        page.keyboard.press(key)
        assert page.evaluate(FOCUSED) == expected
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid", "where one is can be seen"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#detail') !== null")


def test_enter_opens_a_topic_and_escape_comes_back_to_it(open_page):
    page = open_page()
    page.locator("#topic-1\\.1").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wait_until(page, "document.activeElement.tagName === 'H1'")
    assert heading(page).startswith("Neural networks")
    page.keyboard.press("Escape")
    assert page.evaluate(FOCUSED) == "topic-2.1"


def test_on_a_phone_the_map_and_what_was_chosen_take_turns(open_page):
    page = open_page(**PHONE)
    assert page.is_visible("#map")
    assert page.is_hidden("#detail")
    page.evaluate("scrollTo(0, 900)")
    page.wait_for_timeout(100)
    page.evaluate("document.getElementById('topic-3.4').click()")
    wait_until(page, "document.body.dataset.view === 'detail'")
    assert page.is_hidden("#map")
    assert heading(page).startswith("GPT, BERT")
    page.click("#back")
    wait_until(page, "document.body.dataset.view === 'map'")
    page.click(".next")
    wait_until(page, "document.body.dataset.view === 'detail'")
    assert heading(page) == "What to do next"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(open_page, scheme):
    failing_check()
    page = open_page(color_scheme=scheme, **PHONE)
    for place in ("", "next", "2.4", "3.6", "lab/attention"):
        page.evaluate(f"location.hash = '{place}'")
        view = "detail" if place else "map"
        wait_until(page, f"document.body.dataset.view === '{view}'")
        assert page.evaluate("document.documentElement.scrollWidth") == 390, place


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_picture_of_it_is_as_wide_as_asked_and_not_empty(open_page, tmp_path, scheme, size):
    failing_check()
    # LMWRIGHT_SCREENSHOTS keeps them, to be looked at.
    folder = os.environ.get("LMWRIGHT_SCREENSHOTS") or str(tmp_path)
    for place in ("", "#2.4", "#lab/attention"):
        page = open_page(place, color_scheme=scheme, **size)
        name = f"{place.strip('#').replace('/', '-') or 'map'}-{size['viewport']['width']}-{scheme}"
        picture = page.screenshot(path=f"{folder}/{name}.png")
        width = int.from_bytes(picture[16:20])  # of a PNG's header (ISO 15948, 11.2.2)
        assert width == size["viewport"]["width"]
        assert len(picture) > 15_000


def test_words_stand_out_from_their_paper(open_page):
    """Contrast of at least 4.5 for what is read (WCAG 2.2, 1.4.3)."""
    failing_check()
    for scheme in ("light", "dark"):
        page = open_page("#lab/attention", color_scheme=scheme)
        colours = page.evaluate(COLOURS, WORDS)
        for name, ink, paper in colours:
            assert contrast(ink, paper) >= 4.5, (scheme, name, ink, paper)


WORDS = [".topic .title", ".id", "[aria-current] .id", ".lead", ".small", ".eyebrow", ".count"]
WORDS += [".cases", ".says", ".spec p", ".steps li", ".said", ".check .diagnosis"]
COLOURS = """(words) => words.map((name) => {
  const found = document.querySelector(name);
  const paint = (element) => getComputedStyle(element).backgroundColor;
  let behind = found;
  while (behind && paint(behind) === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  return [name, getComputedStyle(found).color, paint(behind ?? document.body)];
})"""


def contrast(one: str, other: str) -> float:
    """Of two CSS colours `rgb(r, g, b)` (WCAG 2.2, relative luminance)."""
    shades = []
    for colour in (one, other):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        shades.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(shades) + 0.05) / (min(shades) + 0.05)


def test_a_server_that_is_gone_is_said_and_found_again(open_page):
    page = open_page(expect_errors=True)
    page.route("**/*.json", lambda route: route.abort())
    wait_until(page, "document.querySelector('#detail h1').textContent.includes('out of reach')")
    page.unroute("**/*.json")
    wait_until(page, "document.querySelector('#detail h1').textContent === 'What to do next'")


def test_a_lab_that_does_not_exist_is_said(open_page):
    page = open_page("#lab/nothing", expect_errors=True)
    assert "no lab nothing" in page.text_content("#detail")
