"""Child processes without the seconds of `import torch`: a fork server imports it once.

A child is a process of its own in all else. It can be killed, and gets its work pickled.
"""

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([
    "scale.cli", "scale.training.pretrain", "scale.data.shards.writer", "scale.studies.runner",
    "tests.training.small_data",
])  # fmt: skip


def start(function: Callable, *arguments, log: Path, **environment: str) -> BaseProcess:
    """Start a function of a module in a child with one thread; its output goes to `log`."""
    called = (function, arguments, dict(os.environ) | environment, log)
    process = CONTEXT.Process(target=_call, args=called)
    process.start()
    return process


def _call(function, arguments, environment, log):
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    function(*arguments)


def run_two(function: Callable, *arguments) -> None:
    """Run a function in two processes of one group, as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, rank) for rank in "01"]
        started = [
            start(function, *arguments, log=log, **shared, RANK=log.name, LOCAL_RANK=log.name)
            for log in logs
        ]
        for process, log in zip(started, logs, strict=True):
            process.join()
            assert process.exitcode == 0, log.read_text()[-3000:]


def run_alone(function: Callable, *arguments) -> None:
    """Run a function in a child."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        process = start(function, *arguments, log=log)
        process.join()
        assert process.exitcode == 0, log.read_text()[-3000:]


def fork_workers(patch) -> None:
    """Let the package take its worker processes from the fork server instead of spawning them."""

    def context(method: str):
        assert method == "spawn", "a fork copies the locks of other threads"
        return CONTEXT

    patch.setattr(multiprocessing, "get_context", context)
