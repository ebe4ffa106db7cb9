"""Where a training step's time goes, by kind of operation (torch.profiler)."""

import re
from collections import Counter
from collections.abc import Callable, Iterable

from roofline import seconds
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEventAvg
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
    """Milliseconds of one step by kind, largest first; they add up to the time on the clock."""
    activities = [ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        total = seconds(step, device)
    spent = spent_by_kind(profiler.key_averages(), device)
    spent[IDLE] = 1e3 * total - sum(spent.values())
    return dict(spent.most_common())


def spent_by_kind(events: Iterable[FunctionEventAvg], device: str) -> Counter[str]:
    """Milliseconds by kind, of a profile's events.

    On the CPU, the operations' own time. On CUDA, the kernels' time: what is left over is time in
    which the device waits for the host (one stream, so that nothing overlaps).
    """
    spent: Counter[str] = Counter()
    for event in events:
        if device == "cuda":
            # A range that has a name, e.g. the optimizer's step, spans kernels that count already.
            if event.device_type == DeviceType.CUDA and not event.is_user_annotation:
                spent[kind_of(event.key)] += event.self_device_time_total / 1e3
        elif event.key.startswith("aten::"):
            spent[kind_of(event.key)] += event.self_cpu_time_total / 1e3
    return spent
