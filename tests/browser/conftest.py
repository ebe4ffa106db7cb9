"""JupyterLab and a browser without access to other hosts.

A console error or a request to another host fails the test. Screenshots are in build/browser.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "build" / "browser"
SECONDS = 120
"""Timeout of a server's start and of a notebook."""
FLAGS = ("--no-sandbox", "--enable-unsafe-swiftshader")
"""No sandbox for root; WebGL in software on a machine without graphics."""
HARMLESS = re.compile("favicon|ResizeObserver loop|GPU stall due to ReadPixels")
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
"""Of JupyterLab: no news, and every cell rendered, visible or not."""


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


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    """Wait until a server answers; otherwise fail with its log."""
    for _ in range(SECONDS * 4):
        assert server.poll() is None, log.read_text()
        try:
            with urlopen(url, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.25)
    raise AssertionError(f"{url} does not answer: {log.read_text()}")


def serve(
    command: list[str], url: str, folder: Path, ready: str = "", **extra: str
) -> Iterator[str]:
    """Run a server until the fixture ends; `ready` is the path that shows it has started."""
    log = folder / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, **extra}
        )
    try:
        wait_for(url + ready, server, log)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright) -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "chromium is missing: apt-get install chromium fonts-noto-cjk"
    browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
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
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    port, token = free_port(), secrets.token_hex(8)
    command = [
        sys.executable, "-m", "jupyter", "lab", str(folder / "notebooks"), "--no-browser",
        "--allow-root", f"--port={port}", f"--IdentityProvider.token={token}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--LabApp.user_settings_dir={folder / 'settings'}",
        f"--LabApp.workspaces_dir={folder / 'workspaces'}",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}/lab?token={token}"
    yield from serve(command, url, folder, TQDM_DISABLE="1")


@pytest.fixture(scope="session")
def explored(tmp_path_factory) -> Iterator[str]:
    """Address of `scale explore` on the demo, dark and in Chinese."""
    port = free_port()
    command = [
        sys.executable, "-m", "scale.cli", "explore", "runs/demo", "--lang", "zh",
        "--theme", "dark", "--port", str(port), "--no-browser",
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("explore")
    url = f"http://127.0.0.1:{port}/"
    yield from serve(command, url, folder, ready="voila/templates/base/static/voila.js")


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
        page, (base, query) = watched.page, lab.split("?")
        page.goto(f"{base}/workspaces/{watched.name}/tree/{name}?{query}")
        idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
        idle.first.wait_for(timeout=1000 * SECONDS)
        # A kernel can lose requests right after its first answer.
        page.wait_for_timeout(2000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        waiting = page.locator(".jp-InputPrompt", has_text="[*]")
        expect(waiting).not_to_have_count(0, timeout=1000 * SECONDS)
        expect(waiting).to_have_count(0, timeout=1000 * SECONDS)
        return watched

    return opened
