"""Frozen public models as feature extractors: timm, transformers encoders, CLIP-like models.

A model is loaded once per process (`load_backbone`). Values are prepared one by one (decoded,
resized), in any thread, and encoded on the model's device: in batches on a GPU, on the CPU in
several threads of one core each, with weights in oneDNN's layout (`scale.data.packing`). The
features of a value do not depend on the other values of its batch, up to rounding.

H, W height and width in pixels, C three colours, T frames of a video, S samples of audio, N values,
L length of a sequence, F features of a vector, B values in a batch.
"""

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d

from scale.config import CLIP_PREFIX, FeatureConfig
from scale.data.media import fit_image
from scale.data.packing import pack_weights
from scale.data.weights import local_name, packaged_identity
from scale.files import file_digest

PICTURES, TOKENS = 32, 4096
"""Largest forward pass on a GPU: images and frames (or sounds); word pieces with padding."""
PICTURES_ON_CPU, TOKENS_ON_CPU = 4, 256
"""On the CPU: with more, the activations do not fit into the caches of a core."""
LOADED = 4
"""Models that stay in memory after use; on the CPU."""
EXAMPLE = "a small green pot"
"""A text with which packed weights are checked."""
UNREADABLE = (RuntimeError, ValueError, OSError, KeyError, TypeError, ImportError, SafetensorError)


def load_backbone(modality: str, config: FeatureConfig) -> "Backbone":
    """Return the model that extracts the features of a modality; loaded once per process.

    Raises ValueError with the name of the model and the reason if it does not load.
    """
    name = config.backbone(modality)
    size = config.backbone_size if modality in ("image", "video") else 0
    if name.startswith(CLIP_PREFIX):
        kind = ClipBackbone
    elif modality == "audio":
        kind = AudioBackbone
    else:
        kind = TimmBackbone if modality in ("image", "video") else TextBackbone
    with _LOADING:
        return _load(kind, name, size, backbone_identity(name))


_LOADING = threading.Lock()


@lru_cache(maxsize=LOADED)
def _load(kind: "type[Backbone]", name: str, size: int, identity: str) -> "Backbone":
    return kind(name, size)


def backbone_identity(name: str) -> str:
    """Return a string that identifies the weights: part of the key of the feature cache.

    The name of a published model, name and checksum of packaged weights, or a hash of
    configuration, tokenizer and weights of a local folder. Raises ValueError if a folder lacks
    config.json or safetensors; other formats of weights can execute code when they are loaded.
    """
    if packaged_identity(name):
        return packaged_identity(name)
    folder = Path(name.removeprefix(CLIP_PREFIX))
    if not folder.is_dir():
        return name
    weights = sorted(folder.glob("*.safetensors"))
    config = folder / "config.json"
    if not config.is_file() or not weights:
        raise ValueError(f"model {name!r}: the folder lacks config.json or *.safetensors")
    settings = [p for p in folder.iterdir() if p.suffix in (".json", ".txt", ".model")]
    digest = hashlib.blake2b(digest_size=16)
    for file in [config, *sorted(set(settings) - {config}), *weights]:
        digest.update(file_digest(file))
    return digest.hexdigest()


def load_timm(name: str) -> nn.Module:
    """Load a timm model with its weights, without classifier, by hub name, folder, packaged name.

    Raises ValueError with the name of the model if it does not load.
    """
    import timm

    try:
        source = local_name(name)
        source = f"local-dir:{source}" if Path(source).is_dir() else source
        return timm.create_model(source, pretrained=True, num_classes=0)
    except UNREADABLE as error:
        raise ValueError(f"timm model {name!r} does not load: {error}") from error


def load_transformer(name: str) -> nn.Module:
    """Load a transformers model by hub name, folder or packaged name; safetensors only.

    Raises ValueError with the name of the model if it does not load.
    """
    from transformers import AutoModel

    return _from_pretrained(AutoModel, name, use_safetensors=True, dtype=torch.float32)


def _from_pretrained(kind: Any, name: str, **options: Any) -> Any:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return kind.from_pretrained(local_name(name), trust_remote_code=False, **options)
    except UNREADABLE as error:
        raise ValueError(f"transformers model {name!r} does not load: {error}") from error
    finally:
        if shown:
            logging.enable_progress_bar()


