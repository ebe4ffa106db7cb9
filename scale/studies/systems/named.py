"""Named systems to compare with SCALE: modalities, fusion, masked tasks, matching and contrast.

Each is a preset on this package's modalities; `build_system` builds the model. All use the same
blocks and the parameter count of SCALE, so they differ in fusion and tasks, not in size. None is
initialised from a pretrained BERT or detector.
"""

from dataclasses import dataclass, replace
from typing import Literal

from scale.modalities import MODALITIES, SPECS, TASKS

WORDS, VECTORS = ("MLM", "MEM"), ("MRP", "MFP", "MAM")


@dataclass(frozen=True)
class System:
    """Specification of a named system."""

    name: str
    paper: str
    """Authors, venue, arXiv number."""
    scheme: Literal["scale", "single-stream", "two-stream", "two-tower"]
    modalities: tuple[str, ...]
    """Modalities of the paper, in our terms; see `everywhere` for all five."""
    fusion: Literal["encoders + JCT", "all", "perception", "co-attention", "cross then self", ""]
    """`all`, `perception`: the modalities that share one Transformer; others have towers.
    `co-attention`: ViLBERT's layers, `cross then self`: LXMERT's. Empty: towers only."""
    masks: tuple[str, ...] = ()
    """Pretext tasks, by our names."""
    vectors: Literal["regression", "choice"] = "regression"
    """Prediction of masked vectors: their values, or their identity in the batch."""
    match: Literal["", "first", "product"] = ""
    """Matching task: detect a modality of another product. `first`: from the first [CLS].
    `product`: from the product of language and perception [CLS]. Empty: no such task."""
    contrast: Literal["", "InfoNCE", "ranking", "SCALE"] = ""
    """Contrastive loss. Empty: none."""
    one_at_a_time: bool = False
    """Mask one modality per step (UNITER)."""
    frame_order: bool = False
    """Predict the positions of shuffled frames (HERO)."""
    faithful: str = ""
    """Aspects as in the paper."""
    adapted: str = ""
    """Differences from the paper and omissions."""

    @property
    def loss_tasks(self) -> tuple[str, ...]:
        """The value of `LossConfig.tasks` with which `mask_batch` masks as the system requires.

        All tasks for SCALE; ("contrastive",) for systems without masked tasks.
        """
        if self.scheme == "scale":
            return ("contrastive", *TASKS)
        seen = tuple(SPECS[m].task for m in self.modalities if SPECS[m].task in self.masks)
        return seen or ("contrastive",)

    def everywhere(self) -> "System":
        """Return the system on all five modalities: tables as words, the rest as vectors."""
        return replace(self, modalities=MODALITIES)


