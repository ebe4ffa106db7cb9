"""The pictures of `scale figures`, by name: the same functions that the notebooks draw with.

A file a topic, each with a table `PICTURES`.
"""

from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from scale.commands.pictures import (
    catalogues,
    contrast,
    downstream,
    faults,
    guesses,
    helping,
    masking,
    noise,
    runs,
    space,
    streams,
    training,
    weights,
)
from scale.commands.pictures.sources import Picture, Sources
from scale.viz.labels import Language
from scale.viz.style import Style, save_figure, use_style

TOPICS = (
    runs.PICTURES,
    catalogues.PICTURES,
    contrast.PICTURES,
    weights.PICTURES,
    training.PICTURES,
    streams.PICTURES,
    faults.PICTURES,
    masking.PICTURES,
    guesses.PICTURES,
    noise.PICTURES,
    helping.PICTURES,
    space.PICTURES,
    downstream.PICTURES,
)
PICTURES: dict[str, Picture] = {name: draw for topic in TOPICS for name, draw in topic.items()}


def draw_pictures(
    names: Sequence[str], sources: Sources, out: Path, lang: Language = "en", style: Style = "paper"
) -> list[Path]:
    """Write `<out>/<name>_<lang>.png` and `.svg` for each name (none: all); returns the paths.

    Raises ValueError that lists the names where one is unknown.
    """
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        raise ValueError(f"no picture named {', '.join(unknown)}; known: {', '.join(PICTURES)}")
    paths = []
    with use_style(style):
        for name in tqdm(names or PICTURES, desc="figures", unit="figure"):
            figure = PICTURES[name](sources, lang)
            paths += save_figure(figure, out / f"{name}_{lang}")
    return paths
