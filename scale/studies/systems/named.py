"""The named systems around SCALE: what each sees, how it fuses, what it hides and what it matches.

Every one is a preset that trains here on our modalities: `build_system` makes the model. They are
built from the same blocks and have as many parameters as SCALE, so that what differs is the way in
which modalities meet and the tasks, not the size. None starts from a pretrained BERT or detector.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from scale.modalities import MODALITIES, SPECS, TASKS

WORDS, VECTORS = ("MLM", "MEM"), ("MRP", "MFP", "MAM")


@dataclass(frozen=True)
class System:
    """What makes a named system."""

    name: str
    paper: str
    """Authors, venue, arXiv number."""
    scheme: Literal["scale", "single-stream", "two-stream", "two-tower"]
    modalities: tuple[str, ...]
    """What the paper's system sees, in our modalities; `everywhere` makes it see all five."""
    fusion: Literal["encoders + JCT", "all", "perception", "co-attention", "cross then self", ""]
    """`all`, `perception`: the modalities that share one Transformer; others have towers.
    `co-attention`: ViLBERT's layers, `cross then self`: LXMERT's. Empty: towers only."""
    masks: tuple[str, ...] = ()
    """Pretext tasks, by our names, for whichever of their modalities are seen."""
    vectors: Literal["regression", "choice"] = "regression"
    """What of hidden vectors is predicted: their values, or which of the batch's they are."""
    match: Literal["", "first", "product"] = ""
    """Telling whether one modality is another product's. `first`: from the first [CLS].
    `product`: from the language's [CLS] times the perception's. Empty: no such task."""
    contrast: Literal["", "InfoNCE", "ranking", "SCALE"] = ""
    """Loss between modalities of different products. Empty: none."""
    one_at_a_time: bool = False
    """A step hides tokens of one modality only (UNITER)."""
    frame_order: bool = False
    """Predict where shuffled frames belong (HERO)."""
    faithful: str = ""
    """What is as in the paper."""
    adapted: str = ""
    """What differs from it, and what is left out."""

    @property
    def loss_tasks(self) -> tuple[str, ...]:
        """What `LossConfig.tasks` must say so that `mask_batch` hides what the system wants.

        SCALE: all tasks. Of a system that hides nothing: ("contrastive",), which hides nothing.
        """
        if self.scheme == "scale":
            return ("contrastive", *TASKS)
        seen = tuple(SPECS[m].task for m in self.modalities if SPECS[m].task in self.masks)
        return seen or ("contrastive",)

    def everywhere(self) -> "System":
        """The same system on all five modalities: tables are words, all that is seen or heard
        are vectors. For comparisons in which everyone has the same products to look at."""
        return replace(self, modalities=MODALITIES)


def scale_itself() -> System:
    """SCALE: an encoder a modality, ten contrastive losses, a joint co-transformer, five masked
    tasks. The system that the others are compared with; `build_system` gives a `ScaleModel`."""
    return System(
        "SCALE", "Dong et al., CVPR 2022, arXiv 2109.04275", "scale", MODALITIES,
        "encoders + JCT", TASKS, contrast="SCALE",
        faithful="The model of this workbench.", adapted="See LossConfig and MissingConfig.",
    )  # fmt: skip


def vl_bert() -> System:
    """VL-BERT: one Transformer over words and regions, both are hidden, nothing is matched.

    Its authors found that sentence-image matching does not help and left it out.
    """
    return System(
        "VL-BERT", "Su et al., ICLR 2020, arXiv 1908.08530", "single-stream",
        ("text", "image"), "all", WORDS + VECTORS, "choice",
        faithful="One stream; hidden words with visual clues and classified hidden regions with "
        "linguistic clues; no matching task.",
        adapted="Regions are classified among the batch's hidden vectors, not among a detector's "
        "classes. Words carry no whole-image feature; no text-only corpus.",
    )  # fmt: skip


def imagebert() -> System:
    """ImageBERT: words and regions are hidden, regions are regressed, text and image matched."""
    return System(
        "ImageBERT", "Qi et al., 2020, arXiv 2001.07966", "single-stream",
        ("text", "image"), "all", WORDS + VECTORS, "regression", "first",
        faithful="One stream; MLM, masked region feature regression, image-text matching, all in "
        "one step.",
        adapted="Masked object classification is left out (no detector's classes), and so are the "
        "boxes of regions and the stages over web data.",
    )  # fmt: skip


def videobert() -> System:
    """VideoBERT: words and video are hidden, video is classified, the two are aligned."""
    return System(
        "VideoBERT", "Sun et al., ICCV 2019, arXiv 1904.01766", "single-stream",
        ("text", "video"), "all", WORDS + VECTORS, "choice", "first",
        faithful="One stream over words and video; hidden words and hidden video tokens are "
        "classified; linguistic-visual alignment from [CLS].",
        adapted="Video tokens are frames, not words of a hierarchical k-means: a hidden frame is "
        "to be found among the batch's hidden frames, the loss by which its authors replaced the "
        "k-means later (CBT, arXiv 1906.05743). Titles in place of recognised speech; no steps on "
        "text or video alone.",
    )  # fmt: skip


