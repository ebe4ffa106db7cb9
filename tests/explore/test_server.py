"""The server of `scale explore`: page kernels share one model and end with their pages."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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
explore.IDLE_SECONDS = 4
run, catalogue, port = sys.argv[1:]
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


def private_megabytes(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


@pytest.fixture
def server(run_folder, small_catalogue, tmp_path):
    """Address and process of a server whose kernels end after 4 idle seconds."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    arguments = [str(run_folder), str(small_catalogue), str(port)]
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
        yield url, process
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
@pytest.mark.skipif(not kernels.CAN_FORK, reason="kernels are forked on Linux only")
def test_ten_pages_share_one_model_and_leave_nothing(server):
    url, process = server
    (origin,) = (pid for pid in children(process.pid) if b"forkserver" in _command(pid))
    with ThreadPoolExecutor(PAGES) as pool:
        pages = list(pool.map(lambda _: answer(url)[1], range(PAGES)))
    ids = [re.search(r'"kernelId": "([^"]+)"', page)[1] for page in pages]
    assert len(set(ids)) == PAGES
    running = children(origin)
    assert len(running) == PAGES
    assert all(private_megabytes(pid) < 250 for pid in running)

    for kernel in ids[:6]:
        # As the browser does when a page closes: without the token against cross-site requests.
        assert answer(f"{url}voila/api/shutdown/{kernel}", b"")[0] == 204
        assert answer(f"{url}voila/api/shutdown/{kernel}", b"")[0] == 204
    wait_until(lambda: len(children(origin)) <= PAGES - 6)
    # The pages of the others were never connected.
    wait_until(lambda: children(origin) == [])
    assert {answer(f"{url}api/kernels/{kernel}")[0] for kernel in ids} == {404}


@pytest.mark.slow
@pytest.mark.skipif(not kernels.CAN_FORK, reason="kernels are forked on Linux only")
def test_a_dead_kernel_is_noticed_and_a_dead_server_leaves_no_process(server):
    url, process = server
    (origin,) = (pid for pid in children(process.pid) if b"forkserver" in _command(pid))
    first, second = (re.search(r'"kernelId": "([^"]+)"', answer(url)[1])[1] for _ in range(2))
    pids = children(origin)
    os.kill(pids[0], 9)
    states = lambda: {answer(f"{url}api/kernels/{kernel}")[0] for kernel in (first, second)}  # noqa: E731
    assert states() == {200}
    wait_until(lambda: 404 in states())
    process.kill()
    wait_until(
        lambda: not Path(f"/proc/{pids[1]}").exists() and not Path(f"/proc/{origin}").exists()
    )


def _command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_run_that_does_not_fit_is_an_error_message(run_folder, tmp_path, monkeypatch):
    (tmp_path / "products.jsonl").write_text(json.dumps({"id": "a", "category": "x"}) + "\n")
    settings = {"run": str(run_folder), "catalogue": str(tmp_path), "split": None}
    monkeypatch.setattr(preload, "settings", settings)
    preload.load()
    assert "has a modality that" in preload.error
    assert preload.source is None
