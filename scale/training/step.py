"""One step of training: corrupt, predict, weigh, descend.

B products, M modalities (five).
"""

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, DistributedType
from torch import Tensor, nn

from scale.config import Config
from scale.data.dataset import ProductDataset
from scale.losses.masking import MaskedBatch, Part, WordPieces, mask_batch
from scale.losses.total import LossOutput, WeightFn, scale_loss
from scale.modalities import INDEX
from scale.seeding import derived_seed
from scale.training.activations import checkpoint_activations
from scale.training.compiled import compile_layers
from scale.training.distributed import join, share, world_size
from scale.training.gradient_cache import CachedGradient, MicroBatch
from scale.training.prefetch import Prefetcher
from scale.training.reader import Reader
from scale.training.schedule import batch_indices, blocks_of, learning_rate, parameter_groups
from scale.training.sharding import full_tensor, shard

DROPOUT_STREAM, MASK_STREAM = 2, 3
"""Numbers of the random streams of a step (`scale.seeding`)."""
KINDS = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
"""What accelerate may be set up for: one process, or several that each hold the model (DDP)."""


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says at which step, why, and what to try."""


@dataclass
class Step:
    """What one step has to say; tensors, so that nothing waits for the device."""

    loss: LossOutput
    present_BM: Tensor
    grad_norm: Tensor
    learning_rate: float

    def figures(self) -> dict[str, Tensor]:
        """Scalars by name, as metrics.jsonl has them."""
        named = {"loss/total": self.loss.total}
        named |= {f"loss/{name}": value for name, value in self.loss.losses.items()}
        named["grad_norm"] = self.grad_norm
        return {name: value.detach().float() for name, value in named.items()}


class Objective(Protocol):
    """What a step minimises, for models that are not SCALE (studies/systems)."""

    def __call__(self, masked: MaskedBatch, progress: float) -> LossOutput:
        """Losses of a corrupted batch; torch's global generator is seeded for the step."""
        ...