SYSTEMS: dict[str, System] = {
    "scale_itself": System(
        "SCALE", "Dong et al., CVPR 2022, arXiv 2109.04275", "scale", MODALITIES,
        "encoders + JCT", TASKS, contrast="SCALE",
        faithful="The model of this workbench.", adapted="See LossConfig and MissingConfig.",
    ),
    "vl_bert": System(
        "VL-BERT", "Su et al., ICLR 2020, arXiv 1908.08530", "single-stream",
        ("text", "image"), "all", WORDS + VECTORS, "choice",
        faithful="One stream; masked words with visual clues and classified masked regions with "
        "linguistic clues; no matching task.",
        adapted="Regions are classified among the batch's masked vectors, not among a detector's "
        "classes. Words carry no whole-image feature; no text-only corpus.",
    ),
    "imagebert": System(
        "ImageBERT", "Qi et al., 2020, arXiv 2001.07966", "single-stream",
        ("text", "image"), "all", WORDS + VECTORS, "regression", "first",
        faithful="One stream; MLM, masked region feature regression, image-text matching, all in "
        "one step.",
        adapted="Masked object classification is left out (no detector's classes), and so are the "
        "boxes of regions and the stages over web data.",
    ),
    "videobert": System(
        "VideoBERT", "Sun et al., ICCV 2019, arXiv 1904.01766", "single-stream",
        ("text", "video"), "all", WORDS + VECTORS, "choice", "first",
        faithful="One stream over words and video; masked words and masked video tokens are "
        "classified; linguistic-visual alignment from [CLS].",
        adapted="Video tokens are frames, not words of a hierarchical k-means: a masked frame is "
        "to be found among the batch's masked frames, the loss by which its authors replaced the "
        "k-means later (CBT, arXiv 1906.05743). Titles in place of recognised speech; no steps on "
        "text or video alone.",
    ),
    "mmt": System(
        "MMT", "Gabeur et al., ECCV 2020, arXiv 2007.10639", "single-stream",
        ("text", "video", "audio"), "perception", contrast="ranking",
        faithful="Several streams of features of a clip attend to one another with expert "
        "(modality) and temporal embeddings and an aggregate token each; the caption has its own "
        "Transformer; bidirectional max-margin ranking; no masking, no matching.",
        adapted="Two experts (frames, log-mel) instead of seven pretrained ones. The aggregate "
        "token is learned, not max-pooled. Experts' similarities have equal weights, not weights "
        "that the caption predicts.",
    ),
    "hero": System(
        "HERO", "Li et al., EMNLP 2020, arXiv 2005.00200", "single-stream",
        ("text", "video"), "all", WORDS + VECTORS, "regression", "first", frame_order=True,
        faithful="MLM, masked frame modelling by regression, video-subtitle matching, and frame "
        "order modelling: 15 % of the frames are shuffled and their places classified.",
        adapted="One Transformer in place of the hierarchy (cross-modal, then temporal): a title "
        "is not aligned with moments. So matching is global and yes-or-no, without the local "
        "part and the ranking; all tasks share a step.",
    ),
    "visualbert": System(
        "VisualBERT", "Li et al., 2019, arXiv 1908.03557", "single-stream",
        ("text", "image"), "all", WORDS, match="first",
        faithful="One stream; MLM with the image visible, regions are never masked; "
        "sentence-image prediction.",
        adapted="The paper's second caption, half of the time another image's, becomes one title "
        "(or picture) that is half of the time another product's. No task-specific pretraining.",
    ),
    "uniter": System(
        "UNITER", "Chen et al., ECCV 2020, arXiv 1909.11740", "single-stream",
        ("text", "image"), "all", WORDS + VECTORS, "regression", "first", one_at_a_time=True,
        faithful="One stream; conditional masking (one modality masked, the others complete), "
        "masked region feature regression, image-text matching.",
        adapted="Word-region alignment by optimal transport is left out, and so are region "
        "classification and its KL form (no detector's classes). Masking and matching share a "
        "step instead of taking turns.",
    ),
    "vilbert": System(
        "ViLBERT", "Lu et al., NeurIPS 2019, arXiv 1908.02265", "two-stream",
        ("text", "image"), "co-attention", WORDS + VECTORS, "choice", "product",
        faithful="Language first has separate layers; then co-attentional layers (queries of "
        "one stream, keys and values of the other) and Transformer layers take turns; both sides "
        "are masked and classified; alignment from the product of both [CLS].",
        adapted="Regions are classified among the batch's masked vectors, not by a detector's "
        "distribution over classes. Both streams have the same width.",
    ),
    "lxmert": System(
        "LXMERT", "Tan and Bansal, EMNLP 2019, arXiv 1908.07490", "two-stream",
        ("text", "image"), "cross then self", WORDS + VECTORS, "regression", "first",
        faithful="Language and vision encoders, then cross-modality layers (cross-attention with "
        "weights for both directions, self-attention, feed-forward); masked words and regressed "
        "masked regions; matching from the language [CLS].",
        adapted="Question answering and the classification of detected labels are left out. "
        "Depths are 2 : 1 : 1 (language, vision, cross), not 9 : 5 : 5.",
    ),
    "clip": System(
        "CLIP", "Radford et al., ICML 2021, arXiv 2103.00020", "two-tower",
        ("text", "image"), "", contrast="InfoNCE",
        faithful="A Transformer a tower, a linear projection, InfoNCE in both directions with a "
        "learned temperature (from 0.07, scale at most 100).",
        adapted="The text is read at [CLS], without a causal mask. On five modalities: a tower "
        "each, and the mean of all pairs' losses, as AudioCLIP (arXiv 2106.13043) did for three; "
        "not two towers, because then text and table would never be compared.",
    ),
}  # fmt: skip
"""The generative DALL-E is in generator.py."""
