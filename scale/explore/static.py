"""Scores and map of precomputed results, as panels that need no kernel (static_panel.py).

N products, M modalities (five), C contents of a product (all modalities), D width, K neighbours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke

from scale.config import require
from scale.data.backbones import audio_rate
from scale.data.features import log_mel
from scale.evaluation.embed import subset_embedding
from scale.explore.markup import listed, mel_pixels
from scale.explore.modality_column import STRENGTHS, strength_text
from scale.explore.projections import Groups, MapView, Neighbours, PointSet, Projections
from scale.explore.score_views import MOST, changed_table, changed_words, matrix_colours
from scale.explore.source import ExplorerSource
from scale.explore.static_panel import (
    THUMBNAIL,
    StaticPanel,
    figure_uri,
    int16,
    product_card,
    script_words,
    thumbnail,
    webp_uri,
)
from scale.modalities import INDEX, MODALITIES
from scale.studies.single_product import (
    ModalityChange,
    ModalityContent,
    ProductEditor,
    product_outputs,
)
from scale.viz import typeset
from scale.viz.charts import heatmap, modality_ticks, note_below
from scale.viz.embeddings import medoid, place_names
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    diverging,
    drawn,
    new_figure,
    points,
    shade,
    strip,
    unit,
)
from scale.viz.words import LANG, Language, label

FRAME_QUALITY = 35
"""Quality of the frames of a video (WebP)."""
SHADES = 101
"""Colours of a colour map."""
MOST_POINTS = 1000
"""Products on a map; of more, this number is drawn at random (seed 0)."""
NEAREST = 10
"""Neighbours of a product on the map."""
WIDTH, LOW, HIGH = 900, 480, 680
"""Width of the map in its own units, and bounds of its height; the page scales it."""
STORIES = {
    "xh_blur_picture": ("image", "blur"),
    "xh_noisy_picture": ("image", "gaussian"),
    "xh_other_title": ("text", "mismatch"),
    "xh_other_sound": ("audio", "mismatch"),
    "xh_no_sound": ("audio", "off"),
}
"""Buttons of the scores by label: modality and change."""


# ------------------------------------------------------------------------------ scores


@dataclass(frozen=True)
class ContentStep:
    """One content of a modality: a step of its slider."""

    key: str
    """`as_is`, `off`, `mismatch`, or the kind of damage."""
    text: str
    change: ModalityChange


def static_scores(
    source: ExplorerSource,
    products: int | Sequence[str] = 10,
    lang: Language = LANG,
    strengths: int = 3,
    seed: int = 0,
) -> StaticPanel:
    """Return S, softmax(S), S' and the nearest products of some products after any combination of
    changes: a modality removed, another product's, or damaged.

    Each encoder reads only its own modality. So the cosines between all contents of a product
    (unchanged, another product's, and each damage at each strength; the model runs on each)
    determine S for every combination; the page computes softmax(S) and S' = S * softmax(S) from
    them. Equal to `ScoreExplorer` and `product_outputs` to 1e-4.

    Args:
        source: a run and its products, `ExplorerSource(run, data)`.
        products: ids, or how many: complete products of different categories first, then two
            that lack a modality.
        lang: language of the labels.
        strengths: strengths of each kind of damage, mild to strong.
        seed: of the damage and of the other products.

    Example: `scale.explore.static_scores(scale.explore.ExplorerSource(run, test))`

    Raises ValueError for an unknown product, and for fewer than one.
    """
    rows = _rows(source, products)
    editor = ProductEditor(source.data, seed)
    emb_ND, _ = _gallery(source)
    shown = [_product(source, editor, row, strengths, emb_ND, lang) for row in rows]
    names = [
        {
            "key": m,
            "text": label(m, lang),
            "colour": MODALITY_COLOURS[m],
            "absent": label(f"absent_{m}", lang),
        }
        for m in MODALITIES
    ]
    data = {
        "modalities": names,
        "products": shown,
        "gallery": [product_card(source, row, lang) for row in range(len(source.data.ids))],
        "matrices": _matrices(lang),
        "stories": [[label(key, lang), INDEX[m], kind] for key, (m, kind) in STORIES.items()],
    }
    keys = {
        "product": "xs_product",
        "change": "xh_change",
        "strength": "xs_strength",
        "reset": "xs_reset",
        "roles": "score_roles",
        "pairs": "xs_pairs",
        "own": "xs_diagonal",
        "mark": "xs_before_mark",
        "near_before": "xs_nearest_before",
        "near_now": "xs_nearest_now",
        "new_": "xh_new",
        "nothing": "xh_nothing",
    }
    words = script_words(keys, lang)
    blanks = {key: f"{{{key}}}" for key in ("pairs", "pairs_change", "own", "own_change")}
    words["total"] = label("xh_total", lang, **blanks)
    words["near_note"] = label("xh_near_note", lang, n=len(source.data.ids) - 1)
    summary = label("xh_scores_are", lang, n=len(rows))
    picture = figure_uri(scores_figure(source, editor, rows[0], lang))
    return StaticPanel("scores", data, words, picture, lang, summary)


def _rows(source: ExplorerSource, products: int | Sequence[str]) -> list[int]:
    """Return the rows of the chosen products."""
    if not isinstance(products, int):
        require(len(products) > 0, "choose at least one product")
        return [source.row(name) for name in products]
    require(products > 0, f"choose at least one product, got {products}")
    count_N = source.data.present_NM.sum(1)
    complete = [int(r) for r in source.rows if count_N[r] == len(MODALITIES)]
    lacking = [int(r) for r in source.rows if 2 < count_N[r] < len(MODALITIES)]
    few = min(2, products // 4, len(lacking))
    different = _categories(source, complete)
    rest = [r for r in complete if r not in different]
    chosen = [*different, *rest][: products - few]
    chosen += [r for r in _categories(source, lacking) if r not in chosen][:few]
    return [*chosen, *(int(r) for r in source.rows if r not in chosen)][:products]


def _categories(source: ExplorerSource, rows: Iterable[int]) -> list[int]:
    """Return the first row of each category."""
    first: dict[str | None, int] = {}
    for row in rows:
        first.setdefault(source.product(row).category, row)
    return list(first.values())


def _gallery(source: ExplorerSource) -> tuple[np.ndarray, np.ndarray]:
    """Return emb_ND of all products (0 without a modality), and whether each has one."""
    found = source.embeddings
    return subset_embedding(found.pooled_NMD, found.present_NM, MODALITIES)


def _matrices(lang: Language) -> dict[str, dict[str, Any]]:
    """Return title, range and colours of each matrix; colours are hexadecimal digits in a row."""
    found = {}
    for key, low in (("scores", -1.0), ("softmax", 0.0), ("weighted", -MOST)):
        colours, norm = matrix_colours(key)
        rgb_K3 = np.rint(255 * colours(np.linspace(0, 1, SHADES))[:, :3]).astype(np.uint8)
        found[key] = {
            "title": label(key, lang),
            "low": low,
            "high": float(norm.vmax),
            "shades": rgb_K3.tobytes().hex(),
        }
    return found


def _product(
    source: ExplorerSource,
    editor: ProductEditor,
    row: int,
    strengths: int,
    emb_ND: np.ndarray,
    lang: Language,
) -> dict[str, Any]:
    """Return all contents of a product and the cosines between their features."""
    steps = {m: changes_of(editor, row, m, strengths, lang) for m in MODALITIES}
    features = _features(source, editor, row, steps)
    contents: list[list[dict[str, Any]]] = []
    unit_CD: list[np.ndarray] = []
    for m in MODALITIES:
        kinds: dict[str, dict[str, Any]] = {}
        clean = editor.content(row, m, ModalityChange()) if steps[m] else None
        for step in steps[m]:
            content = editor.content(row, m, step.change)
            shown: dict[str, Any] = {"at": None, "text": step.text}
            if content is None:
                shown["note"] = label("xs_off", lang)
            else:
                shown |= {"at": len(unit_CD), **_shown(source, m, content, clean, lang)}
                unit_CD.append(features[m].pop(0))
            name = label("xh_off" if step.key == "off" else f"xs_{step.key}", lang)
            kinds.setdefault(step.key, {"key": step.key, "text": name, "steps": []})
            kinds[step.key]["steps"].append(shown)
        contents.append(list(kinds.values()))
    all_CD = np.stack(unit_CD)
    return {
        **product_card(source, row, lang),
        "row": row,
        "contents": contents,
        "cosine": int16(all_CD @ all_CD.T),
        "near": int16(all_CD @ emb_ND.T),
    }


def changes_of(
    editor: ProductEditor, row: int, modality: str, strengths: int, lang: Language
) -> list[ContentStep]:
    """Return all changes of one modality of a product; none if it is missing."""
    if not editor.has(row, modality):
        return []
    found = [
        ContentStep("as_is", "", ModalityChange()),
        ContentStep("off", "", ModalityChange(present=False)),
    ]
    donor = editor.donor(row, modality)
    if donor is not None:
        text = label("xs_from", lang, product=editor.data.ids[donor])
        found.append(ContentStep("mismatch", text, ModalityChange(mismatch=True)))
    for kind in editor.kinds(modality):
        scale = STRENGTHS[kind]
        for k in range(strengths):
            strength = scale[round(len(scale) * (k + 1) / strengths) - 1]
            change = ModalityChange(damage=(kind, float(strength)))
            found.append(ContentStep(kind, strength_text(kind, strength, lang), change))
    return found


def _features(
    source: ExplorerSource, editor: ProductEditor, row: int, steps: dict[str, list[ContentStep]]
) -> dict[str, list[np.ndarray]]:
    """Return the unit feature of each content by modality, in the order of its steps.

    Contents of different modalities are computed together: no encoder reads another modality.
    """
    there = {m: [step.change for step in steps[m] if step.change.present] for m in MODALITIES}
    found: dict[str, list[np.ndarray]] = {m: [] for m in MODALITIES}
    with torch.inference_mode():
        for k in range(max(map(len, there.values()))):
            changes = {m: each[k] for m, each in there.items() if k < len(each)}
            absent = {m: ModalityChange(present=False) for m in MODALITIES if m not in changes}
            pooled_MD = source.run.model.embed(editor.batch(row, changes | absent)).pooled_BMD[0]
            for m in changes:
                feature_D = pooled_MD[INDEX[m]].float().numpy()
                found[m].append(feature_D / max(float(np.linalg.norm(feature_D)), 1e-12))
    return found


def _shown(
    source: ExplorerSource,
    modality: str,
    content: ModalityContent,
    clean: ModalityContent,
    lang: Language,
) -> dict[str, str]:
    """Return one content for display: escaped HTML, or a picture with its look and a note."""
    if content.shown is None:
        length, size = content.sequence.shape
        return {"note": label("xs_vectors", lang, length=length, size=size)}
    if modality == "text":
        return {"html": changed_words(content.shown, clean.shown)}
    if modality == "table":
        return {"html": changed_table(content.shown, clean.shown, content.entities_read, lang)}
    if modality == "image":
        return {"look": "picture", "picture": webp_uri(content.shown[0], 2 * THUMBNAIL)}
    if modality == "video":
        order = " ".join(str(place + 1) for place in content.place_T.tolist())
        return {
            "look": "frames",
            "picture": webp_uri(frame_grid(content.shown), quality=FRAME_QUALITY),
            "note": order,
        }
    mel_LF = content.sequence
    if source.data.config.backbone("audio"):
        mel_LF = log_mel(content.shown, audio_rate(source.data.config))
    return {"look": "sound", "picture": webp_uri(mel_pixels(mel_LF))}


def frame_grid(frames_THWC: np.ndarray, columns: int = 4) -> np.ndarray:
    """Return all frames in rows of `columns`, with a white gap of one pixel."""
    padded = np.pad(frames_THWC, ((0, -len(frames_THWC) % columns), (0, 1), (0, 1), (0, 0)),
                    constant_values=255)  # fmt: skip
    rows = [np.concatenate(list(padded[k : k + columns]), axis=1)
            for k in range(0, len(padded), columns)]  # fmt: skip
    return np.concatenate(rows)


@drawn
def scores_figure(
    source: ExplorerSource, editor: ProductEditor, row: int, lang: Language = LANG
) -> Figure:
    """Draw a product's S' unchanged and after the changes of `STORIES` that apply to it."""
    kept = {label("xs_as_is", lang): {}}
    for key, (m, kind) in STORIES.items():
        found = [s.change for s in changes_of(editor, row, m, 1, lang) if s.key == kind]
        kept |= {label(key, lang): {m: found[0]}} if found else {}
    figure = new_figure(3.5 * min(3, len(kept)), 3.5 * -(-len(kept) // 3) + 0.3)
    panels = figure.subplots(-(-len(kept) // 3), min(3, len(kept)), squeeze=False).flat
    for axes, (title, changes) in zip(panels, kept.items(), strict=False):
        found = product_outputs(source.run.model, editor.batch(row, changes))
        shown_MM = found.present_M[:, None] & found.present_M[None, :]
        norm = matrix_colours("weighted")[1]
        heatmap(axes, found.weighted_MM, diverging(), norm, shown_MM)
        modality_ticks(axes, lang)
        axes.set_title(title, loc="center", pad=points(20))
    for axes in list(panels):
        axes.set_axis_off()
    name = typeset.shorten(source.line(row), 380, 8)
    note_below(figure, label("xh_figure_note", lang, product=name))
    return figure


# ------------------------------------------------------------------------------ map


def static_map(
    source: ExplorerSource,
    lang: Language = LANG,
    product: str | None = None,
    projection: str = "umap",
    pictures: bool = True,
) -> StaticPanel:
    """Return the map of the products with their pictures, category names, and each product's ten
    nearest neighbours in the embedding space, joined by lines.

    A line is dashed where the neighbour is not among the ten nearest on the map.

    Args:
        source: a run and its products, `ExplorerSource(run, data)`.
        lang: language of the labels.
        product: id of the product whose neighbours are shown first; None: the most complete one.
        projection: `umap` or `pca`.
        pictures: draw products as pictures first, otherwise as dots; a box on the page switches.

    Raises ValueError for an unknown product, an unknown projection and fewer than five products.
    """
    require(projection in ("umap", "pca"), f"unknown projection {projection!r}; known: umap, pca")
    projections, view = Projections(source), MapView("best", "product", projection)
    everything, xy_P2 = projections.points(view), projections.xy(view)
    chosen_row = int(source.rows[0]) if product is None else source.row(product)
    kept_K = _sample(everything, chosen_row)
    kept = PointSet(
        everything.unit_PD[kept_K], everything.row_P[kept_K], everything.modality_P[kept_K]
    )
    xy_P2 = np.asarray(xy_P2, dtype=float)[kept_K]
    place_P2, height = _places(xy_P2)
    groups = Groups.of(
        [source.product(int(row)).category for row in kept.row_P],
        label("xe_unknown", lang), label("xe_rest", lang),
    )  # fmt: skip
    chosen = int(np.flatnonzero(kept.row_P == chosen_row)[0])
    nears = [kept.neighbours(k, xy_P2, NEAREST) for k in range(len(kept.row_P))]
    side = _side(len(kept.row_P))
    data = {
        "width": WIDTH,
        "height": height,
        "side": side,
        "pictures": pictures,
        "chosen": chosen,
        "points": [
            _point(source, kept, k, nears[k], place_P2, groups, lang)
            for k in range(len(kept.row_P))
        ],
        "groups": [
            {"name": name, "colour": colour, "count": int((groups.code_P == g).sum())}
            for g, (name, colour) in enumerate(zip(groups.names, groups.colours, strict=True))
        ],
        "labels": _labels(place_P2, height, groups, side),
    }
    keys = {
        "search": "xe_search",
        "search_hint": "xh_search_hint",
        "pictures": "xh_pictures",
        "how": "xh_how",
        "hover": "xe_hover",
        "ask": "xe_ask",
        "far": "xe_far",
        "groups": "xh_groups",
        "caution": "embedding_note",
        "label": "xh_map",
    }
    words = script_words(keys, lang)
    words["far_count"] = label("xe_far_count", lang, n="{n}", k="{k}")
    words["nearest"] = label("xh_nearest", lang, k="{k}", product="{product}")
    words["found"] = label("xe_found", lang, n="{n}")
    summary = label("xh_map_is", lang, n=len(place_P2), all=len(everything.row_P))
    picture = figure_uri(map_figure(source, kept, place_P2, height, groups, nears[chosen], lang))
    return StaticPanel("map", data, words, picture, lang, summary)


def _sample(points_: PointSet, chosen_row: int) -> np.ndarray:
    """Return the indices of at most `MOST_POINTS` points, the chosen product's among them."""
    count = len(points_.row_P)
    if count <= MOST_POINTS:
        return np.arange(count)
    drawn_K = np.random.default_rng(0).choice(count, MOST_POINTS - 1, replace=False)
    return np.union1d(drawn_K, np.flatnonzero(points_.row_P == chosen_row))


def _places(xy_P2: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the points in the units of the page, y downwards, with a margin, and its height.

    Both axes have the same scale unless the height would exceed its bounds.
    """
    span_2 = np.maximum(np.ptp(xy_P2, axis=0), 1e-9)
    height = int(np.clip(WIDTH * span_2[1] / span_2[0], LOW, HIGH))
    share_P2 = (xy_P2 - xy_P2.min(0)) / span_2
    share_P2[:, 1] = 1 - share_P2[:, 1]
    return np.round((0.06 + 0.88 * share_P2) * [WIDTH, height], 1), height


def _side(count: int) -> float:
    """Return the size of a product's picture on a map of this many products."""
    return float(np.clip(560 / count**0.62, 10, 34))


def _point(
    source: ExplorerSource,
    kept: PointSet,
    index: int,
    near: Neighbours,
    place_P2: np.ndarray,
    groups: Groups,
    lang: Language,
) -> dict[str, Any]:
    row = int(kept.row_P[index])
    found = zip(near.index_K.tolist(), near.cosine_K.tolist(), near.far_K.tolist(), strict=True)
    return {
        **product_card(source, row, lang),
        "x": float(place_P2[index, 0]),
        "y": float(place_P2[index, 1]),
        "group": int(groups.code_P[index]),
        "has": listed((label(m, lang) for m in source.modalities(row)), lang),
        "near": [[k, round(cosine, 4), int(far)] for k, cosine, far in found],
    }


def _labels(place_P2: np.ndarray, height: int, groups: Groups, side: float) -> list[dict[str, Any]]:
    """Return name and place of each group with at least two products, beside its points."""
    size = 15
    codes = [g for g in range(len(groups.names)) if (groups.code_P == g).sum() > 1]
    names = [typeset.shorten(groups.names[g], 160, size, "bold") for g in codes]
    if not codes:
        return []
    middle_G2 = np.array([medoid(place_P2[groups.code_P == g]) for g in codes])
    extent_G2 = np.array([(typeset.text_width(n, size, "bold") + 6, size + 4.0) for n in names])
    frame = np.array([[2.0, 2.0], [WIDTH - 2.0, height - 2.0]])
    placed_G2 = place_names(middle_G2, extent_G2, place_P2, side / 2, *frame)
    return [
        {
            "text": name,
            "x": round(float(x), 1),
            "y": round(float(y), 1),
            "at": middle.round(1).tolist(),
            "leader": bool(np.hypot(x - middle[0], y - middle[1]) > 2 * size),
        }
        for name, (x, y), middle in zip(names, placed_G2, middle_G2, strict=True)
    ]


@drawn
def map_figure(
    source: ExplorerSource,
    kept: PointSet,
    place_P2: np.ndarray,
    height: int,
    groups: Groups,
    near: Neighbours,
    lang: Language = LANG,
) -> Figure:
    """Draw the products as pictures, category names, and one product's neighbours in the space."""
    figure = new_figure(9.0, height / 100 + 0.4)
    axes = figure.subplots()
    chosen, side = near.index, _side(len(place_P2))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0), xticks=[], yticks=[], aspect="equal")
    strip(axes)
    for index, far in zip(near.index_K, near.far_K, strict=True):
        look = {"color": NEGATIVE, "ls": (0, (4, 2))} if far else {"color": shade(0.85)}
        axes.plot(*place_P2[[chosen, index]].T, lw=points(1.5), zorder=2, **look)
    for k in range(len(place_P2)):
        above = 2.2 if k == chosen else 2.1 if k in near.index_K else 1
        image = thumbnail(source, int(kept.row_P[k]))
        colour = groups.colours[groups.code_P[k]]
        if image is None:
            axes.plot(*place_P2[k], "o", color=colour, ms=points(side / 4), zorder=above)
            continue
        box = OffsetImage(np.asarray(image.convert("RGB")), zoom=unit() * side / 100)
        frame = {"edgecolor": "#1B2330" if k == chosen else colour,
                 "lw": points(2.4 if k == chosen else 1.2)}  # fmt: skip
        at = AnnotationBbox(box, tuple(place_P2[k]), pad=0.0, bboxprops=frame, zorder=above)
        axes.add_artist(at)
    halo = [withStroke(linewidth=points(2.4), foreground=shade(0.0))]
    for each in _labels(place_P2, height, groups, side):
        if each["leader"]:
            ends = zip(each["at"], (each["x"], each["y"]), strict=True)
            axes.plot(*ends, color=shade(0.5), lw=points(0.6), zorder=3)
        where = {"ha": "center", "va": "center", "fontweight": "bold", "path_effects": halo}
        typeset.write(axes, each["x"], each["y"], each["text"], 8.5, zorder=4, **where)
    name = typeset.shorten(source.line(int(kept.row_P[chosen])), 300, 8)
    count = {"n": int(near.far_K.sum()), "k": len(near.index_K)}
    notes = [
        label("xh_map_note", lang, product=name, **count),
        label("xh_torn_note", lang, **count),
    ]
    note_below(figure, *notes, label("embedding_note", lang))
    return figure