class Backbone:
    """A frozen model that extracts features.

    Models of media `prepare` each decoded file, in any thread, and `encode` many; those of text
    have `encode_texts`.
    """

    model: nn.Module

    def __init__(self, name: str, model: nn.Module, device: torch.device | str = "auto") -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.name = name
        self.identity = backbone_identity(name)
        self.device = torch.device(device)
        self.model = model.eval().requires_grad_(False)
        self.lock = threading.Lock()
        """One forward pass at a time on a GPU, where the model also moves."""

    @property
    def on_cpu(self) -> bool:
        """Whether several threads may use the model at the same time."""
        return self.device.type == "cpu"

    def release(self) -> None:
        """Move the model to the CPU; it returns to its device when it is used."""
        with self.lock:
            self.model.to("cpu")

    def _pack(self, example: Callable[[nn.Module], Tensor]) -> None:
        """Replace the model by a faster copy if it is on the CPU (see `pack_weights`)."""
        if self.on_cpu:
            self.model = pack_weights(self.model, example)

    def _run(self, function: Callable[[], Any]) -> Any:
        with nullcontext() if self.on_cpu else self.lock, torch.inference_mode():
            if not self.on_cpu:
                self.model.to(self.device)
            return function()


class VisualBackbone(Backbone, ABC):
    """Tokens of an image, one pooled vector per frame of a video.

    Images are fitted to the input size of the model (aspect kept, padded with white, not cropped)
    and normalised by its mean and standard deviation.
    """

    size: int
    mean: Sequence[float]
    spread: Sequence[float]

    def prepare(self, modality: str, media: Image.Image | np.ndarray) -> np.ndarray:
        """Return pixels_THWC (uint8) of an image (T = 1) or of frames_THWC."""
        pictures = [media] if modality == "image" else map(Image.fromarray, media)
        return np.stack([fit_image(picture, self.size) for picture in pictures])

    def encode(
        self, modality: str, prepared: Sequence[np.ndarray], config: FeatureConfig
    ) -> list[np.ndarray]:
        """Return tokens_LF of each image, or vectors_TF of each clip.

        Equal pictures, such as the frames of a still clip, are encoded once.
        """
        pixels_NHWC = np.concatenate(prepared)
        first: dict[bytes, int] = {}
        number_N = [first.setdefault(picture.tobytes(), len(first)) for picture in pixels_NHWC]
        pixels_NHWC = pixels_NHWC[np.unique(number_N, return_index=True)[1]]
        step = PICTURES_ON_CPU if self.on_cpu else PICTURES
        found = np.concatenate([
            self._run(partial(self._features, modality, pixels_NHWC[at : at + step], config))
            for at in range(0, len(pixels_NHWC), step)
        ])[number_N]  # fmt: skip
        if modality == "image":
            return list(found)
        return np.split(found, np.cumsum([len(clip) for clip in prepared])[:-1])

    def _features(
        self, modality: str, pixels_BHWC: np.ndarray, config: FeatureConfig
    ) -> np.ndarray:
        values = torch.from_numpy(pixels_BHWC).to(self.device).float().div_(255.0)
        mean, spread = (torch.tensor(v, device=self.device) for v in (self.mean, self.spread))
        inputs = values.sub_(mean).div_(spread).permute(0, 3, 1, 2)
        image = modality == "image"
        found = self._tokens(inputs, config.image_grid) if image else self._pooled(inputs)
        return found.float().cpu().numpy()

    @abstractmethod
    def _tokens(self, inputs: Tensor, grid: int) -> Tensor:
        """Return tokens_BLF of a batch of images."""

    @abstractmethod
    def _pooled(self, inputs: Tensor) -> Tensor:
        """Return vectors_BF of a batch of frames."""


def _noise(*shape: int) -> Tensor:
    """Return an example of a model's input."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def pool_grid(tokens_BLF: Tensor, grid: int, height: int = 0) -> Tensor:
    """Average the L = height x width tokens of an image to at most grid x grid; 0: all tokens.

    `height` 0: a square. Raises ValueError if the tokens are not a square.
    """
    if grid == 0:
        return tokens_BLF
    count = tokens_BLF.shape[1]
    height = height or round(count**0.5)
    width = count // height
    if height * width != count:
        raise ValueError(f"features.image_grid: {count} tokens do not form a square")
    map_BFHW = tokens_BLF.transpose(1, 2).unflatten(2, (height, width))
    pooled = adaptive_avg_pool2d(map_BFHW.float(), (min(grid, height), min(grid, width)))
    return pooled.flatten(2).transpose(1, 2)


def timm_tokens(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the last layer of a timm model: tokens_BLF without prefix, or a map (B, H, W, F)."""
    features = model.forward_features(inputs)
    if features.ndim == 4:
        channels_first = getattr(model, "output_fmt", "NCHW") == "NCHW"
        return features.permute(0, 2, 3, 1) if channels_first else features
    return features[:, getattr(model, "num_prefix_tokens", 0) :]


