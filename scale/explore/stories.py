"""Guided stories of the score explorer: a change, the product on which its effect is clearest, and
a question.

M modalities (five), R candidate rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch

from scale.evaluation.embed import Embeddings
from scale.explore.markup import modality_name, number
from scale.explore.source import ExplorerSource
from scale.modalities import INDEX, MODALITIES
from scale.model.scale import ScaleModel
from scale.model.scores import inter_modality_scores
from scale.studies.single_product import ModalityChange, ProductEditor
from scale.threads import torch_threads
from scale.viz.words import Language, label

CANDIDATES = 24
"""Products among which a story chooses."""
Changes = Mapping[str, ModalityChange]


@dataclass(frozen=True)
class Story:
    """A change with a caption that ends in a question.

    Its labels are `key` (button) and `key` + `_text`.
    """

    key: str
    changes: Changes

    @property
    def changed(self) -> list[int]:
        """Places of the changed modalities."""
        return [INDEX[m] for m in self.changes]

    @property
    def removes(self) -> bool:
        """Whether the story removes modalities, and changes no content."""
        return not any(change.present for change in self.changes.values())

    def effect(self, now_MM: np.ndarray, before_MM: np.ndarray, present_M: np.ndarray) -> float:
        """Return the size of the effect on S' in the expected direction.

        Removed modalities: mean rise of the remaining pairs. Changed contents: mean fall of S'
        between a changed modality and the unchanged ones, in both directions; of several changed
        modalities, the least.
        """
        kept = [m for m in np.flatnonzero(present_M).tolist() if m not in self.changed]
        if self.removes:
            pairs = [(i, j) for i in kept for j in kept if i != j]
            return float(np.mean([now_MM[p] - before_MM[p] for p in pairs])) if pairs else 0.0
        fall_MM = before_MM - now_MM
        falls = [(fall_MM[m, kept].mean() + fall_MM[kept, m].mean()) / 2 for m in self.changed]
        return float(min(falls)) if kept else 0.0


STORIES = (
    Story("xs_story_blur", {"image": ModalityChange(damage=("blur", 8.0))}),
    Story("xs_story_title", {"text": ModalityChange(mismatch=True)}),
    Story("xs_story_silence", {"audio": ModalityChange(present=False)}),
    Story(
        "xs_story_two",
        {
            "text": ModalityChange(mismatch=True),
            "image": ModalityChange(damage=("gaussian", 150.0)),
        },
    ),
    Story("xs_story_loud", {"audio": ModalityChange(damage=("snr", -20.0))}),
    Story(
        "xs_story_pair",
        {m: ModalityChange(present=False) for m in ("table", "video", "audio")},
    ),
)
"""Damage is a step of `STRENGTHS` (modality_column.py)."""


def applies(story: Story, editor: ProductEditor, row: int) -> bool:
    """Return whether a product has every modality that a story changes, two others, and donors."""
    has = [m for m in MODALITIES if editor.has(row, m)]
    changes = story.changes
    others = [m for m in has if m not in changes]
    return len(others) >= 2 and all(
        m in has
        and (not change.mismatch or editor.donor(row, m) is not None)
        and (change.damage is None or change.damage[0] in editor.kinds(m))
        for m, change in changes.items()
    )


def candidates(story: Story, source: ExplorerSource, editor: ProductEditor) -> list[int]:
    """Return at most CANDIDATES products, the most complete first, evenly spaced among them."""
    fits = [row for row in source.rows.tolist() if applies(story, editor, row)]
    most = [row for row in fits if len(source.modalities(row)) == len(source.modalities(fits[0]))]
    return most[:: max(1, len(most) // CANDIDATES)][:CANDIDATES]


def choose_product(
    story: Story,
    source: ExplorerSource,
    editor: ProductEditor,
    model: ScaleModel,
    features: Embeddings,
) -> int | None:
    """Return the row of the candidate with the largest `Story.effect`; None without a candidate.

    features: of all unchanged products, by the same model.
    """
    rows = candidates(story, source, editor)
    if not rows:
        return None
    return rows[int(np.argmax(effects(story, rows, editor, model, features)))]


def effects(
    story: Story,
    rows: Sequence[int],
    editor: ProductEditor,
    model: ScaleModel,
    features: Embeddings,
) -> list[float]:
    """Return the effect of a story on S' of each product."""
    found = []
    for row in rows:
        with torch.inference_mode(), torch_threads(1):
            output = model.embed(editor.batch(row, story.changes))
            pooled_MD, present_M = output.pooled_BMD, output.present_BM
            now_MM = inter_modality_scores(pooled_MD, present_M).weighted_BMM[0].numpy()
        clean = features.pooled_NMD[[row]], features.present_NM[[row]]
        before_MM = inter_modality_scores(*map(torch.from_numpy, clean)).weighted_BMM[0].numpy()
        found.append(story.effect(now_MM, before_MM, present_M[0].numpy()))
    return found


def story_caption(
    story: Story,
    source: ExplorerSource,
    row: int,
    now_MM: np.ndarray,
    before_MM: np.ndarray,
    lang: Language,
) -> str:
    """Return product, effect in numbers and question of a story.

    The numbers are the mean S' of the pairs, and S' on the diagonal, of the changed modalities; if
    they are removed, of the others.
    """
    has = [INDEX[m] for m in source.modalities(row)]
    kept = [m for m in has if m not in story.changed]
    lines = []
    for m in kept[:2] if story.removes else story.changed:
        others = [k for k in kept if k != m]
        values = {
            "pairs_before": number(float(before_MM[m, others].mean())),
            "pairs_now": number(float(now_MM[m, others].mean())),
            "own_before": number(float(before_MM[m, m])),
            "own_now": number(float(now_MM[m, m])),
        }
        name = modality_name(MODALITIES[m], lang)
        lines.append(label("xs_story_numbers", lang, modality=name, **values))
    chosen = label("xs_story_chosen", lang, n=CANDIDATES, product=escape(source.line(row)))
    return (
        f'<div class="story" role="status"><b>{label(story.key, lang)}</b><br>'
        f"{label(f'{story.key}_text', lang)} {' '.join(lines)} "
        f'<b class="question">{label(f"{story.key}_question", lang)}</b> '
        f'<span class="note">{chosen}</span></div>'
    )
