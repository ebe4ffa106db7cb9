"""InfoNCE in tiles equals that of all logits at once, with memory linear in the batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from scale.losses.contrastive import pair_losses
from scale.losses.tiled import tiled_pair_losses
from scale.modalities import PAIRS


def gradients(losses, pooled_BMD, present_BM, **options):
    """Return the losses, and the gradient of a random sum of them for features and temperature."""
    pooled_BMD = pooled_BMD.clone().requires_grad_()
    temperature = torch.full((1,), 0.2, dtype=torch.float64, requires_grad=True)
    found = losses(pooled_BMD, present_BM, temperature, **options)
    random = torch.Generator().manual_seed(1)
    weight_AP = torch.randn(found.loss_BP.shape, generator=random, dtype=torch.float64)
    (found.loss_BP * weight_AP).sum().backward()
    return found.loss_BP.detach(), found.valid_BP, pooled_BMD.grad, temperature.grad


@given(
    seed=st.integers(0, 2**31),
    bits=st.lists(st.integers(0, 31), min_size=2, max_size=9),
    tile=st.integers(1, 10),
    duplicates=st.booleans(),
    part=st.booleans(),
)
def test_equals_all_logits_at_once(seed, bits, tile, duplicates, part):
    random = torch.Generator().manual_seed(seed)
    pooled_BMD = torch.randn(len(bits), 5, 6, generator=random, dtype=torch.float64)
    present_BM = (torch.tensor(bits)[:, None] >> torch.arange(5)) % 2 == 1
    content_id_BM = torch.randint(0, 3, (len(bits), 5), generator=random)
    content_id_BM = content_id_BM.masked_fill(~present_BM, -1)
    options = {
        "content_id_BM": content_id_BM if duplicates else None,
        "anchors": slice(1, len(bits)) if part else None,
    }
    wanted = gradients(pair_losses, pooled_BMD, present_BM, **options)
    found = gradients(tiled_pair_losses, pooled_BMD, present_BM, tile=tile, **options)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


class LargestTensor(TorchDispatchMode):
    """Records the largest number of elements of a tensor that an operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        found = function(*arguments, **(keywords or {}))
        if isinstance(found, torch.Tensor):
            self.elements = max(self.elements, found.untyped_storage().nbytes() // found.itemsize)
        return found


def largest(losses, products, **options):
    pooled_BMD = torch.randn(products, 5, 4, generator=torch.Generator().manual_seed(0))
    pooled_BMD.requires_grad_()
    present_BM = torch.ones(products, 5, dtype=torch.bool)
    with LargestTensor() as seen:
        losses(pooled_BMD, present_BM, **options).loss_BP.sum().backward()
    return seen.elements


@pytest.mark.parametrize("products", [64, 128])
def test_no_tensor_is_larger_than_all_features_or_losses(products):
    """Without tiles, there is one with the square of the batch."""
    linear = max(5 * 4, len(PAIRS)) * products
    assert largest(tiled_pair_losses, products, tile=8) == linear
    assert largest(pair_losses, products) >= len(PAIRS) * products**2
