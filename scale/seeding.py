"""Seeds of random streams: pure functions of the seed of the run, the step and a stream number."""

import numpy as np
import torch


def derived_seed(*parts: int) -> int:
    """Return a 63-bit seed from non-negative numbers, e.g. (seed, step, stream).

    Similar inputs give unrelated seeds (numpy's SeedSequence).
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(device: torch.device | str, *parts: int) -> torch.Generator:
    """Return a torch generator on a device, seeded by `derived_seed`."""
    return torch.Generator(device).manual_seed(derived_seed(*parts))