def feature_map(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the last layer of a timm model as a map (B, F, H, W).

    Raises ValueError if its tokens are not a square.
    """
    features = timm_tokens(model, inputs)
    if features.ndim == 3:
        side = round(features.shape[1] ** 0.5)
        if side**2 != features.shape[1]:
            raise ValueError(f"{features.shape[1]} tokens do not form a square")
        features = features.unflatten(1, (side, side))
    return features.permute(0, 3, 1, 2)


class TimmBackbone(VisualBackbone):
    """A timm model: tokens of the last layer of an image, one pooled vector per frame.

    Tokens of a convolutional model are the positions of its feature map, row by row. [CLS] and
    registers are left out.
    """

    def __init__(self, name: str, size: int = 0, device: torch.device | str = "auto") -> None:
        """Load a model.

        Args:
            name: a timm model such as `vit_small_patch16_224.dino` or `hf-hub:owner/model`, with
                weights from the hub; a local folder with timm's config.json and safetensors (as
                written by `timm.models.save_for_hf`); or a packaged name (data/weights.py).
            size: side of the input in pixels; 0: the model's own.
            device: `auto` is CUDA if available, otherwise the CPU.

        Raises ValueError with the name of the model and the reason if it does not load.
        """
        import timm

        # Raises for a local folder whose weights are not safetensors.
        backbone_identity(name)
        super().__init__(name, load_timm(name), device)
        # Convolutions then take about half the time, on the CPU too.
        self.model.to(memory_format=torch.channels_last)
        settings = timm.data.resolve_model_data_config(self.model)
        own = settings["input_size"][-1]
        self.size = size or own
        self.mean, self.spread = tuple(settings["mean"]), tuple(settings["std"])
        if self.size != own and hasattr(self.model, "set_input_size"):
            try:
                self.model.set_input_size(img_size=size)
            except (AssertionError, ValueError, RuntimeError) as error:
                raise ValueError(f"timm model {name!r}: no input size {size}: {error}") from error
        example = _noise(PICTURES_ON_CPU, 3, self.size, self.size)
        self._pack(lambda model: model(example.to(memory_format=torch.channels_last)))

    def _tokens(self, inputs: Tensor, grid: int) -> Tensor:
        features = timm_tokens(self.model, inputs)
        if features.ndim == 4:
            return pool_grid(features.flatten(1, 2), grid, features.shape[1])
        return pool_grid(features, grid)

    def _pooled(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)


@dataclass(frozen=True)
class EncodedText:
    """Token vectors of a text."""

    vectors_LF: np.ndarray
    piece_L: np.ndarray
    """Id (int32) of each token in the vocabulary of the model; -1: of the whole text."""
    last_L: np.ndarray
    """Index in the text of each token's last character; -1: of the whole text, or unknown."""


class TextBackbone(Backbone):
    """A transformers encoder: contextual vectors of the word pieces of a text.

    Those of the last layer, without [CLS] and [SEP], so that their mean is that of the words. A
    text without any word keeps its special tokens.
    """

    def __init__(self, name: str, size: int = 0, device: torch.device | str = "auto") -> None:
        """Load a model by hub name, local folder or packaged name. Raises ValueError that names
        it."""
        backbone_identity(name)
        model = load_transformer(name)
        if getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        super().__init__(name, model, device)
        self.tokenizer = model_tokenizer(name)
        example = self.tokenizer(EXAMPLE, return_tensors="pt").to(self.device)
        self._pack(lambda model: model(**example).last_hidden_state)

    def encode_texts(
        self, texts: Sequence[str], length: int, pool: Executor | None = None
    ) -> list[EncodedText]:
        """Return at most `length` vectors of each text; `pool`: threads for the batches."""

        def hidden(inputs: dict[str, Tensor]) -> tuple[Tensor, None]:
            return self.model(**inputs).last_hidden_state, None

        limit = getattr(self.model.config, "max_position_embeddings", None)
        return encode_texts(self, texts, length, limit, hidden, pool=pool)


