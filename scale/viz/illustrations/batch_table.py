"""One real batch as InfoNCE sees it: the table of cosines between titles and pictures.

B products, N products of a data set, D width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from scale.data.dataset import ProductDataset
from scale.evaluation.embed import Embedder
from scale.losses.contrastive import pair_losses
from scale.training.run import TrainedRun
from scale.viz.illustrations.contrast import IMAGE, PAIR, TEXT
from scale.viz.theme import MODALITY_COLOURS, diverging, drawn, new_figure, points, shade
from scale.viz.words import Language, label

KEYS = ("contrast_untrained", "contrast_seen", "contrast_unseen")


@dataclass(frozen=True)
class BatchTable:
    """Titles against pictures of one batch."""

    cosine_BB: Tensor
    """Row: title, column: picture; true pairs on the diagonal."""
    loss: float
    """InfoNCE of the batch, mean of both directions, at the package's temperature."""

    @property
    def hits(self) -> int:
        """Titles whose own picture has the largest cosine."""
        return int((self.cosine_BB.argmax(1) == torch.arange(len(self.cosine_BB))).sum())


def table_of(model: Embedder, dataset: ProductDataset, count: int = 32) -> BatchTable:
    """The first `count` products that have a title and a picture, as the model embeds them.

    Products with equal contents are no negatives of each other, as in the demo's training.
    """
    has_N = dataset.present_NM[:, [TEXT, IMAGE]].all(1)
    batch = dataset.collate(has_N.nonzero()[0][:count])
    device = next(model.parameters()).device
    with torch.no_grad():
        output = model.embed(batch.to(device))
    pooled_BMD, present_BM = output.pooled_BMD.cpu(), output.present_BM.cpu()
    unit_BMD = normalize(pooled_BMD, dim=-1)
    losses = pair_losses(pooled_BMD, present_BM, content_BM=batch.content_BM)
    cosine_BB = unit_BMD[:, TEXT] @ unit_BMD[:, IMAGE].T
    return BatchTable(cosine_BB, losses.loss_BP[:, PAIR].mean().item())


def tables_of(run: TrainedRun, seen: ProductDataset, unseen: ProductDataset) -> list[BatchTable]:
    """Untrained and trained on products of the training, and trained on others."""
    untrained = table_of(run.untrained().eval(), seen)
    return [untrained, table_of(run.model, seen), table_of(run.model, unseen)]


@drawn
def batch_table(tables: Sequence[BatchTable], lang: Language = "en") -> Figure:
    """Three heat maps of cosines: untrained, trained on seen products, trained on unseen ones.

    Raises ValueError where the tables are not three.
    """
    figure = new_figure(10.2, 3.9)
    columns = figure.subplots(1, len(KEYS))
    norm = Normalize(-1, 1)
    for axes, table, key in zip(columns, tables, KEYS, strict=True):
        _heat(axes, table, norm, lang)
        axes.set_title(label(key, lang), loc="center")
    columns[0].set_ylabel(label("contrast_titles", lang), color=MODALITY_COLOURS["text"])
    bar = figure.colorbar(ScalarMappable(norm, diverging()), ax=columns, shrink=0.7, aspect=25)
    bar.set_label(label("contrast_cosine", lang))
    bar.set_ticks([-1, -0.5, 0, 0.5, 1], labels=["−1", "−0.5", "0", "0.5", "1"])
    bar.outline.set_visible(False)
    return figure


def _heat(axes: Axes, table: BatchTable, norm: Normalize, lang: Language) -> None:
    count = len(table.cosine_BB)
    axes.imshow(table.cosine_BB.numpy(), cmap=diverging(), norm=norm, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=shade(0.3))
    facts = {"loss": table.loss, "guess": math.log(count), "hits": table.hits, "count": count}
    note = label("contrast_table_note", lang, **facts)
    pictures = label("contrast_pictures", lang)
    axes.set_xlabel(pictures, color=MODALITY_COLOURS["image"])
    style = {"ha": "center", "va": "top", "fontsize": points(8.5), "color": shade(0.85)}
    axes.annotate(
        note,
        (0.5, 0),
        (0, points(-20)),
        xycoords="axes fraction",
        textcoords="offset points",
        **style,
    )
