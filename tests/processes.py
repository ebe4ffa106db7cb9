"""Child processes from a fork server, which imports torch only once.

In all other respects they are ordinary processes: they can be killed, and functions and arguments
are pickled.
"""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import torch


class Child(ForkServerProcess):
    """A process with the current environment of its parent; the server's may be outdated."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.environment = dict(os.environ)

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        os.fsync = lambda handle: None  # As `no_fsync` in conftest.py.
        super().run()


class Context(ForkServerContext):
    """The standard fork server, which starts processes of class `Child`."""

    Process = Child


CONTEXT = Context()
CONTEXT.set_forkserver_preload([
    "scale.cli", "scale.commands.models", "scale.training.pretrain", "scale.data.shards.writer",
    "scale.studies.runner", "tests.training.small_data", "av", "pandas", "tyro",
    "torch.utils.tensorboard",
])  # fmt: skip


def start(function: Callable, *arguments, log: Path, **environment: str) -> Child:
    """Run a module-level function in a child with one thread and write its output to `log`."""
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
    """Run a function in two processes of one process group, as torchrun does."""
    run_several(2, function, *arguments)


def run_several(count: int, function: Callable, *arguments) -> None:
    """Likewise in any number of processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, str(rank)) for rank in range(count)]
        started = [
            start(function, *arguments, log=log, **shared, RANK=log.name, LOCAL_RANK=log.name)
            for log in logs
        ]
        for process, log in zip(started, logs, strict=True):
            process.join()
            assert process.exitcode == 0, log.read_text()[-3000:]


def run_alone(function: Callable, *arguments) -> None:
    """Run a function in a child, where it may fork and patch modules."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        process = start(function, *arguments, log=log)
        process.join()
        assert process.exitcode == 0, log.read_text()[-3000:]


def killed_in_fork(
    function: Callable,
    *arguments,
    prepare: Callable[[], None] | None = None,
    seconds: float | None = None,
) -> bool:
    """Run a function in a fork of this process; return whether it was killed.

    `prepare` is called first in the fork; after `seconds` it is killed.
    """
    child = os.fork()
    if not child:
        try:
            if prepare is not None:
                prepare()
            function(*arguments)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def fork_workers(patch) -> None:
    """Make the package start worker processes from the fork server instead of spawning them."""

    def context(method: str):
        assert method == "spawn", "fork copies the locks of other threads"
        return CONTEXT

    patch.setattr(multiprocessing, "get_context", context)
