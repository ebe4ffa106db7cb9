"""JupyterLab, `scale explore` and Chromium, for the browser tests and `benchmarks/explorers.py`."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, Playwright

ROOT = Path(__file__).parents[2]
SECONDS = 180
"""Timeout of a server's start and of a notebook."""
FLAGS = ("--no-sandbox", "--enable-unsafe-swiftshader")
"""No sandbox for root; WebGL in software on a machine without graphics."""
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
"""Of JupyterLab: no news, and every cell rendered, visible or not."""


def free_port() -> int:
    """Return a port that no other process listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def launch_chromium(playwright: Playwright) -> Browser:
    """Start Debian's Chromium, headless."""
    path = shutil.which("chromium")
    assert path, "chromium is missing: apt-get install chromium fonts-noto-cjk"
    return playwright.chromium.launch(executable_path=path, args=list(FLAGS))


@contextmanager
def serve(command: list[str], url: str, log: Path, ready: str, **extra: str) -> Iterator[str]:
    """Run a server and yield its address; `ready` is the path that shows it has started."""
    with log.open("w") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, **extra}
        )
    try:
        _wait_for(url + ready, server, log)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(SECONDS * 4):
        assert server.poll() is None, log.read_text()
        try:
            with urlopen(url, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.25)
    raise AssertionError(f"{url} does not answer: {log.read_text()}")


@contextmanager
def jupyter(notebooks: Path, folder: Path) -> Iterator[str]:
    """Run JupyterLab on a folder of notebooks, with settings of its own in another folder."""
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    port, token = free_port(), secrets.token_hex(8)
    command = [
        sys.executable, "-m", "jupyter", "lab", str(notebooks), "--no-browser",
        "--allow-root", f"--port={port}", f"--IdentityProvider.token={token}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--LabApp.user_settings_dir={folder / 'settings'}",
        f"--LabApp.workspaces_dir={folder / 'workspaces'}",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}/lab?token={token}"
    with serve(command, url, folder / "server.log", ready="", TQDM_DISABLE="1"):
        yield url


@contextmanager
def explore(run: Path | str, folder: Path, *options: str) -> Iterator[str]:
    """Run `scale explore`, with its log in a folder."""
    port = free_port()
    command = [
        sys.executable, "-m", "scale.cli", "explore", str(run), *options,
        "--port", str(port), "--no-browser",
    ]  # fmt: skip
    ready = "voila/templates/base/static/voila.js"
    with serve(command, f"http://127.0.0.1:{port}/", folder / "server.log", ready) as url:
        yield url


def start_notebook(page: Page, lab: str, name: str, workspace: str) -> None:
    """Open a notebook in JupyterLab and start all its cells."""
    base, query = lab.split("?")
    page.goto(f"{base}/workspaces/{workspace}/tree/{name}?{query}")
    idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    idle.first.wait_for(timeout=1000 * SECONDS)
    # A kernel can lose requests right after its first answer.
    page.wait_for_timeout(2000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
