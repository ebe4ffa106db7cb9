"""Initial weights from other models: a transformers BERT, a timm ViT, by hub name or folder."""

import torch
from torch import Tensor, nn
from transformers import BertModel

from scale.data.backbones import backbone_identity, load_timm
from scale.model.backbone_encoders import BackboneEncoder, load_backbone_weights
from scale.model.encoders import DiscreteEncoder, TransformerEncoder
from scale.model.scale import ScaleModel


def initialise_from_pretrained(model: ScaleModel) -> list[str]:
    """Initialise the encoders according to `ModelConfig.discrete_init` and `.continuous_init`, and
    load the public models inside encoders (`.text_backbone` etc.).

    Discrete encoders get the BERT's embeddings and first layers; continuous encoders and the JCT
    get the first blocks and the final norm of the ViT, but not its patch projection, whose input
    size differs.

    Returns:
        Messages for the log: which weights were copied, and which were not.

    Raises:
        ValueError: the model cannot be read, or its width or depth does not fit.
    """
    config, report = model.config, []
    for m, encoder in model.encoders.items():
        if isinstance(encoder, BackboneEncoder):
            load_backbone_weights(encoder, config.backbone(m))
            weights = sum(weight.numel() for weight in encoder.backbone.parameters())
            trained = sum(w.numel() for w in encoder.backbone.parameters() if w.requires_grad)
            report.append(f"{m}: {config.backbone(m)}, {trained:,} of {weights:,} weights trained")
    if config.discrete_init:
        bert = _load_bert(config.discrete_init)
        for m, encoder in model.encoders.items():
            if isinstance(encoder, DiscreteEncoder):
                report += [f"{m}: {line}" for line in _copy_bert(bert, encoder)]
    if config.continuous_init:
        blocks, norm = _load_vit(config.continuous_init)
        stacks = {m: e.stack for m, e in model.encoders.items() if hasattr(e, "stack")}
        for name, stack in {**stacks, "jct": model.jct.stack}.items():
            _copy_blocks(blocks, norm, stack, f"{config.continuous_init} into {name}")
            report.append(f"{name}: {len(stack.blocks)} blocks of {config.continuous_init}")
    return report


def _load_bert(name: str) -> BertModel:
    try:
        return BertModel.from_pretrained(name, add_pooling_layer=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model.discrete_init: cannot read a BERT from {name!r}: {error}"
        ) from error


def _load_vit(name: str) -> tuple[nn.ModuleList, nn.Module]:
    try:
        # Raises for a local folder whose weights are not safetensors.
        backbone_identity(name)
        vit = load_timm(name)
    except ValueError as error:
        raise ValueError(f"model.continuous_init: {error}") from error
    if not hasattr(vit, "blocks"):
        raise ValueError(f"model.continuous_init: {name!r} is not a ViT: it has no blocks")
    return vit.blocks, vit.norm


def _copy_bert(bert: BertModel, encoder: DiscreteEncoder) -> list[str]:
    """Copy layers, which must fit, and the embeddings that fit; return messages for the log."""
    ours, layers = encoder.bert, encoder.bert.encoder.layer
    if len(bert.encoder.layer) < len(layers):
        raise ValueError(
            f"the BERT has {len(bert.encoder.layer)} layers, model needs {len(layers)}"
        )
    for source, target in zip(bert.encoder.layer, layers, strict=False):
        _copy(source.state_dict(), target, "model.discrete_init")
    report = [f"{len(layers)} layers of the BERT"]
    taken = ours.embeddings.state_dict()
    for name, tensor in bert.embeddings.state_dict().items():
        if name not in taken:
            continue
        if name == "position_embeddings.weight":
            tensor = tensor[: len(taken[name])]
        if tensor.shape == taken[name].shape:
            taken[name] = tensor
        else:
            report.append(
                f"{name} not copied: the BERT's is {tuple(tensor.shape)}, the model's is "
                f"{tuple(taken[name].shape)} (another tokenizer? set features.tokenizer to the "
                "BERT's)"
            )
    ours.embeddings.load_state_dict(taken)
    return report


def _copy_blocks(
    blocks: nn.ModuleList, norm: nn.Module, stack: TransformerEncoder, what: str
) -> None:
    if len(blocks) < len(stack.blocks):
        raise ValueError(f"{what}: it has {len(blocks)} blocks, model needs {len(stack.blocks)}")
    for source, target in zip(blocks, stack.blocks, strict=False):
        _copy(source.state_dict(), target, what)
    _copy(norm.state_dict(), stack.norm, what)


def _copy(weights: dict[str, Tensor], target: nn.Module, what: str) -> None:
    """Load weights; raises ValueError unless all names and shapes fit."""
    own = target.state_dict()
    wrong = [n for n in own if n not in weights or weights[n].shape != own[n].shape]
    if wrong:
        raise ValueError(f"{what}: does not fit at {wrong[0]} (and {len(wrong) - 1} more)")
    with torch.no_grad():
        target.load_state_dict({n: weights[n] for n in own})
