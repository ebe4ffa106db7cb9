"""Every setting, as frozen dataclasses with a docstring under each field.

Read and written as JSON. Unknown keys and values outside their range are errors.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from scale.files import write_whole
from scale.loss_config import LossConfig
from scale.modalities import MODALITIES, parse_subset
from scale.shapes import made_and_taken
from scale.strict import build, require

MissingPolicy = Literal["zero", "skip", "learned", "drop"]


@dataclass(frozen=True)
class FeatureConfig:
    """How a product's media become tokens (data/features.py). Also the key of the feature cache."""

    text_length: int = 36
    """Word pieces of a title, [CLS] and [SEP] counted."""
    table_length: int = 64
    """Word pieces of a table, [CLS] and [SEP] counted."""
    image_size: int = 224
    """Side in pixels to which a picture is fitted (padded to a square, never cropped)."""
    patch_size: int = 16
    """Side in pixels of a patch; a picture gives (image_size / patch_size)^2 patch vectors."""
    video_frames: int = 12
    """Frames taken from a clip, evenly spaced over its length."""
    frame_size: int = 64
    """Side in pixels to which a frame is fitted; a frame is one vector of 3 * frame_size^2."""
    sample_rate: int = 16_000
    """Hz."""
    audio_seconds: float = 12.0
    """Seconds of sound that are read; the rest is left out."""
    audio_frames: int = 100
    """Time frames of log-mel at most; one vector per time frame."""
    mel_bins: int = 80
    """Mel bands of a log-mel frame."""
    image_features: str = "patches"
    """`patches`: raw pixels of patches. `hog`: their colours and oriented gradients, from which
    a few hundred products suffice to learn (data/descriptors.py). `file`: a .npy of (L, F) per
    product, e.g. regions of a detector. Else the name of a timm model or a local folder whose
    frozen tokens are taken, e.g. `vit_small_patch16_224.dino`."""
    video_features: str = "frames"
    """`frames`: raw pixels of frames. `hog`, `file` and timm names as for images, one vector a
    frame."""
    audio_features: str = "logmel"
    """`logmel`, or `file`."""
    tokenizer: str = ""
    """Empty: WordPiece trained on the training split. Else a transformers tokenizer, by hub name
    or local folder."""
    vocab_size: int = 4096
    """Largest vocabulary of a trained WordPiece."""


@dataclass(frozen=True)
class ModelConfig:
    """The five encoders, the joint co-transformer and the heads (paper, section 4.1)."""

    modalities: tuple[str, ...] = MODALITIES
    """Modalities that have an encoder; the others count as missing everywhere."""
    width: int = 768
    """D: width of every token."""
    heads: int = 12
    """Attention heads; divides the width."""
    encoder_layers: int = 6
    """Transformer layers of each modality's encoder."""
    jct_layers: int = 6
    """Transformer layers of the joint co-transformer."""
    mlp_ratio: float = 4.0
    """Width of a layer's feed-forward part over D."""
    dropout: float = 0.1
    """In the encoders and the JCT."""
    text_length: int = 36
    """Longest sequence of text tokens, [CLS] counted; likewise below."""
    table_length: int = 64
    image_length: int = 196
    """Longest sequence of image vectors, the model's own [CLS] not counted; likewise below."""
    video_length: int = 12
    audio_length: int = 100
    vocab_size: int = 21_128
    """V: word pieces, shared by text and table."""
    image_features: int = 768
    """F: size of an image vector; likewise below."""
    video_features: int = 12_288
    audio_features: int = 80
    discrete_init: str = ""
    """Hub name or local folder of a transformers BERT whose first layers start text and table."""
    continuous_init: str = ""
    """timm name or local folder of a ViT whose first blocks start image, video and audio."""

    def __post_init__(self) -> None:
        require(self.width % self.heads == 0, "model.width must be a multiple of model.heads")
        object.__setattr__(self, "modalities", parse_subset("+".join(self.modalities)))

    def length(self, modality: str) -> int:
        """Longest sequence of a modality."""
        return getattr(self, f"{modality}_length")

    def feature_size(self, modality: str) -> int:
        """Size of a continuous modality's input vectors."""
        return getattr(self, f"{modality}_features")


@dataclass(frozen=True)
class MaskConfig:
    """What the pretext tasks hide (paper, section 4.2)."""

    rate: float = 0.15
    """Share of tokens (text, image, video, audio) or of entities (table) that is hidden."""
    mask_share: float = 0.8
    """Of hidden word pieces or entities: share that becomes [MASK]."""
    random_share: float = 0.1
    """Of hidden word pieces or entities: share that becomes random word pieces; the rest stays."""

    def __post_init__(self) -> None:
        require(0.0 < self.rate < 1.0, "mask.rate must lie between 0 and 1")
        require(
            self.mask_share >= 0
            and self.random_share >= 0
            and self.mask_share + self.random_share <= 1,
            "mask.mask_share and mask.random_share must be shares that sum to at most 1",
        )


