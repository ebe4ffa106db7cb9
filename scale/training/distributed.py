"""Several processes: gathering with gradient, and FSDP2. Only this file uses torch.distributed.

Each of W processes works on its share of the batch. By default every process has the whole model
(DDP). With `train.fsdp` each has a shard of every weight, of its gradient and of AdamW's state.

W processes, B products of the batch, R = B / W of one process.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    TorchDynamoPlugin,
)
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from scale.model.backbone_encoders import BackboneEncoder
from scale.model.encoders import DiscreteEncoder
from scale.model.scale import ScaleModel

log = logging.getLogger(__name__)

TIMEOUT = timedelta(hours=2)
"""Maximum time that a process waits for another one, e.g. for validation in the main process."""

IGNORED = ("ACCELERATE_GRADIENT_ACCUMULATION", "ACCELERATE_DYNAMO_", "ACCELERATE_MIXED_PRECISION")
"""Settings in the environment that training replaces with its own."""
UNSET = ("", "1", "no", "false", "default")
"""Values of these settings, written by `accelerate launch`, that change nothing."""

SUPPORTED = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
"""accelerate's modes that training supports: one process, or several plain ones."""


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Return accelerate's Accelerator for a device by name; `auto` is the best available.

    Settings of accelerate in the environment (`ACCELERATE_...`) must not change the result: those
    of gradient accumulation, compilation and precision are ignored, others are logged.

    Raises ValueError for an unavailable device, and if accelerate is configured for anything but
    plain processes (its own FSDP, DeepSpeed) or for another device.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(),
                 "mps": torch.backends.mps.is_available()}  # fmt: skip
    if device != "auto" and not available.get(device):
        known = ", ".join(name for name, usable in available.items() if usable)
        raise ValueError(f"train.device {device!r} is not available; available: {known}")
    if "WORLD_SIZE" not in os.environ:
        # One process may train several times (e.g. a notebook), each time with its own settings.
        AcceleratorState._reset_state(True)
    # The products of one process may lack a modality that those of another have.
    exchange = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(
        cpu=init_processes(device),
        mixed_precision=precision,
        # Both are read from the environment unless they are given as plugins.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_plugin=TorchDynamoPlugin(backend="no"),
        kwargs_handlers=[exchange],
    )
    _log_environment()
    if device != "auto" and accelerator.device.type != device:
        raise ValueError(
            f"train.device is {device!r}, but accelerate chose {accelerator.device.type!r} by the "
            "environment (ACCELERATE_USE_CPU, ACCELERATE_TORCH_DEVICE): remove the variable"
        )
    if accelerator.distributed_type not in SUPPORTED:
        raise ValueError(
            f"accelerate is configured for {accelerator.distributed_type.value}, which training "
            "does not support: start plain processes (--multi_gpu, or torchrun) and shard the "
            "weights with --train.fsdp (docs/scaling.md)"
        )
    return accelerator


def _log_environment() -> None:
    """Log the settings of accelerate in the environment, in the main process."""
    given = {k: v for k, v in os.environ.items() if k.startswith("ACCELERATE_")}
    ignored = {k: v for k, v in given.items() if k.startswith(IGNORED) and v.lower() not in UNSET}
    if rank() == 0:
        for name, value in ignored.items():
            log.warning("%s=%s in the environment is ignored", name, value)
        rest = [f"{k}={v}" for k, v in sorted(given.items()) if not k.startswith(IGNORED)]
        if rest:
            log.info("accelerate's environment: %s", " ".join(rest))


def init_processes(device: str) -> bool:
    """Join the processes started by `accelerate launch` or torchrun; a no-op for one process.

    `device`: see `TrainConfig.device`. Return whether to use the CPU: with several processes, the
    choice between CPU and CUDA must be passed to accelerate.
    """
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    cpu = device == "cpu" or (several and not torch.cuda.is_available())
    if several:
        PartialState(cpu=cpu, timeout=TIMEOUT)
    return cpu


