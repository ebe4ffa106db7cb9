"""A small random data set for `Trainer`, and training settings for one or two processes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from scale.config import FUSED_TASKS, Config, FeatureConfig, LossConfig, ModelConfig, official_loss
from scale.data.batch import ProductBatch, Tokens
from scale.losses.weighting import Weights
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.training import trainer as training_step
from scale.training.distributed import destroy_processes, full_tensor, rank
from scale.training.run import seeded_model
from scale.training.trainer import Trainer

MODEL = ModelConfig(
    width=16, heads=2, encoder_layers=1, jct_layers=1, mlp_ratio=2.0, dropout=0.0,
    text_length=10, table_length=14, image_length=4, video_length=3, audio_length=6,
    vocab_size=40, image_features=12, video_features=27, audio_features=5,
)  # fmt: skip
"""The smallest model with all parts."""
FEATURES = FeatureConfig(
    text_length=10, table_length=14, image_size=4, patch_size=2, video_frames=3, frame_size=3,
    audio_seconds=1.0, audio_frames=6, mel_bins=5, vocab_size=40,
)  # fmt: skip
ALL, NO_AUDIO = MODALITIES, ("text", "table", "image", "video")
MIXED = [ALL, ("text", "table"), ("text", "image", "audio"), ALL,
         ("video", "audio"), ("table", "image", "video"), ALL, ("text", "audio")]  # fmt: skip
NO_MEDIA = [("text", "table")] * 2 + [("text",)] * 2
"""Four products without image, video or audio."""


class SmallTokenizer:
    """The attributes of a tokenizer that masking uses."""

    mask_token_id, unk_token_id, all_special_ids = 4, 1, (0, 1, 2, 3, 4)

    def __len__(self) -> int:
        return MODEL.vocab_size


class SmallData:
    """Products with random tokens in float64; products n and n + 4 have equal content numbers."""

    tokenizer = SmallTokenizer()

    def __init__(self, present: list[tuple[str, ...]]):
        random, count = torch.Generator().manual_seed(1), len(present)
        self.present_NM = np.array([[m in subset for m in MODALITIES] for subset in present])
        self.content_id_NM = np.where(self.present_NM, np.arange(count)[:, None] % 4, -1)
        self.tokens = {m: _tokens(m, count, random) for m in MODALITIES}

    def __len__(self) -> int:
        return len(self.present_NM)

    def subset(self, rows: np.ndarray) -> "SmallData":
        assert list(rows) == list(range(len(self)))
        return self

    def facts(self, rows: np.ndarray) -> ProductBatch:
        content_id_BM = torch.from_numpy(self.content_id_NM[rows])
        return ProductBatch({}, content_id_BM >= 0, torch.from_numpy(rows), content_id_BM)

    def collate(self, rows: np.ndarray) -> ProductBatch:
        batch = self.facts(rows)
        for m, tokens in self.tokens.items():
            here = batch.present_BM[:, INDEX[m]].nonzero().squeeze(1)
            batch.tokens[m] = replace(tokens.select(batch.index_B[here]), rows_R=here)
        return batch


def _tokens(modality: str, count: int, random: torch.Generator) -> Tokens:
    length = MODEL.length(modality)
    size_N1 = torch.randint(3, length + 1, (count, 1), generator=random)
    padding_NL, entity_NL = torch.arange(length) >= size_N1, None
    if SPECS[modality].kind == "discrete":
        values = torch.randint(5, MODEL.vocab_size, padding_NL.shape, generator=random)
        values = values.masked_fill(padding_NL, 0)
    else:
        shape = (*padding_NL.shape, MODEL.feature_size(modality))
        values = torch.randn(shape, generator=random).double()
        values = values.masked_fill(padding_NL[:, :, None], 0.0)
    if modality == "table":
        entity_NL = ((torch.arange(length) - 1) // 2).clamp(min=-1).expand_as(padding_NL)
        entity_NL = entity_NL.masked_fill(padding_NL, -1)
    return Tokens(values, padding_NL, torch.arange(count), entity_NL)


def setting(present: list, loss: LossConfig, policy: str = "zero", dropout: float = 0.0, **train):
    """Return modalities by product and a config whose batches are all products."""
    config = Config(features=FEATURES, model=replace(MODEL, dropout=dropout), loss=loss)
    train = {"steps": 10, "batch_size": len(present), "device": "cpu", **train}
    missing = replace(config.missing, policy=policy)
    return present, replace(config, train=replace(config.train, **train), missing=missing)


WEIGHTED = LossConfig(weight_on="loss", weight_uniform_share=0.0)
WEIGHT_GRADIENT = replace(WEIGHTED, weight_gradient=True)
SETTINGS = {
    "default": setting(MIXED, LossConfig()),
    "one process without media": setting([*NO_MEDIA, *MIXED[:4]], LossConfig()),
    "one process without a task": setting([*MIXED[:4], *NO_MEDIA], LossConfig(tasks=("MRP",))),
    "no audio": setting([NO_AUDIO] * 4 + NO_MEDIA, LossConfig(), policy="skip"),
    "contrast only": setting(MIXED, LossConfig(tasks=("contrastive",)), policy="learned"),
    "scores of the batch": setting(
        [*NO_MEDIA, *MIXED[:4]],
        replace(WEIGHT_GRADIENT, weight_level="batch", row_normalise=True),
    ),
    "official": setting(MIXED, official_loss()),
    "posterior": setting(MIXED, replace(WEIGHTED, weight_by="posterior"), micro_batch=2),
    "agreement": setting(MIXED, replace(WEIGHTED, weight_by="agreement", weight_on="none"),
                         micro_batch=2),
    "logits": setting(
        [*MIXED[:4], *NO_MEDIA],
        replace(
            WEIGHT_GRADIENT, weight_on="logits", weight_features="fused", ignore_duplicates=False
        ),
        micro_batch=2,
    ),
    "dropout": setting(MIXED, WEIGHT_GRADIENT, policy="skip", dropout=0.3, micro_batch=2),
    "parts of unequal size": setting(MIXED, WEIGHTED, micro_batch=3, activation_checkpointing=True),
    "confu, learned temperature": setting(
        MIXED, LossConfig(contrast="confu", temperature_learned=True, label_smoothing=0.1),
        micro_batch=2,
    ),
    "fused": setting(
        [*NO_MEDIA, *MIXED[:4]], LossConfig(tasks=(*LossConfig().tasks, *FUSED_TASKS)),
        micro_batch=2,
    ),
    "loss positions, skip": setting(
        [*NO_MEDIA, *MIXED[:4]], LossConfig(), policy="skip", loss_positions_only=True
    ),
    "loss positions, zero": setting(
        [*MIXED[:4], *NO_MEDIA], LossConfig(), loss_positions_only=True
    ),
}  # fmt: skip
SHARDED = (
    "default", "one process without media", "one process without a task", "no audio",
    "contrast only", "logits", "dropout", "parts of unequal size", "confu, learned temperature",
    "fused", "loss positions, skip", "loss positions, zero",
)  # fmt: skip
"""Settings that are also trained with FSDP2."""


TWO_STEPS = ("default", "no audio", "parts of unequal size")
"""Settings that are trained for two steps with FSDP2; the others for one."""


def product_weights(present: list[tuple[str, ...]]) -> Weights:
    """Return random weights of each product, for `weight_by` agreement."""
    random = torch.Generator().manual_seed(4)
    pair_NP, own_NM = (torch.rand(len(present), n, generator=random) for n in (10, 5))
    return Weights(pair_NP.double(), own_NM.double())


def train_steps(name: str, fsdp: bool = False) -> dict[str, torch.Tensor]:
    """Return losses, gradient norm and weights of two steps and the gradient of the first.

    A batch is all products in order; each process has an equal share. Keys start with the number
    of the step.
    """
    present, config = SETTINGS[name]
    config = replace(config, train=replace(config.train, fsdp=fsdp))
    training_step.batch_indices = lambda products, *_: np.arange(products)
    model, weights = seeded_model(config).double(), product_weights(present)
    trainer = Trainer(config, model, SmallData(present), weights=weights)
    found = {}
    for number in range(1 if fsdp and name not in TWO_STEPS else 2):
        step = trainer.train_step(number)
        found |= {f"{number}/{key}": value for key, value in step.loss.losses.items()}
        found[f"{number}/S'"] = step.loss.scores.weighted_BMM
        found[f"{number}/grad_norm"] = step.grad_norm
        if number == 0:
            found |= {
                f"0/gradient/{key}": full_tensor(weight.grad).clone()
                for key, weight in trainer.model.named_parameters()
                if weight.grad is not None
            }
        for key, weight in trainer.model.named_parameters():
            found[f"{number}/weight/{key}"] = full_tensor(weight.detach()).clone()
    if fsdp:
        found["local share"] = local_share(trainer)
    return {key: value.detach().clone().contiguous() for key, value in found.items()}


def local_share(trainer: Trainer) -> torch.Tensor:
    """Return the share of the weights and of AdamW's moments that this process holds."""
    tensors = list(trainer.model.parameters())
    for state in trainer.optimizer.state.values():
        tensors += [state["exp_avg"], state["exp_avg_sq"]]
    local = sum(tensor.to_local().numel() for tensor in tensors)
    return torch.tensor(local / sum(tensor.numel() for tensor in tensors))


def train_all(folder: Path, names: tuple[str, ...] = tuple(SETTINGS)) -> None:
    """Train settings in one process of several and write its results to files."""
    for number, name in enumerate(SETTINGS):
        if name not in names:
            continue
        save_file(train_steps(name), folder / f"{number}-{rank()}.safetensors")
        if name in SHARDED:
            found = train_steps(name, fsdp=True)
            save_file(found, folder / f"{number}-{rank()}-fsdp.safetensors")
    destroy_processes()
