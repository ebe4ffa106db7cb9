import re
import string
import warnings
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import scale.viz
from scale.modalities import MODALITIES, TASKS
from scale.viz.labels import LABELS, TABLES, label
from scale.viz.style import use_style


def fields(template):
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


@pytest.mark.parametrize("key", LABELS)
def test_every_label_has_both_languages_and_the_same_values(key):
    english, chinese = LABELS[key]
    assert english.strip()
    assert chinese.strip()
    assert fields(english) == fields(chinese)


@pytest.mark.parametrize("key", LABELS)
def test_every_chinese_label_is_chinese(key):
    """Where there is a word to translate: names and formulas stay as they are."""
    english, chinese = (re.sub(r"{[^}]*}", "", text) for text in LABELS[key])
    if re.search(r"\b[a-z]{3,}\b", english):
        assert re.search("[一-鿿]", chinese), key
    plain = re.sub("“.”", "", chinese)
    assert "softmax" in plain or not re.search("[,;]", plain)


def test_a_key_belongs_to_one_topic():
    assert len(LABELS) == sum(len(table) for table in TABLES)


def test_modalities_and_tasks_have_labels():
    assert set(MODALITIES) | set(TASKS) | {f"absent_{m}" for m in MODALITIES} <= set(LABELS)


def test_every_label_renders_with_the_shipped_fonts():
    with use_style("paper"):
        figure = Figure(figsize=(4, 4))
        for pair in LABELS.values():
            for text in pair:
                figure.text(0.1, 0.5, text)
                figure.text(0.1, 0.2, text, fontweight="bold")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            FigureCanvasAgg(figure).draw()


def test_no_label_is_unused():
    folder = Path(scale.viz.__path__[0])
    sources = [
        path.read_text(encoding="utf-8")
        for path in folder.rglob("*.py")
        if path.parent.name != "labels"
    ]
    computed = set(MODALITIES) | set(TASKS) | {f"absent_{m}" for m in MODALITIES}
    computed |= {"category_is", "split_is"}
    for key in set(LABELS) - computed:
        used = re.compile(f"[\"']{key}[\"']")
        assert any(used.search(source) for source in sources), f"{key} is never drawn"


def test_values_are_put_in():
    assert label("more_pairs", "en", n=3) == "and 3 more pairs"
    assert label("more_pairs", "zh", n=3) == "另有 3 个属性-值对"


def test_errors_name_what_is_wrong():
    with pytest.raises(KeyError, match="nonsense"):
        label("nonsense")
    with pytest.raises(ValueError, match="fr"):
        label("text", "fr")
    with pytest.raises(KeyError, match="n"):
        label("more_pairs", "en")