def mmt() -> System:
    """MMT: one Transformer over what is seen and heard, words in a BERT of their own; nothing is
    hidden, a max-margin ranking loss brings caption and clip together."""
    return System(
        "MMT", "Gabeur et al., ECCV 2020, arXiv 2007.10639", "single-stream",
        ("text", "video", "audio"), "perception", contrast="ranking",
        faithful="Several streams of features of a clip attend to one another with expert "
        "(modality) and temporal embeddings and an aggregate token each; the caption has its own "
        "Transformer; bidirectional max-margin ranking; no masking, no matching.",
        adapted="Two experts (frames, log-mel) instead of seven pretrained ones. The aggregate "
        "token is learned, not max-pooled. Experts' similarities have equal weights, not weights "
        "that the caption predicts.",
    )  # fmt: skip


def hero() -> System:
    """HERO: frames and text; words and frames are hidden, matched, and frames put in order."""
    return System(
        "HERO", "Li et al., EMNLP 2020, arXiv 2005.00200", "single-stream",
        ("text", "video"), "all", WORDS + VECTORS, "regression", "first", frame_order=True,
        faithful="MLM, masked frame modelling by regression, video-subtitle matching, and frame "
        "order modelling: 15 % of the frames are shuffled and their places classified.",
        adapted="One Transformer in place of the hierarchy (cross-modal, then temporal): a title "
        "is not aligned with moments. So matching is global and yes-or-no, without the local "
        "part and the ranking; all tasks share a step.",
    )  # fmt: skip


def visualbert() -> System:
    """VisualBERT: only words are hidden; text and image are matched."""
    return System(
        "VisualBERT", "Li et al., 2019, arXiv 1908.03557", "single-stream",
        ("text", "image"), "all", WORDS, match="first",
        faithful="One stream; MLM with the image in sight, no region is ever hidden; "
        "sentence-image prediction.",
        adapted="The paper's second caption, half of the time another image's, becomes one title "
        "(or picture) that is half of the time another product's. No task-specific pretraining.",
    )  # fmt: skip


def uniter() -> System:
    """UNITER: words or regions are hidden, never both at once; text and image are matched."""
    return System(
        "UNITER", "Chen et al., ECCV 2020, arXiv 1909.11740", "single-stream",
        ("text", "image"), "all", WORDS + VECTORS, "regression", "first", one_at_a_time=True,
        faithful="One stream; conditional masking (one modality hidden, the others whole), masked "
        "region feature regression, image-text matching.",
        adapted="Word-region alignment by optimal transport is left out, and so are region "
        "classification and its KL form (no detector's classes). Masking and matching share a "
        "step instead of taking turns.",
    )  # fmt: skip


def vilbert() -> System:
    """ViLBERT: two streams with co-attention; words and regions are hidden; alignment."""
    return System(
        "ViLBERT", "Lu et al., NeurIPS 2019, arXiv 1908.02265", "two-stream",
        ("text", "image"), "co-attention", WORDS + VECTORS, "choice", "product",
        faithful="Language has layers of its own first; then co-attentional layers (queries of "
        "one stream, keys and values of the other) and Transformer layers take turns; both sides "
        "are hidden and classified; alignment from the product of both [CLS].",
        adapted="Regions are classified among the batch's hidden vectors, not by a detector's "
        "distribution over classes. Both streams have the same width.",
    )  # fmt: skip


def lxmert() -> System:
    """LXMERT: two streams, cross-attention then self-attention; both hidden; matching."""
    return System(
        "LXMERT", "Tan and Bansal, EMNLP 2019, arXiv 1908.07490", "two-stream",
        ("text", "image"), "cross then self", WORDS + VECTORS, "regression", "first",
        faithful="Language and vision encoders, then cross-modality layers (cross-attention with "
        "weights for both directions, self-attention, feed-forward); hidden words and regressed "
        "hidden regions; matching from the language [CLS].",
        adapted="Question answering and the classification of detected labels are left out. "
        "Depths are 2 : 1 : 1 (language, vision, cross), not 9 : 5 : 5.",
    )  # fmt: skip


def clip() -> System:
    """CLIP: towers that meet in one contrastive loss; nothing is hidden, nothing attends across."""
    return System(
        "CLIP", "Radford et al., ICML 2021, arXiv 2103.00020", "two-tower",
        ("text", "image"), "", contrast="InfoNCE",
        faithful="A Transformer a tower, a linear projection, InfoNCE in both directions with a "
        "learned temperature (from 0.07, scale at most 100).",
        adapted="The text is read at [CLS], without a causal mask. On five modalities: a tower "
        "each, and the mean of all pairs' losses, as AudioCLIP (arXiv 2106.13043) did for three; "
        "not two towers, because then text and table would never be compared.",
    )  # fmt: skip


SYSTEMS: dict[str, Callable[[], System]] = {
    of.__name__: of
    for of in (
        scale_itself, vl_bert, imagebert, videobert, mmt, hero, visualbert, uniter,
        vilbert, lxmert, clip,
    )
}  # fmt: skip
"""By the name of the function. DALL-E, which generates, is in generator.py."""