class Stepper:
    """A model, its optimizer and its data, one step at a time.

    Every step is a function of (seed, step) and of the weights: the order of the data, the masks
    and the dropout are seeded by both. Masks are a product's, however the batch is shared out among
    processes and cut into micro-batches; dropout is a micro-batch's.
    """

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        train: ProductDataset,
        weigher: WeightFn | None = None,
    ):
        """`weigher`: see `scale_loss`. A model with a method `objective` is trained by that."""
        self.config, self.weigher = config, weigher
        self.train = trainable(train, config)
        self.blocks = blocks_of(self.train, config.train.shuffle_shards)
        self.accelerator = make_accelerator(config.train.device, config.train.precision)
        self.device = self.accelerator.device
        self.pieces = WordPieces.of(train.tokenizer)
        self.model = model.to(self.device)
        if config.train.activation_checkpointing:
            checkpoint_activations(self.model)
        if config.train.compile:
            compile_layers(self.model)
        fused = weigher is not None or config.loss.weight_features == "fused"
        reader = Reader(self.model, config.train.loss_positions_only, fused)
        self.sharded = config.train.fsdp and world_size() > 1
        if self.sharded:
            shard(reader, self.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.train.weight_decay),
            lr=config.train.learning_rate,
            betas=(0.9, 0.98),
            fused=self.device.type in ("cpu", "cuda"),
        )
        # `evaluation_mode` leaves DDP away, and nothing else.
        self.prepared = self.accelerator.prepare_model(reader, evaluation_mode=self.sharded)
        self.stepper = self.accelerator.prepare_optimizer(self.optimizer)
        self.objective: Objective = getattr(model, "objective", self._scale_objective)
        self._own_share(min(config.train.batch_size, len(self.train)))
        # On a CPU there is nothing to do meanwhile: the threads would only share the cores.
        self.ahead = Prefetcher(self._corrupt) if self.device.type == "cuda" else None

    def step(self, step: int) -> Step:
        """One step: corrupt, predict, weigh, descend."""
        settings = self.config.train
        products = len(self._rows(step))
        own = self._own_share(products)
        size = settings.micro_batch or products
        places = [(at, min(at + size, own.stop)) for at in range(own.start, own.stop, size)]
        self.prepared.train()
        self.stepper.zero_grad(set_to_none=True)
        if places == [(0, products)]:
            loss, present_BM = self._backward_at_once(step)
        else:
            loss, present_BM = self._backward_in_parts(step, places)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        rate = learning_rate(step, settings.steps, settings.learning_rate, settings.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.stepper.step()
        return Step(loss, present_BM, full_tensor(norm), rate)

    def _rows(self, step: int) -> np.ndarray:
        settings = self.config.train
        size, seed = settings.batch_size, settings.seed
        return batch_indices(len(self.train), size, seed, step, self.blocks)

    def _backward_at_once(self, step: int) -> tuple[LossOutput, Tensor]:
        settings = self.config.train
        torch.manual_seed(derived_seed(settings.seed, DROPOUT_STREAM, step))
        (masked,) = self._masked(step, [(0, len(self._rows(step)))])
        loss = self.objective(masked, step / settings.steps)
        self.accelerator.backward(loss.total)
        return loss, masked.batch.present_BM

    def _backward_in_parts(
        self, step: int, places: list[tuple[int, int]]
    ) -> tuple[LossOutput, Tensor]:
        """Losses and gradient of the whole batch from those of its products that are here."""
        settings = self.config.train
        parts = [
            MicroBatch(
                masked, slice(*place), derived_seed(settings.seed, DROPOUT_STREAM, step, place[0])
            )
            for place, masked in zip(places, self._masked(step, places), strict=True)
        ]
        gradient = CachedGradient(
            self.prepared,
            self.config.loss,
            step / settings.steps,
            self.accelerator.backward,
            # With FSDP2 each part's gradient is shared out at once: nobody ever holds it whole.
            nullcontext if self.sharded else lambda: self.accelerator.no_sync(self.prepared),
        )
        whole = self.train.facts(self._rows(step))
        return gradient(parts, whole), whole.present_BM

    def _masked(self, step: int, places: list[tuple[int, int]]) -> list[MaskedBatch]:
        """The products at these places of the step's batch, with hidden tokens, on the device."""
        keys = [(step, *place) for place in places]
        if self.ahead is None:
            return [self._corrupt(key) for key in keys]
        # The next step has the same places, as long as it has as many products.
        more = step + 1 < self.config.train.steps
        following = [*keys[1:], (step + 1, *places[0]) if more else None]
        return [self.ahead.get(key, after) for key, after in zip(keys, following, strict=True)]

    def _corrupt(self, key: tuple[int, int, int]) -> MaskedBatch:
        """What belongs to (step, first place, place after the last)."""
        step, first, after = key
        rows = self._rows(step)
        return mask_batch(
            self.train.collate(rows[first:after]),
            self.config.mask,
            self.pieces,
            (self.config.train.seed, MASK_STREAM, step),
            self.config.loss.tasks,
            Part(first, len(rows)),
        ).to(self.device)

    def _own_share(self, products: int) -> slice:
        """This process's part of a batch. Raises ValueError where a batch cannot be divided."""
        own, parted = share(products), bool(self.config.train.micro_batch)
        whole = self.objective == self._scale_objective and self.weigher is None
        if not whole and (parted or own != slice(0, products)):
            raise ValueError(
                "an objective or a weigher of its own needs the whole batch at once: one process "
                "and train.micro_batch 0"
            )
        return own

    def _scale_objective(self, masked: MaskedBatch, progress: float) -> LossOutput:
        output = self.prepared(masked.batch, masked.hidden, masked.positions)
        return scale_loss(output, masked, self.config.loss, progress, self.weigher)


def make_accelerator(device: str, precision: str) -> Accelerator:
    """accelerate's Accelerator for a device by name, `auto` being the best there is.

    Raises ValueError for a device that this machine does not have, and where accelerate is set up
    for another way than plain processes (its own FSDP, DeepSpeed).
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(),
             "mps": torch.backends.mps.is_available()}  # fmt: skip
    if device != "auto" and not there.get(device):
        known = ", ".join(name for name, here in there.items() if here)
        raise ValueError(f"train.device {device!r} is not on this machine; there is: {known}")
    if "WORLD_SIZE" not in os.environ:
        # One process may train several times (a notebook does), each time with its own settings.
        AcceleratorState._reset_state(True)
    # One process's products may lack a modality that another's have.
    exchange = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(
        cpu=join(device), mixed_precision=precision, kwargs_handlers=[exchange]
    )
    if accelerator.distributed_type not in KINDS:
        raise ValueError(
            f"accelerate was told to use {accelerator.distributed_type.value}, which training does "
            "not: start plain processes (--multi_gpu, or torchrun); with --train.fsdp they share "
            "weights out (docs/scaling.md)"
        )
    return accelerator


def trainable(train: ProductDataset, config: Config) -> ProductDataset:
    """The products that training uses: under the policy `drop`, only complete ones."""
    present_NM = torch.from_numpy(train.present_NM)
    used = [INDEX[m] for m in config.model.modalities]
    keep_N = present_NM[:, used].any(dim=1)
    if config.missing.policy == "drop":
        keep_N = present_NM[:, used].all(dim=1)
    kept = keep_N.nonzero().squeeze(1).numpy()
    if len(kept) < 2:
        raise TrainingError(
            f"{len(kept)} of {len(train)} products can be trained on (missing.policy "
            f"{config.missing.policy!r}): contrastive learning needs at least 2"
        )
    return train.subset(kept)