@dataclass(frozen=True)
class MissingConfig:
    """What stands in for a modality that a product lacks."""

    policy: MissingPolicy = "zero"
    """`zero`: zero features run through the encoder (the paper's zero imputation). `skip`: no
    tokens at all. `learned`: one learned token per modality. `drop`: incomplete products are left
    out of training. In each, a missing modality has no loss, no pair, and no row in S. The study
    `missing` found the first three equal and `drop` worse (docs/findings.md)."""


@dataclass(frozen=True)
class TrainConfig:
    """How the model is optimised."""

    steps: int = 1000
    batch_size: int = 64
    """Products a step, over all processes together: each other's negatives. Each of W processes
    takes batch_size / W of them."""
    micro_batch: int = 0
    """Products that a process holds in memory at once; 0: all of its own. The gradient is that of
    the whole batch (training/caching.py), for one more forward pass through the encoders."""
    activation_checkpointing: bool = False
    """Compute the activations of Transformer layers once more in the backward pass instead of
    keeping them: the same gradient, about a third more time, much less memory."""
    lean: bool = False
    """Run the JCT's last layer only at positions that a loss reads, and pack its sequences under
    every policy: the same mathematics with other rounding and other dropout, about 6 % fewer
    operations for the paper's model."""
    fsdp: bool = False
    """Share weights, gradient and AdamW's state out among the processes (PyTorch's FSDP2) instead
    of keeping all in each: the same mathematics, less memory, more exchange (docs/scaling.md). One
    process keeps all anyway."""
    compile: bool = False
    """Compile layers and heads (torch.compile) at the first step, which takes a minute or two and
    needs a C++ compiler on the CPU: the same mathematics with other rounding, faster after that."""
    learning_rate: float = 5e-4
    """Peak, after warm-up; decays to zero by a cosine."""
    warmup_share: float = 0.1
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.05
    """On matrices only (parameters with at least two dimensions that are not embeddings)."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """accelerate's mixed precision; `no` is fp32."""
    device: str = "auto"
    """`auto`: CUDA, else MPS, else CPU; or one of them by name."""
    seed: int = 0
    log_every: int = 10
    """Steps between lines in metrics.jsonl."""
    eval_every: int = 100
    """Steps between validation retrievals; 0: never."""
    checkpoint_every: int = 100
    """Steps between checkpoints; the last step always writes one."""
    keep_last: int = 1
    """Checkpoints to go on from that are kept: checkpoint/last and older ones, last-000100."""
    keep_every: int = 0
    """Steps between models that are kept for good, checkpoint/step-000100; 0: none."""
    max_minutes: float = 0.0
    """Minutes after which training saves and stops, before a scheduler ends it; 0: no limit."""
    auto_batch: bool = False
    """Out of memory, do the step again and go on with half the micro_batch (one process only)."""
    shuffle_shards: int = 0
    """Read from shards on slow or distant disks: products are shuffled within this many shards at a
    time, the shards at random; 0: all products together, as from a catalogue (docs/shards.md)."""
    deterministic: bool = False
    """On CUDA too, only algorithms whose result is the same to the bit each time; slower. On the
    CPU it is always so."""

    def __post_init__(self) -> None:
        require(self.steps > 0, "train.steps must be positive")
        require(self.batch_size > 1, "train.batch_size must be at least 2: one has no negatives")
        require(self.micro_batch >= 0, "train.micro_batch must not be negative")
        require(self.log_every > 0, "train.log_every must be positive")
        require(self.checkpoint_every > 0, "train.checkpoint_every must be positive")
        require(self.keep_last > 0, "train.keep_last must be positive")
        require(self.keep_every >= 0, "train.keep_every must not be negative")
        require(self.max_minutes >= 0, "train.max_minutes must not be negative")
        require(self.shuffle_shards >= 0, "train.shuffle_shards must not be negative")
        require(
            not (self.fsdp and self.precision == "fp16"),
            "train.fsdp works with train.precision no or bf16: fp16's scaler has not been tried",
        )


@dataclass(frozen=True)
class Config:
    """All settings of a run: the content of a run folder's config.json."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    missing: MissingConfig = field(default_factory=MissingConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        for name, (made, taken) in made_and_taken(self.features, self.model).items():
            require(
                made == taken,
                f"features make {name} = {made} but model.{name} is {taken}; set both alike",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=2) + "\n")

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Config":
        """Inverse of `to_dict`. Raises ValueError that names an unknown key or a wrong type."""
        return build(Config, values)

    @staticmethod
    def load(path: Path) -> "Config":
        """Inverse of `save`. Raises ValueError that names the file and what is wrong in it."""
        try:
            return Config.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error