def destroy_processes() -> None:
    """Leave the process group."""
    if _initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process; 0 is the main one."""
    return dist.get_rank() if _initialized() else 0


def world_size() -> int:
    """Return W."""
    return dist.get_world_size() if _initialized() else 1


def own_share(products: int) -> slice:
    """Return the positions of this process's products in a batch.

    Raises ValueError if W does not divide the number of products.
    """
    each, rest = divmod(products, world_size())
    if rest or not each:
        raise ValueError(
            f"{products} products a step cannot be divided evenly among {world_size()} "
            "processes: choose another train.batch_size"
        )
    return slice(rank() * each, (rank() + 1) * each)


def gather(own: Tensor) -> Tensor:
    """Concatenate the rows of all processes in order (R each, B in total), with gradient.

    Each process may compute its own loss from the result: a row receives the gradient of the sum
    of all processes' losses. Collective: all processes must call it and its backward pass alike.
    """
    return _Gather.apply(own) if world_size() > 1 else own


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum over all processes, without gradient; bit-identical in each."""
    total = values.detach().clone(memory_format=torch.contiguous_format)
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def broadcast_from_main(value: bool, device: torch.device) -> bool:
    """Return the main process's value (collective)."""
    tensor = torch.tensor(float(value), device=device)
    if world_size() > 1:
        dist.broadcast(tensor, src=0)
    return bool(tensor.item())


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block in the main process, then in the others, which can read its files."""
    if rank() > 0:
        barrier()
    yield
    if rank() == 0:
        barrier()


def shard(module: nn.Module, model: ScaleModel, device: torch.device) -> None:
    """Shard the weights of `module`, which contains `model`, over all processes with FSDP2.

    Units are the layers of each encoder, the layers of the JCT, and everything else. The weights of
    a unit are gathered only while it runs; everything else stays gathered during a step. All
    processes must run all units in the same order (`ScaleModel.run_all_encoders`). Weights become
    DTensors, so the optimizer must be created afterwards.
    """
    mesh = init_device_mesh(device.type, (world_size(),))
    layers = (layer for encoder in model.encoders.values() for layer in _layers(encoder))
    for unit in (*layers, model.jct.stack, module):
        fully_shard(unit, mesh=mesh)
    register_fsdp_forward_method(model.jct.stack, "each")
    model.jct.run_all_encoders = True


def is_sharded(value: Tensor) -> bool:
    """Return whether a tensor is a shard of a larger one."""
    return isinstance(value, DTensor)


def full_tensor(value: Tensor) -> Tensor:
    """Gather a DTensor into a full tensor (collective); other tensors are returned unchanged."""
    return value.full_tensor() if is_sharded(value) else value


def full_model(model: ScaleModel) -> ScaleModel:
    """Return a model with full weights: itself, or a copy if its weights are sharded (collective).

    The copy is complete in the main process only.
    """
    if not any(is_sharded(value) for value in model.state_dict().values()):
        return model
    weights = get_model_state_dict(model, options=_FULL)
    with torch.random.fork_rng(devices=[]):
        copy = ScaleModel(model.config, model.missing, model.architectures)
    if rank() == 0:
        copy.load_state_dict(weights)
    return copy.to(next(model.parameters()).device)


def load_full_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load full weights into a model that may be sharded."""
    set_model_state_dict(model, dict(weights), options=StateDictOptions(full_state_dict=True))


def full_optimizer_state_dict(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Return AdamW's full state by parameter name, e.g. `jct.stack.norm.weight/exp_avg`.

    On the CPU and, if sharded, in the main process only (collective).
    """
    flat = get_optimizer_state_dict(model, optimizer, options=_FULL)
    found = {}
    for key, value in flat.items():
        group, _, rest = key.partition(".")
        if group == "state":
            name, _, kind = rest.rpartition(".")
            found[f"{name}/{kind}"] = value.contiguous()
    return found


def load_optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Restore AdamW's state from `full_optimizer_state_dict`.

    Not by `set_optimizer_state_dict`, which requires a state of every parameter: a head whose task
    never occurred has none.
    """
    optimizer.state.clear()
    parameters = dict(model.named_parameters())
    for name, value in tensors.items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters[parameter_name]
        # AdamW's step counter is on the CPU unless fused; the moments are beside the weights.
        fused = bool(optimizer.param_groups[0].get("fused"))
        value = value.to(parameter.device if key != "step" or fused else "cpu")
        if key != "step" and is_sharded(parameter):
            mesh, placements = parameter.device_mesh, parameter.placements
            value = distribute_tensor(value, mesh, placements, src_data_rank=None)
        optimizer.state[parameter][key] = value


_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True, flatten_optimizer_state_dict=True)


def _layers(encoder: nn.Module) -> list[nn.Module]:
    if isinstance(encoder, BackboneEncoder):
        return encoder.layers
    return [encoder.bert.encoder if isinstance(encoder, DiscreteEncoder) else encoder.stack]


def _initialized() -> bool:
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
