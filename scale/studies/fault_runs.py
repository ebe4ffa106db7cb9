"""Short trainings with the released code's faults, and what they reach (notebook 15)."""

from dataclasses import replace

import numpy as np
from torch import nn

from scale.config import Config, LossConfig
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.splits import with_splits
from scale.modalities import MODALITIES
from scale.model.scale import ScaleModel
from scale.presets import official_loss
from scale.studies.released_code import FAULTS, Fault
from scale.training.run import Run, seeded_model
from scale.training.step import Stepper

STEPS = 12
"""Of a training that only shows that the loss falls."""


def few_products(run: Run, catalogue: Catalogue, count: int = 128) -> ProductDataset:
    """The first training products, as a run's tokens."""
    training = with_splits(catalogue).split("train")
    return run.dataset(replace(training, products=training.products[:count]))


def small_config(config: Config, loss: LossConfig | None = None) -> Config:
    """A run's settings with one layer a part, for trainings of seconds."""
    return replace(
        config,
        model=replace(config.model, encoder_layers=1, jct_layers=1),
        loss=loss or LossConfig(),
        train=replace(config.train, steps=STEPS, batch_size=16, learning_rate=3e-3),
    )


def layers_never_called(config: Config) -> ScaleModel:
    """SCALE with a slip of the pen twice: video runs through the image encoder's layers and table
    through the text encoder's; their own are there, counted and saved, and never called."""
    model = seeded_model(config)
    encoders = model.encoders
    encoders["video"].stack.forward = encoders["image"].stack.forward
    encoders["table"].bert.encoder.forward = encoders["text"].bert.encoder.forward
    return model


def silent_sounds(data: ProductDataset) -> ProductDataset:
    """Every sound that is there becomes zeros: what a bare `except` makes of a wrong argument."""
    column = data.columns["audio"]
    zeros = replace(column, values=np.zeros_like(column.values), mean_F=None, spread_F=None)
    return replace(data, columns=data.columns | {"audio": zeros})


def weights_on_predictions(config: Config) -> Config:
    """S' on the losses of words and pairs, and on the *predictions* of vectors."""
    loss = LossConfig(
        weight_on="loss",
        weight_mean_one=False,
        weight_uniform_share=0.0,
        regression_weight_on="prediction",
    )
    return replace(config, loss=loss)


SHORT: dict[str, Fault] = {
    "as described": Fault("No fault."),
    "heads on encoder": FAULTS["heads on encoder"],
    "layers never called": Fault("See `layers_never_called`.", build=layers_never_called),
    "mask on wrong products": FAULTS["mask on wrong products"],
    "weights on predictions": Fault("See the function.", config=weights_on_predictions),
    "the whole released loss": Fault(
        "See `official_loss`.", config=lambda config: replace(config, loss=official_loss())
    ),
    "audio axes swapped": FAULTS["audio axes swapped"],
    "audio all zeros": Fault("See `silent_sounds`.", train=silent_sounds),
    "missing in the losses": FAULTS["missing in the losses"],
}
"""Versions that are trained for some steps, the sound one first."""


def train_briefly(
    config: Config, data: ProductDataset, fault: Fault, steps: int = STEPS
) -> tuple[nn.Module, dict[str, list[float]]]:
    """Trains a version for some steps; returns its model and each loss (and `total`) by step.

    The model keeps the gradients of the last step.
    """
    config = fault.config(config)
    stepper = Stepper(config, fault.build(config), fault.train(data))
    curves: dict[str, list[float]] = {}
    for number in range(steps):
        loss = stepper.step(number).loss
        for name, value in {**loss.losses, "total": loss.total}.items():
            curves.setdefault(name, []).append(value.item())
    return stepper.model, curves


def learned_parameters(model: nn.Module) -> dict[str, tuple[int, int]]:
    """By part of the model, how many numbers the last backward pass reached, and how many it has.

    Parts are the encoder (with its pooler) and the head of each modality, and the JCT. A parameter
    counts as reached where its gradient is there and not 0 everywhere.
    """
    counts = {f"encoders.{m}": [0, 0] for m in MODALITIES}
    counts |= {"jct": [0, 0]} | {f"heads.{m}": [0, 0] for m in MODALITIES}
    for name, parameter in model.named_parameters():
        room, modality, *_ = name.split(".")
        room = "encoders" if room == "poolers" else room
        part = counts["jct" if room == "jct" else f"{room}.{modality}"]
        reached = parameter.grad is not None and bool(parameter.grad.any())
        part[0] += parameter.numel() * reached
        part[1] += parameter.numel()
    return {name: (reached, total) for name, (reached, total) in counts.items()}
