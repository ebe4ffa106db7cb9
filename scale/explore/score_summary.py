"""The score explorer as lines of text, stable for one state; numbers of the model carry a ~."""

from scale.explore.markup import number
from scale.explore.score_controls import NAMES, strength_text
from scale.modalities import MODALITIES, PAIRS
from scale.studies.single_product import ModalityChange, ProductEditor, ProductOutputs
from scale.viz.words import Language, label


def change_line(
    probe: ProductEditor, row: int, modality: str, change: ModalityChange, lang: Language
) -> str:
    """What is done to one modality of a product."""
    if not probe.has(row, modality):
        what = label("xs_sum_missing", lang)
    elif not change.present:
        what = label("xs_off", lang)
    else:
        what = " · ".join(_parts(probe, row, modality, change, lang)) or label("xs_as_is", lang)
    return label("xs_sum_change", lang, modality=label(modality, lang), what=what)


def _parts(
    probe: ProductEditor, row: int, modality: str, change: ModalityChange, lang: Language
) -> list[str]:
    parts = []
    giver = probe.donor(row, modality) if change.mismatch else None
    if giver is not None:
        parts.append(label("xs_from", lang, product=probe.data.ids[giver]))
    if change.damage:
        amount = strength_text(*change.damage, lang)
        parts.append(f"{label(NAMES[change.damage[0]], lang)} {amount}")
    return parts


def weight_lines(now: ProductOutputs, lang: Language) -> list[str]:
    """The own weights and the pair weights of what is there."""
    there = {m: name for m, name in enumerate(MODALITIES) if now.present_M[m]}
    own = {(m, m): label(name, lang) for m, name in there.items()}
    pairs = {
        (i, j): f"{label(there[i], lang)}–{label(there[j], lang)}"
        for i, j in PAIRS
        if i in there and j in there
    }
    lines = []
    for key, names in (("xs_sum_own", own), ("xs_sum_pairs", pairs)):
        values = [f"{name} ~{number(now.weighted_MM[place])}" for place, name in names.items()]
        lines += [label(key, lang, values=label("xs_comma", lang).join(values))] if values else []
    return lines
