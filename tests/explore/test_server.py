"""The server of `scale explore`: page kernels share one model and end with their pages."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from scale.explore import kernels, preload

PAGES = 10
SERVE = """
import sys
from pathlib import Path
from scale.commands import explore
run, catalogue, port, idle = sys.argv[1:]
explore.IDLE_SECONDS = int(idle)
explore.Explore(Path(run), Path(catalogue), "all", port=int(port), browser=False).run()
"""


def answer(url, data=None):
    """Status and text of an answer."""
    try:
        with urlopen(Request(url, data), timeout=60) as found:
            return found.status, found.read().decode()
    except HTTPError as error:
        return error.code, ""


def wait_until(true, seconds=60):
    for _ in range(10 * seconds):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def children(pid):
    """Process ids of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        found += [int(stat.parent.name)] if int(after_name[1]) == pid else []
    return found


def kernels_of(origin):
    """Process ids of the kernels, which have sessions of their own."""
    return [pid for pid in children(origin) if os.getsid(pid) == pid]


def private_megabytes(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


@contextmanager
def serving(idle_seconds, run_folder, small_catalogue, tmp_path):
    """Address and process of a server, and the process that its kernels are forked from."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    arguments = [str(run_folder), str(small_catalogue), str(port), str(idle_seconds)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", SERVE, *arguments], stderr=log)
    url = f"http://127.0.0.1:{port}/"

    def serves():
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return answer(url + "voila/templates/base/static/voila.js")[0] == 200
        except URLError:
            return False

    try:
        wait_until(serves, 300)
        (origin,) = (pid for pid in children(process.pid) if b"forkserver" in _command(pid))
        yield url, process, origin
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def server(run_folder, small_catalogue, tmp_path):
    with serving(600, run_folder, small_catalogue, tmp_path) as found:
        yield found


def kernel_of(url):
    """Id of the kernel of a new page."""
    return re.search(r'"kernelId": "([^"]+)"', answer(url)[1])[1]


@pytest.mark.slow
@pytest.mark.skipif(not kernels.CAN_FORK, reason="kernels are forked on Linux only")
def test_ten_pages_share_one_model_and_leave_nothing(server):
    url, _, origin = server
    with ThreadPoolExecutor(PAGES) as pool:
        ids = list(pool.map(kernel_of, [url] * PAGES))
    assert len(set(ids)) == PAGES
    wait_until(lambda: len(kernels_of(origin)) == PAGES)
    assert max(map(private_megabytes, kernels_of(origin))) < 250
    # The browser's last message, which has no token against cross-site requests.
    for kernel in ids[1:]:
        for _ in range(2):
            assert answer(f"{url}voila/api/shutdown/{kernel}", b"")[0] == 204
    wait_until(lambda: len(kernels_of(origin)) == 1)
    assert answer(f"{url}api/kernels/{ids[0]}")[0] == 200
    os.kill(kernels_of(origin)[0], 9)
    wait_until(lambda: answer(f"{url}api/kernels/{ids[0]}")[0] == 404)


@pytest.mark.slow
@pytest.mark.skipif(not kernels.CAN_FORK, reason="kernels are forked on Linux only")
def test_a_kernel_without_a_page_ends_and_nothing_outlives_the_server(
    run_folder, small_catalogue, tmp_path
):
    with serving(3, run_folder, small_catalogue, tmp_path) as (url, process, origin):
        kernel = kernel_of(url)
        wait_until(lambda: answer(f"{url}api/kernels/{kernel}")[0] == 404)
        kernel_of(url)
        pids = [origin, *children(origin)]
        process.kill()
        wait_until(lambda: not any(map(lives, pids)))


def lives(pid):
    """Whether a process runs; one that only waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_run_that_does_not_fit_is_an_error_message(run_folder, tmp_path, monkeypatch):
    (tmp_path / "products.jsonl").write_text(json.dumps({"id": "a", "category": "x"}) + "\n")
    settings = {"run": str(run_folder), "catalogue": str(tmp_path), "split": None}
    monkeypatch.setattr(preload, "settings", settings)
    preload.load()
    assert "has a modality that" in preload.error
    assert preload.source is None
