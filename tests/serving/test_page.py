"""The chat page in a real browser."""

import re
import threading
from itertools import pairwise

import pytest

from lmwright.serving.keys import Keys
from tests.chromium import PHONE

pytestmark = pytest.mark.browser

ANSWER = "Return a copy of the string converted to uppercase ."


def words(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


@pytest.fixture
def open_page(browser):
    """`open_page(server)` gives a ready page; anything on its console fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_(server, *, ready=True, expect_errors=False, **options):
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        if not expect_errors:
            page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        foreign = []
        page.on(
            "request",
            lambda request: None if request.url.startswith(server.url) else foreign.append(request),
        )
        page.goto(server.url)
        if ready:
            page.wait_for_selector("#model[data-state=ready]")
        assert foreign == []
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def ask(page, text: str) -> None:
    page.fill("#prompt", text)
    page.keyboard.press("Enter")


def wait_until(page, condition: str) -> None:
    """Wait for a JavaScript condition; Playwright's own wait is an `eval`, which we forbid."""
    for _ in range(1_000):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(10)
    raise AssertionError(f"never: {condition}")


def wait_for_end(page) -> None:
    page.wait_for_selector("#send:not([hidden])")


def test_an_answer_arrives_word_by_word(serve, scripted, open_page):
    server = serve(scripted(script=words(ANSWER), seconds=0.03))
    page = open_page(server)
    page.evaluate(
        """() => {
          window.seen = [];
          const watched = {subtree: true, childList: true, characterData: true};
          new MutationObserver(() => seen.push(document.querySelector(".answer").textContent))
            .observe(document.querySelector("#turns"), watched);
        }"""
    )
    ask(page, "What does str.upper do?")
    page.wait_for_selector(".below:not([hidden])")

    assert page.text_content(".answer") == ANSWER
    seen = [text for text in dict.fromkeys(page.evaluate("seen")) if text]
    assert len(seen) >= 3
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
    assert page.text_content(".question p") == "What does str.upper do?"
    assert re.match(r"11 tokens\s· \d+ tokens/s\s· first after", page.text_content(".meta"))


@pytest.mark.parametrize("by", ["Escape", "button"])
def test_stop_ends_the_servers_generation(serve, scripted, open_page, eventually, by):
    engine = scripted(script=["word "] * 5_000, seconds=0.01, context_length=10_000)
    server = serve(engine)
    page = open_page(server)
    ask(page, "Go on")
    wait_until(page, "document.querySelector('.answer').textContent.length > 20")

    if by == "button":
        page.click("#stop")
    else:
        page.keyboard.press("Escape")

    eventually(lambda: engine.aborted == [0])
    assert engine.steps < 5_000
    wait_for_end(page)
    assert "stopped" in page.text_content(".meta")
    assert page.text_content(".answer").startswith("word word")


def test_a_conversation_has_several_turns_and_survives_a_reload(serve, scripted, open_page):
    engine = scripted(script=words(ANSWER))
    page = open_page(serve(engine))
    for question in ("one", "two words"):
        ask(page, question)
        wait_until(page, "document.querySelectorAll('.below:not([hidden])').length > 0")
        wait_for_end(page)
    # <turn> one ANSWER(10) two words
    assert len(engine.seen[1].prompt) == 1 + 1 + 10 + 2

    page.reload()
    page.wait_for_selector("#model[data-state=ready]")
    assert page.locator(".exchange").count() == 2
    assert page.locator(".answer").last.text_content() == ANSWER
    page.click("#new")
    assert page.locator(".exchange").count() == 0
    assert page.is_visible("#welcome")
    assert page.evaluate("document.activeElement.id") == "prompt"


def test_model_text_is_text_and_never_markup(serve, scripted, open_page):
    attack = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> <b>bold</b>'
    server = serve(scripted(script=words(attack)))
    page = open_page(server)
    ask(page, attack)
    page.wait_for_selector(".below:not([hidden])")
    page.wait_for_timeout(100)

    assert page.text_content(".answer") == attack
    assert page.text_content(".question p") == attack
    assert page.locator(".answer img, .answer b, .answer script, .question img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_fenced_code_gets_a_box(serve, scripted, open_page):
    text = "Use `upper`:\n\n```python\n>>> 'a'.upper()  # <b>\n'A'\n```\nDone."
    for script in (list(text), [text], words(text)):
        page = open_page(serve(scripted(script=script, context_length=500)))
        ask(page, "How?")
        page.wait_for_selector(".below:not([hidden])")
        assert page.text_content(".code .language") == "python"
        assert page.text_content(".code code") == ">>> 'a'.upper()  # <b>\n'A'"
        assert page.locator(".answer .text").all_text_contents() == ["Use upper:", "Done."]
        assert page.text_content(".answer .text code") == "upper"


def test_an_error_is_shown_and_can_be_retried(serve, scripted, open_page):
    engine = scripted(failing_steps=1, hold=threading.Semaphore(0))
    page = open_page(serve(engine))
    # A step that fails sooner gives a status in place of a stream, and the browser complains of it.
    with page.expect_response("**/chat/completions"):
        ask(page, "Hi")
    engine.hold.release(100)
    page.wait_for_selector(".failure:not([hidden])")
    assert "engine failed" in page.text_content(".failure p")

    page.click(".retry")
    page.wait_for_selector(".below:not([hidden])")
    assert page.text_content(".answer") == "Hello there."
    assert page.is_hidden(".failure")


def test_a_refusal_is_shown_in_the_servers_words(serve, scripted, open_page):
    page = open_page(serve(scripted()), expect_errors=True)
    ask(page, "refuse me")
    page.wait_for_selector(".failure:not([hidden])")
    assert page.text_content(".failure p") == "the chat template refuses these messages"


def test_a_server_that_is_gone_is_said_and_found_again(serve, scripted, open_page):
    server = serve(scripted())
    page = open_page(server, expect_errors=True)
    page.route("**/*", lambda route: route.abort())
    ask(page, "Hi")
    page.wait_for_selector(".failure:not([hidden])")
    page.wait_for_selector("#model[data-state=unreachable]")
    page.unroute("**/*")
    page.wait_for_selector("#model[data-state=ready]")
    page.click(".retry")
    page.wait_for_selector(".below:not([hidden])")


def test_a_long_conversation_leaves_its_earliest_turns_out(serve, scripted, open_page):
    engine = scripted(script=words(ANSWER), context_length=64)
    page = open_page(serve(engine))
    for number in range(8):
        ask(page, f"question number {number} of a long conversation")
        wait_for_end(page)
        wait_until(
            page, f"document.querySelectorAll('.below:not([hidden])').length == {number + 1}"
        )
    assert page.locator(".failure:not([hidden])").count() == 0
    assert "left out" in page.locator(".meta").last.text_content()


def test_answering_again_gives_a_greedy_model_some_chance(serve, scripted, open_page):
    engine = scripted()
    page = open_page(serve(engine))
    ask(page, "Hi")
    page.click(".again")
    wait_until(page, "document.querySelector('.meta').textContent.includes('temperature')")
    assert [request.params.temperature for request in engine.seen] == [0, 0.7]
    assert page.locator(".exchange").count() == 1


def test_a_server_with_keys_gets_one_from_the_person(serve, scripted, open_page):
    server = serve(scripted(), keys=Keys(["sk-of-this-person"]))
    page = open_page(server, expect_errors=True)
    page.wait_for_selector("#settings[open]")
    field = page.get_by_label("API key")
    assert field.is_visible()
    assert page.evaluate("document.activeElement.name") == "key"
    assert field.get_attribute("type") == "password"
    field.fill("sk-wrong-one")
    page.keyboard.press("Escape")
    ask(page, "Hi")
    page.wait_for_selector(".failure:not([hidden])")
    page.wait_for_selector("#settings[open]")
    field.fill("sk-of-this-person")
    page.keyboard.press("Escape")
    page.click(".retry")
    page.wait_for_selector(".below:not([hidden])")
    assert page.text_content(".answer") == "Hello there."
    page.reload()
    page.wait_for_selector("#model[data-state=ready]")
    assert not page.evaluate("document.querySelector('#settings').open"), "it is remembered"


def test_settings_reach_the_engine_and_are_kept(serve, scripted, open_page, eventually):
    engine = scripted()
    page = open_page(serve(engine))
    page.click("#settings-open")
    page.fill("[name=system]", "Be brief")
    page.fill("[name=temperature]", "0.5")
    page.fill("[name=top_k]", "7")
    page.fill("[name=max_tokens]", "2")
    page.fill("[name=seed]", "11")
    page.keyboard.press("Escape")
    page.reload()
    page.wait_for_selector("#model[data-state=ready]")
    ask(page, "Hi")
    page.wait_for_selector(".below:not([hidden])")

    request = engine.seen[0]
    params = request.params
    assert (params.temperature, params.top_k, params.max_tokens, params.seed) == (0.5, 7, 2, 11)
    assert len(request.prompt) == 1 + 2 + 1, "the instructions stand before the question"
    page.click("#settings-open")
    page.click("#settings-reset")
    page.click("text=Done")
    ask(page, "Hi")
    eventually(lambda: len(engine.seen) == 2)
    assert engine.seen[1].params.temperature == 0


def test_everything_works_by_keyboard(serve, scripted, open_page):
    engine = scripted()
    page = open_page(serve(engine, questions=["First?", "Second?"]))
    assert page.evaluate("document.activeElement.id") == "prompt", "ready to type"
    page.keyboard.type("line one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("line two")
    page.keyboard.press("Enter")
    page.wait_for_selector(".below:not([hidden])")
    assert page.text_content(".question p") == "line one\nline two"
    assert page.evaluate("document.activeElement.id") == "prompt", "ready for the next question"

    for name in ("again", "copy"):
        page.keyboard.press("Shift+Tab")
        assert name in page.evaluate("document.activeElement.className")
    for name in ("theme", "settings-open"):
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.id") == name
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('#settings').open")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "settings-open", "focus comes back"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert page.is_visible("#welcome")
    page.keyboard.press("Shift+Tab+Tab")
    page.locator(".suggestions button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".below:not([hidden])")
    assert page.text_content(".question p") == "First?"


def test_a_reader_that_listens_hears_the_answer_once(serve, scripted, open_page):
    page = open_page(serve(scripted(script=words(ANSWER), seconds=0.01)))
    ask(page, "Hi")
    wait_until(page, f"document.querySelector('#announcer').textContent == '{ANSWER}'")
    assert page.get_attribute("#announcer", "aria-live") == "polite"
    assert page.locator("button:visible").evaluate_all(
        "all => all.every(b => (b.getAttribute('aria-label') || b.textContent).trim())"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(serve, scripted, open_page, scheme):
    wide = f"{'x' * 300} and\n\n```python\n{'y' * 300}\n```\n"
    engine = scripted(script=words(wide), context_length=500)
    server = serve(engine, name="a-model-with-quite-a-long-name-for-a-phone", questions=["z" * 80])
    page = open_page(server, color_scheme=scheme, **PHONE)
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 390
    ask(page, "w" * 300)
    page.wait_for_selector(".below:not([hidden])")
    assert page.evaluate(width) == 390
    assert page.evaluate("document.querySelector('.code pre').scrollWidth") > 390
    page.click("#settings-open")
    page.wait_for_timeout(300)
    assert page.evaluate(width) == 390
    for button in page.locator("#settings button:visible").all():
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_light_and_dark_follow_the_system_until_one_is_chosen(serve, scripted, open_page):
    server = serve(scripted())
    paper = "getComputedStyle(document.body).backgroundColor"
    light = open_page(server, color_scheme="light").evaluate(paper)
    page = open_page(server, color_scheme="dark")
    dark = page.evaluate(paper)
    assert light != dark
    page.click("#theme")
    assert page.evaluate(paper) == light
    page.reload()
    assert page.evaluate(paper) == light, "the choice is kept"


def test_the_page_waits_for_a_model_that_is_loading(serve, scripted, open_page):
    from lmwright.serving.model import Loaded

    engine, loaded = scripted(), threading.Event()

    def load():
        loaded.wait(10)
        return Loaded(engine)

    page = open_page(serve(engine, load=load, wait=False), ready=False)
    page.wait_for_selector("#model[data-state=loading]")
    page.fill("#prompt", "Hi")
    assert page.is_disabled("#send")
    loaded.set()
    page.wait_for_selector("#model[data-state=ready]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".below:not([hidden])")


def test_a_model_that_only_continues_text_is_asked_to(serve, scripted, open_page):
    engine = scripted(script=words(ANSWER))
    page = open_page(serve(engine, chats=False))
    assert "Begin a text" in page.text_content("#greeting")
    ask(page, "Once upon")
    page.wait_for_selector(".below:not([hidden])")
    assert len(engine.seen[0].prompt) == 2, "no chat markup"
    assert page.text_content(".answer") == ANSWER
