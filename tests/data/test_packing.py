"""Packed weights: the same outputs, from fewer layers."""

import logging

import pytest
import timm
import torch
from torch import nn

from scale.data import packing
from scale.data.packing import PackedConv2d, PackedLinear, pack_weights

torch.manual_seed(0)


def randomised(model):
    """Give batch normalisation statistics that are not 0 and 1."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return model.eval().requires_grad_(False)


# TensorFlow padding of even and odd sizes, depthwise layers, gates, attention, residuals.
@pytest.mark.parametrize(
    ("name", "size"),
    [("tf_efficientnet_lite0", 64), ("tf_efficientnet_lite0", 75), ("mobilenetv3_small_050", 64),
     ("test_resnet", 64), ("test_vit", 160), ("convnext_atto", 64)],
)  # fmt: skip
def test_outputs_are_those_of_the_model(name, size):
    model = randomised(timm.create_model(name, num_classes=0))
    inputs = torch.randn(3, 3, size, size)
    packed = pack_weights(model, lambda m: m(inputs[:1]))
    layers = [type(layer) for layer in packed.modules()]
    assert nn.Conv2d not in layers
    assert nn.Linear not in layers
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in packed.modules())
    assert PackedConv2d in layers
    assert (PackedLinear in layers) == (name == "test_vit")
    for number in (1, 3):
        expected, found = model(inputs[:number]), packed(inputs[:number])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max())


def test_a_model_that_would_differ_is_used_unchanged(caplog):
    class Twice(nn.Module):
        """The convolution's output is used beside its batch normalisation."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, inputs):
            inputs = self.conv(inputs)
            return self.norm(inputs) + inputs

    model = randomised(Twice())
    with caplog.at_level(logging.WARNING, packing.__name__):
        assert pack_weights(model, lambda m: m(torch.ones(1, 3, 8, 8))) is model
    assert "not packed" in caplog.text
