"""Frozen models on the CPU: convolutions and linear layers with weights in oneDNN's layout.

The layers are those that torch.compile generates with `freezing`, without its compilation:
batch normalisation is folded into the convolution before it, a following activation is computed
within it, and weights are reordered once instead of in every call.

B batch, C channels, H height, W width, F features, K side of a kernel.
"""

import copy
import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest difference of outputs, relative to the largest of them, with which packed weights are
used: rounding is about 2e-6."""
CONVOLUTIONS = ("Conv2d", "Conv2dSame")
NORMS = ("BatchNorm2d", "BatchNormAct2d")
"""Names of the classes, some of them timm's, which is not imported for models of text."""
ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.Identity: ("none", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}
"""Activations that oneDNN computes within a convolution: name and parameters."""


class PackedConv2d(nn.Module):
    """A convolution of inputs of one height and width, with its activation; channels_last."""

    def __init__(self, conv: nn.Conv2d, input_BCHW: Tensor, activation: nn.Module) -> None:
        super().__init__()
        weight, padding = conv.weight.detach(), list(conv.padding)
        if _name(conv) == "Conv2dSame":
            weight, padding = _symmetric(conv, weight, input_BCHW.shape[2:])
        settings = padding, list(conv.stride), list(conv.dilation), conv.groups
        # Not parameters: they are read by this layer's operation only.
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight.contiguous(memory_format=torch.channels_last), *settings, list(input_BCHW.shape)
        )
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.settings = *settings, *ACTIVATIONS[type(activation)], ""

    def forward(self, input_BCHW: Tensor) -> Tensor:
        return torch.ops.mkldnn._convolution_pointwise(
            input_BCHW, self.weight, self.bias, *self.settings
        )


class PackedLinear(nn.Module):
    """A linear layer."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, input_BF: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(input_BF, self.weight, self.bias, "none", [], "")


def pack_weights(model: nn.Module, example: Callable[[nn.Module], Tensor]) -> nn.Module:
    """Return a copy of a frozen model on the CPU that computes the same faster.

    Layers that `example` does not call, and other kinds of layers, stay as they are. If the outputs
    of the copy differ by more than TOLERANCE, or this build of PyTorch lacks the operations, a
    warning is logged and the model itself is returned.

    Args:
        example: calls the model as it will be used, with inputs of the size that images will have,
            and returns its output.
    """
    with torch.inference_mode():
        expected = example(model)
        packed = copy.deepcopy(model)
        try:
            _pack(packed, example)
            found = example(packed)
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            log.warning("weights are not packed, so features are slower: %s", error)
            return model
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    # Not a number if an output is not finite.
    if not difference <= TOLERANCE:
        log.warning("weights are not packed, so features are slower: outputs differ by %.1e of "
                    "their maximum", difference)  # fmt: skip
        return model
    return packed


def _pack(model: nn.Module, example: Callable[[nn.Module], Tensor]) -> None:
    calls: dict[str, Tensor] = {}
    producer: dict[int, str] = {}
    follows: dict[str, str] = {}
    kept = []

    def before(name: str, layer: nn.Module, inputs: tuple) -> None:
        if _name(layer) in NORMS and id(inputs[0]) in producer:
            follows[producer[id(inputs[0])]] = name
        calls[name] = inputs[0] if inputs else torch.empty(0)

    def after(name: str, output: Tensor) -> None:
        # Held, so that no other tensor gets its id.
        kept.append(output)
        producer[id(output)] = name

    handles = []
    for name, layer in model.named_modules():
        if _name(layer) in (*CONVOLUTIONS, *NORMS, "Linear"):
            handles.append(layer.register_forward_pre_hook(lambda m, x, n=name: before(n, m, x)))
        if _name(layer) in CONVOLUTIONS:
            handles.append(layer.register_forward_hook(lambda m, x, y, n=name: after(n, y)))
    example(model)
    for handle in handles:
        handle.remove()
    for name, inputs in calls.items():
        layer = model.get_submodule(name)
        if _name(layer) == "Linear":
            model.set_submodule(name, PackedLinear(layer))
        elif _name(layer) in CONVOLUTIONS and not isinstance(layer.padding, str):
            activation: nn.Module = nn.Identity()
            if name in follows:
                norm = model.get_submodule(follows[name])
                layer = fuse_conv_bn_eval(layer, norm)
                act = getattr(norm, "act", nn.Identity())
                fused = type(act) in ACTIVATIONS
                activation = act if fused else activation
                model.set_submodule(follows[name], nn.Identity() if fused else act)
            model.set_submodule(name, PackedConv2d(layer, inputs, activation))


def _name(layer: nn.Module) -> str:
    return type(layer).__name__


def _symmetric(conv: nn.Conv2d, weight: Tensor, size: tuple[int, int]) -> tuple[Tensor, list[int]]:
    """Return weight and padding of a convolution with TensorFlow's padding: more at the end.

    oneDNN's operation pads both sides alike. A kernel that begins with a zero makes up for it,
    which costs less than a padded copy of the input.
    """
    padding, zeros = [], []
    for axis in (0, 1):
        stride, kernel = conv.stride[axis], conv.kernel_size[axis]
        outputs = -(-size[axis] // stride)
        reach = (outputs - 1) * stride + conv.dilation[axis] * (kernel - 1) + 1
        total = max(reach - size[axis], 0)
        padding.append(total - total // 2)
        zeros.append(total % 2)
    if any(zeros) and max(conv.dilation) > 1:
        raise NotImplementedError("a dilated convolution with padding on one side")
    return pad(weight, (zeros[1], 0, zeros[0], 0)), padding
