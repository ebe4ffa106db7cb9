"""Trains the small DALL-E on a catalogue's titles and pictures, and asks whether the text helps.

Measured on data_samples (three seeds, the settings below, a CPU): 2.89 bits per image token
against 6.35 of the unigram baseline; another product's title costs 0.017, 0.033 and 0.028 bits
more, about 1 % of them. So it learns what pictures look like, and little of what titles say.

B products of a batch, T text length, N image tokens, C codes.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scale.data.catalogue import Catalogue
from scale.data.features import fit_picture
from scale.data.media import load_image
from scale.data.product import View
from scale.data.tokenizer import encode_texts, train_tokenizer
from scale.seeding import derived_seed, generator
from scale.studies.systems.generator import GeneratorConfig, ImageGenerator, PatchCodebook
from scale.training.schedule import batch_indices, learning_rate

PICTURE, PATCH = 64, 8
"""Sides in pixels of a picture and of a patch."""


@dataclass(frozen=True)
class GeneratorTraining:
    """How the generator is trained."""

    steps: int = 500
    batch_size: int = 32
    learning_rate: float = 2e-3
    """Peak; warm-up and cosine as in pretraining."""
    weight_decay: float = 0.1
    codes: int = 128
    vocab_size: int = 1024
    seed: int = 0


@dataclass(frozen=True)
class Bits:
    """Bits per image token of held-out pictures; lower is better."""

    unigram: float
    """Of the training pictures' code frequencies (each code once more than it was seen)."""
    model: float
    """Given the picture's own title."""
    shuffled: float
    """Given another product's title: the part that titles tell is `shuffled - model`."""


@dataclass(frozen=True)
class GeneratorRun:
    """A trained generator and what it was trained with."""

    model: ImageGenerator
    codebook: PatchCodebook
    tokenizer: PreTrainedTokenizerBase
    losses: tuple[float, ...]
    """7/8 image + 1/8 text, in nats, of each step."""
    bits: Bits

    def text(self, titles: list[str]) -> Tensor:
        """Titles as text_BT."""
        return text_ids(self.tokenizer, titles, self.model.config.text_length)


def train_generator(
    catalogue: Catalogue, settings: GeneratorTraining | None = None
) -> GeneratorRun:
    """Fit the codebook, then the Transformer, on the split `train`; measure on `val` and `test`.

    Both views of a training product are pairs of title and picture of their own; of held-out
    products the first view is measured. `data_samples` takes about two minutes on two CPU cores.

    Raises ValueError where no training product has both title and picture.
    """
    settings = settings or GeneratorTraining()
    train = [v for p in catalogue.split("train").products for v in (p, p.alt) if _usable(v)]
    held = [p for s in ("val", "test") for p in catalogue.split(s).products if _usable(p)]
    if not train or not held:
        raise ValueError("no product with a title and a picture in train, or none in val and test")
    pictures, held_pictures = [_pixels(v) for v in train], [_pixels(v) for v in held]
    codebook = PatchCodebook.fit(pictures, settings.codes, PATCH, settings.seed)
    tokenizer = train_tokenizer(catalogue.split("train").products, settings.vocab_size)
    config = GeneratorConfig(
        len(tokenizer), settings.codes, side=PICTURE // PATCH, pad_id=tokenizer.pad_token_id
    )
    text_BT = text_ids(tokenizer, [v.text for v in train], config.text_length)
    image_BN = _codes(codebook, pictures)
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(settings.seed))
        model = ImageGenerator(config)
        losses = fit_generator(model, text_BT, image_BN, settings)
    held_text_BT = text_ids(tokenizer, [v.text for v in held], config.text_length)
    held_image_BN = _codes(codebook, held_pictures)
    bits = measure_bits(model, held_text_BT, held_image_BN, image_BN, settings.seed)
    return GeneratorRun(model.eval(), codebook, tokenizer, losses, bits)


def fit_generator(
    model: ImageGenerator, text_BT: Tensor, image_BN: Tensor, settings: GeneratorTraining
) -> tuple[float, ...]:
    """Minimise `model.loss` by AdamW; the loss of each step, in nats."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay},
         {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )  # fmt: skip
    losses = []
    model.train()
    for step in range(settings.steps):
        rows = torch.from_numpy(
            batch_indices(len(text_BT), settings.batch_size, settings.seed, step)
        )
        loss, _ = model.loss(text_BT[rows], image_BN[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = learning_rate(step, settings.steps, settings.learning_rate, 0.1)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.detach())
    return tuple(torch.stack(losses).tolist())


def measure_bits(
    model: ImageGenerator, text_BT: Tensor, image_BN: Tensor, train_image_BN: Tensor, seed: int
) -> Bits:
    """Bits per image token: -mean log2 p(code), by model and by unigram frequencies."""
    count_C = torch.bincount(train_image_BN.flatten(), minlength=model.config.codes) + 1.0
    unigram_BN = (count_C / count_C.sum()).log2()[image_BN]
    # A cyclic shift of a random order: nobody keeps the own title.
    order_B = torch.randperm(len(text_BT), generator=generator("cpu", seed, 1))
    other_B = torch.empty_like(order_B)
    other_B[order_B] = order_B.roll(1)
    own, shuffled = (_bits(model, t, image_BN) for t in (text_BT, text_BT[other_B]))
    return Bits(-float(unigram_BN.mean()), own, shuffled)


@torch.no_grad()
def _bits(model: ImageGenerator, text_BT: Tensor, image_BN: Tensor) -> float:
    training = model.training
    model.eval()
    parts = list(zip(text_BT.split(128), image_BN.split(128), strict=True))
    nats = sum(float(model.loss(t, i)[1]) * len(t) for t, i in parts) / len(text_BT)
    model.train(training)
    return nats / math.log(2)


def text_ids(tokenizer: PreTrainedTokenizerBase, titles: list[str], length: int) -> Tensor:
    """Titles as text_BT (int64), padded or cut to `length`."""
    ids_NL, padding_NL = encode_texts(tokenizer, titles, length)
    text_BT = np.full((len(titles), length), tokenizer.pad_token_id, np.int64)
    text_BT[:, : ids_NL.shape[1]] = np.where(padding_NL, tokenizer.pad_token_id, ids_NL)
    return torch.from_numpy(text_BT)


def _usable(view: View) -> bool:
    return view.text is not None and view.image is not None


def _pixels(view: View) -> np.ndarray:
    return fit_picture(load_image(view.image), PICTURE)


def _codes(codebook: PatchCodebook, pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack([codebook.encode(p) for p in pictures]))
