"""The browser that pages are tried in."""

import os
import shutil

import pytest

# No network but the server's: Chromium would otherwise talk to its maker at every start.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium for the tests of one module."""
    path = os.environ.get("LMWRIGHT_CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if path is None:
        assert not os.environ.get("CI"), "no browser: run `make browser`"
        pytest.skip("no browser: run `make browser`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        browser.close()
