"""Where a training step's time goes, by kind of operation (torch.profiler)."""

import re
from collections import Counter
from collections.abc import Callable

from roofline import seconds
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "optimizer": r"adam|multi_tensor|_foreach_|linalg_vector_norm",
    "losses": r"log_?softmax|nll_loss|cross_entropy|mse_loss",
    "attention": r"scaled_dot_product|flash|fmha|attention|::bmm|::baddbmm|softmax|::isneginf",
    "matrix products": r"::mm$|::addmm$|mkldnn|gemm|nvjet|cutlass|xmma",
    "moving rows": r"index|embedding|::cat$|catarray|gather|scatter",
    "data and masking": r"::rand|sort|::isin|nonzero|pin_memory|memcpy|memset|cumsum|unique",
    "norm, GELU, dropout, sums, casts": r"layer_norm|gelu|dropout|bernoulli|triton|elementwise"
    r"|reduce|compiled|graph_\d|fused"
    r"|::(add|mul|div|sum|sub|mean|neg|pow|sqrt|copy|fill|zero|masked_fill|clamp|where)_?$",
}
"""By kind, what its operations (CPU) or kernels (CUDA) are called; the first match counts. Products
of batches of matrices count as attention: those of the losses are small. On CUDA, what is compiled
is called `triton`."""
OTHER, IDLE = "other operations", "host: Python and waiting"


def kind_of(name: str) -> str:
    """The first kind of `KINDS` that an operation's name fits."""
    found = (kind for kind, words in KINDS.items() if re.search(words, name.lower()))
    return next(found, OTHER)


def profile_step(step: Callable[[], object], device: str) -> dict[str, float]:
    """Milliseconds of one step by kind, largest first; they add up to the time on the clock.

    On the CPU, an operation's own time. On CUDA, the kernels' time; what is left over is time in
    which the device waits for the host (streams do not overlap here).
    """
    activities = [ProfilerActivity.CPU]
    kernels = device == "cuda"
    if kernels:
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        total = seconds(step, device)
    spent: Counter[str] = Counter()
    for event in profiler.key_averages():
        if (event.device_type == DeviceType.CUDA) != kernels:
            continue
        micro = event.self_device_time_total if kernels else event.self_cpu_time_total
        name = event.key
        # Outside operations, the time of a range is Python's.
        if kernels or name.startswith("aten::"):
            spent[kind_of(name)] += micro / 1e3
    spent[IDLE] = 1e3 * total - sum(spent.values())
    return dict(spent.most_common())
