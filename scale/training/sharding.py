"""FSDP2: each process keeps a part of every weight, of its gradient and of AdamW's state.

Units are the layers of each encoder, the layers of the JCT, and all else. The weights of a unit are
whole only while it runs, forwards or backwards; all else is whole throughout a step. What one
process runs all must run, in the same order: `ScaleModel.run_all_encoders`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from scale.model.encoders import DiscreteEncoder
from scale.model.scale import ScaleModel
from scale.training.distributed import rank, world_size
from scale.training.reader import Reader


def shard(reader: Reader, device: torch.device) -> None:
    """Share out the weights of a model among all processes; each has the same ones before.

    They become DTensors: an optimizer is to be made of them afterwards.
    """
    model, mesh = reader.model, init_device_mesh(device.type, (world_size(),))
    for unit in (*map(_layers, model.encoders.values()), model.jct.stack, reader):
        fully_shard(unit, mesh=mesh)
    register_fsdp_forward_method(model.jct.stack, "each")
    model.jct.run_all_encoders = True


def full_tensor(value: Tensor) -> Tensor:
    """A shared-out tensor in one piece, which all processes must ask for; any other as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def part_like(value: Tensor, own: Tensor) -> Tensor:
    """This process's part of a tensor that each process has whole, shared out as `own` is."""
    if not isinstance(own, DTensor):
        return value
    value = value.to(own.device)
    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)


def whole_model(model: ScaleModel) -> ScaleModel:
    """The model with whole weights: itself, or a copy on its device where they are shared out.

    All processes must call, and each has the copy.
    """
    weights = model.state_dict()
    if not any(isinstance(value, DTensor) for value in weights.values()):
        return model
    with torch.random.fork_rng(devices=[]):
        copy = ScaleModel(model.config, model.missing)
    copy.load_state_dict({n: full_tensor(value) for n, value in weights.items()}, assign=True)
    return copy.to(next(model.parameters()).device)


def load_parts(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """`load_state_dict` of whole weights into a model that may be shared out."""
    own = model.state_dict()
    model.load_state_dict({name: part_like(value, own[name]) for name, value in weights.items()})


def optimizer_state_dict(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state by parameter name, e.g. `jct.stack.norm.weight/exp_avg`, on the CPU.

    Gathers sharded state, so all processes must call; only the main process gets the result.
    """
    found = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            value = full_tensor(value)
            if rank() == 0:
                found[f"{name}/{key}"] = value.detach().contiguous().cpu()
    return found


def load_optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Restore AdamW's state from tensors by name as in `optimizer_state_dict`."""
    optimizer.state.clear()
    parameters = dict(model.named_parameters())
    for name, value in tensors.items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters[parameter_name]
        # AdamW's step counter is on the CPU unless it is fused; the rest is with the weights.
        fused = bool(optimizer.param_groups[0].get("fused"))
        device = parameter.device if key != "step" or fused else "cpu"
        value = value.to(device)
        optimizer.state[parameter][key] = value if key == "step" else part_like(value, parameter)


def _layers(encoder: nn.Module) -> nn.Module:
    return encoder.bert.encoder if isinstance(encoder, DiscreteEncoder) else encoder.stack
