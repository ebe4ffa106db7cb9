"""The one file that knows of other processes: each works on its share of the batch's products.

W processes, B products of the batch, R = B / W of one process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

PATIENCE = timedelta(hours=2)
"""How long a process waits for another one, e.g. for the main one to validate."""


def join(device: str) -> bool:
    """Meet the processes that `accelerate launch` or torchrun started; nothing where it is one.

    `device`: as `TrainConfig.device`. Returns whether it is to be the CPU: several processes use
    that or CUDA, as accelerate has to be told.
    """
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    cpu = device == "cpu" or (several and not torch.cuda.is_available())
    if several:
        PartialState(cpu=cpu, timeout=PATIENCE)
    return cpu


def leave() -> None:
    """Part from the other processes, at the end."""
    if _joined():
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process; 0 is the main one."""
    return dist.get_rank() if _joined() else 0


def world_size() -> int:
    """W."""
    return dist.get_world_size() if _joined() else 1


def share(products: int) -> slice:
    """Places of this process's products in a batch.

    Raises ValueError where they cannot be shared out evenly.
    """
    each, left = divmod(products, world_size())
    if left or not each:
        raise ValueError(
            f"{products} products a step cannot be shared out evenly among {world_size()} "
            "processes: choose another train.batch_size"
        )
    return slice(rank() * each, (rank() + 1) * each)


def gather(own: Tensor) -> Tensor:
    """The rows of all processes in order (R rows of each, B in all), with gradient.

    Each process may take a loss of its own from them: what arrives at a row is the gradient of the
    sum of all processes' losses. All must call, and go backward through it, alike.
    """
    return _Gather.apply(own) if world_size() > 1 else own


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sum over the processes, without gradient; the same bits for each."""
    total = values.detach().clone(memory_format=torch.contiguous_format)
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def said_by_main(yes: bool, device: torch.device) -> bool:
    """The main process's answer, which all must ask for."""
    answer = torch.tensor(float(yes), device=device)
    if world_size() > 1:
        dist.broadcast(answer, src=0)
    return bool(answer.item())


def meet() -> None:
    """Go on when all processes have come here."""
    if world_size() > 1:
        dist.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """The main process runs the block, then the others do: they find what it has written."""
    if rank() > 0:
        meet()
    yield
    if rank() == 0:
        meet()


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, own: Tensor) -> Tensor:
        rows = [torch.empty_like(own) for _ in range(world_size())]
        dist.all_gather(rows, own.contiguous())
        return torch.cat(rows)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient).chunk(world_size())[rank()]
