"""Mixed precision: the automatic choice, and fast dropout in bf16 on the CPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

LEVELS = 2**15
"""Probabilities are multiples of 1 / LEVELS."""


def choose_precision(device: str) -> str:
    """Return the faster precision for a device by name (`train.device`): `bf16` or `no` (fp32).

    bf16 on GPUs that support it, and on CPUs with instructions for its products (AMX or
    AVX512-BF16, docs/performance.md). Without them, a CPU converts to fp32 and back.
    """
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if device == "mps" or (device == "auto" and torch.backends.mps.is_available()):
        return "no"
    found = torch.cpu.get_capabilities()
    return "bf16" if found.get("amx_bf16") or found.get("avx512_bf16") else "no"


class FastDropout(TorchFunctionMode):
    """Replaces `dropout` and `scaled_dot_product_attention` with dropout for bf16 tensors on a CPU.

    PyTorch draws a Bernoulli number per element, one after the other in one thread: about 6 ns
    each, a third of a bf16 step of `base`. Its attention with dropout takes no fused kernel on the
    CPU, and is computed in float32. Here 64 random bits of the global generator decide on four
    elements, and attention stays in bf16: four times faster. The masks are other ones for the same
    seed.
    """

    def __torch_function__(
        self, function: Callable, types: tuple, arguments: tuple = (), keywords: dict | None = None
    ) -> Any:
        keywords = keywords or {}
        if function is dropout:
            return _dropout(*arguments, **keywords)
        if function is scaled_dot_product_attention:
            return _attention(*arguments, **keywords)
        return function(*arguments, **keywords)


def keep_mask(like: Tensor, p: float) -> Tensor:
    """Return 0 with probability p and 1 / (1 - p) else, in bf16, in the shape of `like`.

    1 / (1 - p) is rounded to bf16, as in PyTorch.
    """
    count = like.numel()
    size, lowest = -(-count // 4), -(2**63)
    if torch.compiler.is_compiling():
        bits = torch.randint(lowest, -lowest - 1, (size,))
    else:
        # Twice as fast: no division by the range.
        bits = torch.empty(size, dtype=torch.int64).random_(lowest, None)
    # Without booleans, whose kernels are slow: -1 (all bits set) where the number is large enough.
    kept = bits.view(torch.int16)[:count].bitwise_and_(LEVELS - 1)
    kept = kept.neg_().add_(round(p * LEVELS) - 1).clamp_(-1, 0)
    scale = torch.tensor(1 / (1 - p), dtype=torch.bfloat16).view(torch.int16)
    return kept.bitwise_and_(scale).view(torch.bfloat16).view(like.shape)


def _dropout(
    values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    if not training or not 0 < p < 1 or inplace or values.dtype != torch.bfloat16:
        return dropout(values, p, training, inplace)
    return values * keep_mask(values, p)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q k^T / sqrt(K)) v with dropout of the weights; the sums in float32."""
    if query.dtype != torch.bfloat16 or not 0 < dropout_p < 1 or is_causal or enable_gqa:
        return scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    scores = (query * (scale or query.shape[-1] ** -0.5)) @ key.transpose(-2, -1)
    if attn_mask is not None:
        is_bool = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if is_bool else scores + attn_mask
    weight = scores.softmax(-1)
    return (weight * keep_mask(weight, dropout_p)) @ value
