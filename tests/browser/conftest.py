"""JupyterLab and a browser without access to other hosts.

A console error or a request to another host fails the test. Screenshots are in build/browser.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.browser import servers
from tests.browser.servers import ROOT, SECONDS

PICTURES = ROOT / "build" / "browser"
HARMLESS = re.compile("favicon|ResizeObserver loop|GPU stall due to ReadPixels")


class Watched:
    """A page, its console errors and its requests to other hosts."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name
        self.errors: list[str] = []
        self.other_hosts: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)
        page.on("websocket", self._request)

    def _console(self, message) -> None:
        if message.type == "error" and not HARMLESS.search(message.text):
            self.errors.append(message.text)

    def _request(self, request) -> None:
        address = urlsplit(request.url)
        if address.hostname not in (None, "127.0.0.1", "localhost"):
            self.other_hosts.append(request.url)

    def picture(self, what: str) -> None:
        """Save a screenshot of the page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{self.name}-{what}.png")

    def check(self) -> None:
        """Assert that there was no error and no request to another host."""
        assert self.errors == []
        assert self.other_hosts == []


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright) -> Iterator[Browser]:
    browser = servers.launch_chromium(playwright)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def firefox(playwright) -> Iterator[Browser]:
    """Debian's Firefox by WebDriver BiDi, on a display in memory: without one it has no WebGL."""
    path, screen = shutil.which("firefox-esr"), shutil.which("Xvfb")
    assert None not in (path, screen), (
        "Firefox or Xvfb is missing: apt-get install firefox-esr xvfb"
    )
    reader, writer = os.pipe()
    size = ["-screen", "0", "1600x1200x24"]
    display = subprocess.Popen([screen, "-displayfd", str(writer), *size], pass_fds=(writer,))
    os.close(writer)
    try:
        with os.fdopen(reader) as numbers:
            number = numbers.readline().strip()
        assert number, "Xvfb has not started"
        found = playwright.firefox.launch(
            channel="moz-firefox",
            executable_path=path,
            headless=False,
            env={**os.environ, "DISPLAY": f":{number}", "LIBGL_ALWAYS_SOFTWARE": "1"},
            firefox_user_prefs={"webgl.force-enabled": True},
        )
        yield found
        found.close()
    finally:
        display.terminate()
        display.wait(timeout=30)


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[str]:
    """Address of a JupyterLab over a copy of the notebooks, with settings of its own."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    with servers.jupyter(folder / "notebooks", folder) as url:
        yield url


@pytest.fixture(scope="session")
def explored(tmp_path_factory) -> Iterator[str]:
    """Address of `scale explore` on the demo, dark and in Chinese."""
    options = ("--lang", "zh", "--theme", "dark")
    with servers.explore("runs/demo", tmp_path_factory.mktemp("explore"), *options) as url:
        yield url


@pytest.fixture
def watched(request) -> Iterator[Watched]:
    """A page of a fresh browser profile; in Firefox for a test with the mark `firefox`."""
    name = "firefox" if request.node.get_closest_marker("firefox") else "browser"
    browser = request.getfixturevalue(name)
    context = browser.new_context(viewport={"width": 1500, "height": 1100})
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
    watched = Watched(context.new_page(), name)
    yield watched
    watched.picture("end")
    context.close()


@pytest.fixture
def open_notebook(lab, watched):
    """Open a notebook in JupyterLab and run it from top to bottom."""

    def opened(name: str) -> Watched:
        servers.start_notebook(watched.page, lab, name, watched.name)
        waiting = watched.page.locator(".jp-InputPrompt", has_text="[*]")
        expect(waiting).not_to_have_count(0, timeout=1000 * SECONDS)
        expect(waiting).to_have_count(0, timeout=1000 * SECONDS)
        return watched

    return opened
