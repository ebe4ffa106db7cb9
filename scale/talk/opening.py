"""The first slides: the idea, the modalities, the data sets, the designs, the data."""

from collections import Counter

import numpy as np

from scale.data.catalogue import Catalogue
from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES
from scale.strict import require
from scale.talk.cards import Cards
from scale.talk.chart import Chart
from scale.talk.diagrams import Gaps, Pairs
from scale.talk.material import Content, Material, Slide, pictured
from scale.talk.prose import words
from scale.talk.table import Cell, Table, cell
from scale.viz.catalogue import head_of
from scale.viz.illustrations.data import DATA_SETS, DataSet, shop_facts
from scale.viz.pictures.run_pictures import most_complete
from scale.viz.theme import MODALITY_COLOURS, POSITIVE

SHOWN = 24
"""Products whose gaps are drawn."""
ABSENT = "#D5DAE1"
"""A modality that a data set lacks."""


def _title(m: Material) -> Content:
    return Content("Title", values={"products": len(m.sources.catalogue)})


def _idea(m: Material) -> Content:
    return pictured(m.picture("contrastive_idea"))


def _modalities(m: Material) -> Content:
    product = m.sources.test.products[most_complete(m.sources.test)]
    name = product.name or product.id
    return Content("Title only", (Cards(product),), {"name": name})


def _data_sets(m: Material) -> Content:
    said, ours = words("data_sets", m.lang), shop_facts(m.sources.catalogue)
    rows = tuple(_data_set_row(data, said, data is ours) for data in (*DATA_SETS, ours))
    header = tuple(said[k] for k in ("name", "modalities", "instances", "what", "categories"))
    values = {"count": len(rows), "names": ", ".join(row[0].text for row in rows)}
    return Content("Wide chart or table", (Table(header, rows, (3.4, 1.9, 1.8, 2.6, 2)),), values)


def _data_set_row(data: DataSet, said: dict[str, str], ours: bool) -> tuple[Cell, ...]:
    name = f"{data.name} ({data.year})" if data.year else data.name
    dots = tuple(
        ("● ", MODALITY_COLOURS[m] if m in data.modalities else ABSENT) for m in MODALITIES
    )
    categories = _count(data.categories, said)
    return (
        cell(said["ours"].format(name=name) if ours else name, bold=ours),
        Cell(dots),
        cell(_count(data.instances, said)),
        cell(said.get(data.instance, data.instance)),
        cell(said["over"].format(n=categories) if data.over else categories),
    )


def _count(number: int | None, said: dict[str, str]) -> str:
    return said["not_stated"] if number is None else f"{number:,}"


def _streams(m: Material) -> Content:
    return pictured(m.picture("streams"))


def _challenges(m: Material) -> Content:
    catalogue = m.sources.catalogue
    shown_NM = np.random.default_rng(m.sources.seed).permutation(catalogue.present_NM())[:SHOWN]
    return Content("Two columns", (Pairs(), Gaps(shown_NM)), _completeness(catalogue))


def _completeness(catalogue: Catalogue) -> dict[str, int]:
    present_NM = catalogue.present_NM()
    require(len(present_NM) > 0, f"{catalogue.folder}: the catalogue has no products")
    return {"complete": int(present_NM.all(axis=1).sum()), "all": len(present_NM)}


def _data(m: Material) -> Content:
    said, catalogue = words("data", m.lang), m.sources.catalogue
    have_M = catalogue.present_NM().sum(axis=0)
    sizes = Counter(p.category for p in catalogue if p.category is not None)
    require(bool(sizes), f"{catalogue.folder}: no product has a category")
    counts = sorted(sizes.values(), reverse=True)
    names, values = [m.label(each) for each in MODALITIES], _completeness(catalogue)
    share_M = have_M / values["all"]
    rare = int(have_M.argmin())
    values |= {
        "rarest": names[rare],
        "rare": int(have_M[rare]),
        "head": head_of(np.array(counts, dtype=float)),
        "categories": len(counts),
        "largest": counts[0],
        "smallest": counts[-1],
        "shares": ", ".join(f"{n} {s:.0%}" for n, s in zip(names, share_M, strict=True)),
    }
    shares = Chart(
        "bars", tuple(names), {said["share"]: [_exact(s) for s in share_M]},
        tuple(MODALITY_COLOURS.values()), said["share"], percent=True,
    )  # fmt: skip
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    tail = Chart(
        "columns", tuple(name for name, _ in ordered),
        {said["products"]: [_exact(count) for _, count in ordered]}, (POSITIVE,),
        said["products"], said["rank"].format(n=len(ordered)), named=False,
    )  # fmt: skip
    return Content("Two charts", (shares, tail), values)


def _exact(value: float) -> Estimate:
    """A count: nothing was drawn, so there is no interval."""
    return Estimate(float(value), None, None, 0)


SLIDES = (
    Slide("title", "run, catalogue", _title),
    Slide("idea", "figure contrastive_idea", _idea),
    Slide("modalities", "a test product of the run", _modalities),
    Slide("data_sets", "facts with their sources, catalogue", _data_sets),
    Slide("streams", "figure streams", _streams),
    Slide("challenges", "catalogue", _challenges),
    Slide("data", "catalogue", _data),
)