def encode_texts(
    backbone: "TextBackbone | ClipBackbone",
    texts: Sequence[str],
    length: int,
    limit: int | None,
    hidden: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor | None]],
    padding: bool | str = True,
    pool: Executor | None = None,
) -> list[EncodedText]:
    """Return at most `length` vectors of each text; texts of similar length share a batch.

    Args:
        limit: maximum number of positions of the model, including special tokens.
        hidden: returns hidden_BLF and, for models that have one, a vector of the whole text
            whole_BF, which becomes the first of the sequence.
        padding: see transformers; `max_length` if the model was trained with padded texts only.
        pool: threads in which the batches run; none: the calling thread.
    """
    tokenizer = backbone.tokenizer
    limit = min(limit or tokenizer.model_max_length, tokenizer.model_max_length)
    longest = min(length + tokenizer.num_special_tokens_to_add(), limit)
    pieces = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    sizes = [longest if padding == "max_length" else len(ids) for ids in pieces]

    def encode(rows: list[int], batch: Any) -> Iterator[tuple[int, EncodedText]]:
        special_BL = batch.pop("special_tokens_mask")
        # Slow tokenizers (SigLIP's) do not locate their tokens.
        end_BL = batch.pop("offset_mapping")[:, :, 1] if tokenizer.is_fast else 0 * special_BL
        attend_BL = batch["attention_mask"].bool()
        if padding == "max_length":
            del batch["attention_mask"]

        def run() -> tuple[np.ndarray, np.ndarray | None]:
            inputs = {name: value.to(backbone.device) for name, value in batch.items()}
            hidden_BLF, whole_BF = hidden(inputs)
            whole = None if whole_BF is None else whole_BF.float().cpu().numpy()
            return hidden_BLF.float().cpu().numpy(), whole

        hidden_BLF, whole_BF = backbone._run(run)
        word_BL = (attend_BL & (special_BL == 0)).numpy()
        for b, row in enumerate(rows):
            some = word_BL[b].any() or whole_BF is not None
            kept_L = word_BL[b] if some else attend_BL[b].numpy()
            vectors_LF = hidden_BLF[b][kept_L]
            piece_L = batch["input_ids"][b].numpy()[kept_L].astype(np.int32)
            last_L = end_BL[b].numpy()[kept_L] - 1
            if whole_BF is not None:
                vectors_LF = np.concatenate([whole_BF[b : b + 1], vectors_LF])
                piece_L, last_L = (np.insert(number_L, 0, -1) for number_L in (piece_L, last_L))
            yield row, EncodedText(vectors_LF[:length], piece_L[:length], last_L[:length])

    groups = _batches(sizes, TOKENS_ON_CPU if backbone.on_cpu else TOKENS)
    # In this thread: a tokenizer must not be used by several at a time.
    batches = [
        tokenizer(
            [texts[i] for i in rows], truncation=True, max_length=longest, padding=padding,
            return_tensors="pt", return_offsets_mapping=tokenizer.is_fast,
            return_special_tokens_mask=True, return_attention_mask=True,
        )
        for rows in groups
    ]  # fmt: skip
    found: dict[int, EncodedText] = {}
    for part in (pool.map if pool else map)(lambda *args: list(encode(*args)), groups, batches):
        found.update(part)
    return [found[row] for row in range(len(texts))]


