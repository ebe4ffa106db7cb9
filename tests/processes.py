"""Child processes without the seconds of `import torch`: a fork server imports it once.

A child is a process of its own in all else. It can be killed, and gets its work pickled.
"""

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import torch


class Child(ForkServerProcess):
    """A process with the environment that its parent has now: the server has an older one."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.environment = dict(os.environ)

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        super().run()


class Context(ForkServerContext):
    """The standard fork server, with processes of class `Child`."""

    Process = Child


CONTEXT = Context()
CONTEXT.set_forkserver_preload([
    "scale.cli", "scale.training.pretrain", "scale.data.shards.writer", "scale.studies.runner",
    "tests.training.small_data",
])  # fmt: skip


def start(function: Callable, *arguments, log: Path, **environment: str) -> Child:
    """Start a function of a module in a child with one thread; its output goes to `log`."""
    child = CONTEXT.Process(target=_call, args=(function, arguments, log))
    child.environment |= environment
    child.start()
    return child


def _call(function, arguments, log):
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
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
    """Run a function in a child, where it may fork and patch as it likes."""
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
