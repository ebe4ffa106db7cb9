"""Page kernels of `scale explore`, forked from one process that has loaded the run.

A fork shares the memory of its origin until one of them writes to it: all pages together hold one
model, and a kernel starts in a fraction of a second.
"""

import os
import sys
import threading
from importlib.metadata import EntryPoint
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from scale.config import require

SETTINGS = "SCALE_EXPLORE"
"""Environment variable with the options of `scale explore` as JSON."""
NAME = "scale-forked"
"""Name of the provisioner in Jupyter's registry."""
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""A fork has only the thread that calls it, so libraries must not start others before."""
CAN_FORK = sys.platform == "linux"
"""Elsewhere, each page has a process that loads the run; macOS' own libraries do not survive a
fork."""


class ForkedProcess:
    """A forked kernel with the methods of `subprocess.Popen` that Jupyter calls."""

    stdin = stdout = stderr = None

    def __init__(self, command: list[str], environment: dict[str, str], folder: str) -> None:
        arguments = command[command.index("-f") :], environment, folder
        self._process: BaseProcess = get_context("forkserver").Process(
            target=run_kernel, args=arguments, daemon=True
        )
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while the kernel runs."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Return the exit code when the kernel has ended."""
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal unless the kernel has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the kernel to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End the kernel."""
        self._process.kill()


class ForkedProvisioner(LocalProvisioner):
    """Starts Jupyter kernels as forks."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Start a kernel; return its connection."""
        self.cwd = kwargs.get("cwd") or Path.cwd()
        self.process = ForkedProcess(cmd, kwargs.get("env") or dict(os.environ), str(self.cwd))
        self.pid = self.process.pid
        return self.connection_info


def run_kernel(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Run a Jupyter kernel in a forked process until it is shut down or the server has ended."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    threading.Thread(target=_exit_with_server, daemon=True).start()
    from ipykernel.kernelapp import IPKernelApp

    # The parent, whose end the kernel watches, is the origin of the fork.
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    IPKernelApp.launch_instance([*arguments, parent, "--HistoryManager.enabled=False"])


def _exit_with_server() -> None:
    server = parent_process()
    if server is not None:
        connection.wait([server.sentinel])
        os._exit(1)


def start() -> connection.Connection:
    """Start loading the run in the process that kernels are forked from.

    Returns the connection for `wait_until_loaded`.
    """
    os.environ.update(ONE_THREAD)
    context = get_context("forkserver")
    context.set_forkserver_preload(["scale.explore.preload"])
    receiver, sender = context.Pipe(duplex=False)
    context.Process(target=_report, args=(sender,), daemon=True).start()
    sender.close()
    context.Process(target=_draw_map, daemon=True).start()
    return receiver


def _report(sender: connection.Connection) -> None:
    from scale.explore import preload

    sender.send(preload.error)


def _draw_map() -> None:
    """Compute the first map of the embedding space, unless it is stored: the first fit of UMAP on
    a machine compiles for up to a minute."""
    from scale.explore import preload

    threading.Thread(target=_exit_with_server, daemon=True).start()
    if preload.source is not None:
        preload.draw_map()


def wait_until_loaded(loading: connection.Connection) -> None:
    """Wait until the run is loaded. Raises ValueError if run and catalogue do not fit."""
    try:
        error = loading.recv()
    except EOFError:
        error = "the process that loads the run has ended"
    require(not error, error)


def register() -> None:
    """Make Jupyter start its kernels as forks in this process."""
    factory = KernelProvisionerFactory.instance()
    where = f"{ForkedProvisioner.__module__}:{ForkedProvisioner.__name__}"
    factory.provisioners[NAME] = EntryPoint(NAME, where, factory.GROUP_NAME)
    factory.default_provisioner_name = NAME