def _batches(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Return rows by increasing size, so that a batch has at most `limit` tokens with padding."""
    batches: list[list[int]] = []
    for row in sorted(range(len(sizes)), key=sizes.__getitem__):
        if not batches or sizes[row] * (len(batches[-1]) + 1) > limit:
            batches.append([])
        batches[-1].append(row)
    return batches


def model_tokenizer(name: str) -> Any:
    """Load a model's tokenizer. Raises ValueError that names the model if it does not load."""
    from transformers import AutoTokenizer

    tokenizer = _from_pretrained(AutoTokenizer, name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def vector_pieces(text: str, config: FeatureConfig) -> list[str]:
    """Return the word piece of each vector of a title; "*" for the vector of the whole title."""
    name = config.text_features
    tokenizer = _loaded_tokenizer(name.removeprefix(CLIP_PREFIX))
    encoded = tokenizer(text, return_special_tokens_mask=True)
    special = encoded["special_tokens_mask"]
    pieces = [tokenizer.decode([i]) for i in encoded["input_ids"]]
    words = [piece for piece, is_special in zip(pieces, special, strict=True) if not is_special]
    first = ["*"] if name.startswith(CLIP_PREFIX) else []
    return [*first, *(words if words or first else pieces)][: config.text_length]


_loaded_tokenizer = lru_cache(LOADED)(model_tokenizer)


class ClipBackbone(VisualBackbone):
    """A dual encoder of images and texts (CLIP, SigLIP): both in one space.

    The first vector of an image or text is its embedding (projected and pooled), followed by the
    projected tokens; a frame of a video is its embedding.
    """

    def __init__(self, name: str, size: int = 0, device: torch.device | str = "auto") -> None:
        """Load `clip:NAME`, a hub name or a local folder. Raises ValueError that names it.

        size: side of the input in pixels; 0: the model's own.
        """
        from transformers import AutoImageProcessor

        backbone_identity(name)
        source = name.removeprefix(CLIP_PREFIX)
        model = load_transformer(source)
        if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
            raise ValueError(f"transformers model {source!r}: not a CLIP-like dual encoder")
        super().__init__(name, model, device)
        self.tokenizer = model_tokenizer(source)
        images = _from_pretrained(AutoImageProcessor, source)
        self.own_size = model.config.vision_config.image_size
        self.size = size or self.own_size
        self.mean, self.spread = tuple(images.image_mean), tuple(images.image_std)
        picture, text = (
            _noise(1, 3, self.size, self.size),
            self.tokenizer(EXAMPLE, return_tensors="pt"),
        )

        def example(model: nn.Module) -> Tensor:
            resized = self.size != self.own_size
            found = (
                model.get_image_features(picture, interpolate_pos_encoding=resized),
                model.get_text_features(**text),
            )
            return torch.cat([one.pooler_output.flatten() for one in found])

        self._pack(example)

    def encode_texts(
        self, texts: Sequence[str], length: int, pool: Executor | None = None
    ) -> list[EncodedText]:
        """Return at most `length` vectors of each text, its embedding first; see TextBackbone."""
        # SigLIP was trained on texts padded to the full length, without a mask.
        padded = "siglip" in self.model.config.model_type
        limit = self.model.config.text_config.max_position_embeddings
        if padded:
            self.tokenizer.model_max_length = limit

        def hidden(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            return self._projected(self.model.get_text_features(**inputs), "text")

        if not padded:
            return encode_texts(self, texts, length, limit, hidden, pool=pool)
        return [
            EncodedText(found.vectors_LF[:length], found.piece_L[:length], found.last_L[:length])
            for found in encode_texts(self, texts, limit, limit, hidden, "max_length", pool)
        ]

    def _tokens(self, inputs: Tensor, grid: int) -> Tensor:
        tokens_BLF, whole_BF = self._visual(inputs)
        patches = (self.size // self.model.config.vision_config.patch_size) ** 2
        tokens_BLF = pool_grid(tokens_BLF[:, tokens_BLF.shape[1] - patches :], grid)
        return torch.cat([whole_BF[:, None], tokens_BLF], dim=1)

    def _pooled(self, inputs: Tensor) -> Tensor:
        return self._visual(inputs)[1]

    def _visual(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        resized = self.size != self.own_size
        found = self.model.get_image_features(inputs, interpolate_pos_encoding=resized)
        return self._projected(found, "visual")

    def _projected(self, found: Any, side: str) -> tuple[Tensor, Tensor]:
        """Return tokens_BLF in the space of the embedding, and the embedding whole_BF."""
        tokens_BLF, whole_BF = found.last_hidden_state, found.pooler_output
        projection = getattr(self.model, f"{side}_projection", None)
        if projection is not None:
            if side == "visual":
                tokens_BLF = self.model.vision_model.post_layernorm(tokens_BLF)
            tokens_BLF = projection(tokens_BLF)
        if tokens_BLF.shape[2] != whole_BF.shape[1]:
            raise ValueError(
                f"{self.name}: tokens of width {tokens_BLF.shape[2]}, embedding of "
                f"{whole_BF.shape[1]}: this architecture is not supported"
            )
        return tokens_BLF, whole_BF


class AudioBackbone(Backbone):
    """A transformers audio encoder (AST, CLAP's audio tower, Whisper's encoder, wav2vec 2.0 ...).

    Tokens of the last layer over time; those of AST and CLAP are averaged over frequency. Tokens of
    the silence that the extractor appends are left out, and the others averaged to at most
    `audio_frames`.
    """

    def __init__(self, name: str, size: int = 0, device: torch.device | str = "auto") -> None:
        """Load a model by hub name or local folder. Raises ValueError that names it."""
        backbone_identity(name)
        model = load_transformer(name)
        self.kind = model.config.model_type
        if hasattr(model, "audio_model"):
            model = model.audio_model
        elif getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        super().__init__(name, model, device)
        self.extractor = _extractor(name, self.identity)
        self.rate = self.extractor.sampling_rate
        example = self.prepare("audio", _noise(self.rate).numpy())["inputs"]
        self._pack(lambda model: model(**example).last_hidden_state)

    def prepare(self, modality: str, media: np.ndarray) -> dict[str, Any]:
        """Return the model's inputs of sound_S at `rate`, and the share that is not silence."""
        window = self._window()
        # Longer sounds would be cropped at random by CLAP's extractor.
        sound_S = np.asarray(media, np.float32)[: window or None]
        inputs = self.extractor(sound_S, sampling_rate=self.rate, return_tensors="pt")
        known = {k: v for k, v in inputs.items() if k not in ("attention_mask",)}
        return {"inputs": known, "share": min(1.0, len(sound_S) / window) if window else 1.0}

    def encode(
        self, modality: str, prepared: Sequence[dict[str, Any]], config: FeatureConfig
    ) -> list[np.ndarray]:
        """Return tokens_LF of each sound; sounds of equal length share a batch."""
        groups: dict[tuple, list[int]] = {}
        for row, sound in enumerate(prepared):
            shape = tuple((name, tuple(value.shape)) for name, value in sound["inputs"].items())
            groups.setdefault(shape, []).append(row)
        found: dict[int, np.ndarray] = {}
        for rows in groups.values():
            for at in range(0, len(rows), PICTURES):
                part = rows[at : at + PICTURES]
                inputs = [prepared[row]["inputs"] for row in part]
                tokens_BLF = self._run(partial(self._tokens, inputs))
                for row, tokens_LF in zip(part, tokens_BLF, strict=True):
                    kept = max(1, round(prepared[row]["share"] * len(tokens_LF)))
                    found[row] = _pool_time(tokens_LF[:kept], config.audio_frames)
        return [found[row] for row in range(len(prepared))]

    def _window(self) -> int:
        """Return the samples to which the extractor pads or cuts a sound; 0: it does neither."""
        if self.kind == "audio-spectrogram-transformer":
            # Its frames are 10 ms apart.
            return self.extractor.max_length * self.rate // 100
        for name in ("n_samples", "nb_max_samples"):
            if getattr(self.extractor, name, None):
                return int(getattr(self.extractor, name))
        return 0

    def _tokens(self, inputs: list[dict[str, Tensor]]) -> Tensor:
        batch = {
            name: torch.cat([one[name] for one in inputs]).to(self.device) for name in inputs[0]
        }
        tokens = self.model(**batch).last_hidden_state
        if tokens.ndim == 4:
            # CLAP: (B, F, frequency, time).
            tokens = tokens.mean(2).transpose(1, 2)
        elif self.kind == "audio-spectrogram-transformer":
            config = self.model.config
            rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
            # [CLS], a distillation token, then patches, frequency by frequency.
            tokens = tokens[:, 2:].unflatten(1, (rows, -1)).mean(1)
        return tokens.float().cpu()


def _pool_time(tokens_LF: Tensor, frames: int) -> np.ndarray:
    if len(tokens_LF) > frames:
        tokens_LF = adaptive_avg_pool1d(tokens_LF.T, frames).T
    return tokens_LF.numpy()


def audio_rate(config: FeatureConfig) -> int:
    """Return the sample rate at which audio is decoded: the model's, if there is one."""
    name = config.backbone("audio")
    if not name:
        return config.sample_rate
    return _extractor(name, backbone_identity(name)).sampling_rate


@lru_cache(maxsize=LOADED)
def _extractor(name: str, identity: str) -> Any:
    from transformers import AutoFeatureExtractor

    return _from_pretrained(AutoFeatureExtractor, name)
