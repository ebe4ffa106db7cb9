"""Study `fusion`: SCALE against single-stream, two-stream and two-tower relatives."""

from scale.modalities import MODALITIES, SPECS, parse_subset, subset_name
from scale.studies.study import Cell, Comparison, Study, Test
from scale.studies.systems.named import SYSTEMS

TASK_OF = {spec.task: name for name, spec in SPECS.items()}
"""Modality of a pretext task."""

QUICK = ("uniter", "vilbert", "clip")
SCHEMES = ("uniter", "vilbert", "mmt", "clip")
"""One of each scheme, which also run on all five modalities."""
EVERYWHERE = " everywhere"
"""Behind a system's name: the same system on all five modalities."""
TESTS = (Test("held out"), Test("complete", complete=True))


def fusion(quick: bool = False) -> Study:
    """Every named system beside SCALE on the modalities of its paper, and one of each scheme on all
    five.

    Same blocks, parameters within 5 % of SCALE's on the same modalities (so within 10 % of each
    other), same steps and batches; not the same time: one long sequence costs more. Systems without
    a contrastive loss learn no space in which the modalities of a product lie together, so their
    instance retrieval is near chance by design; category retrieval compares all.
    """
    names = QUICK if quick else tuple(name for name in SYSTEMS if name != "scale_itself")
    cells = [_cell(name, SYSTEMS[name]().modalities) for name in names]
    inputs = list(dict.fromkeys(cell.factors["inputs"] for cell in cells))
    cells += [_cell("scale_itself", parse_subset(subset)) for subset in inputs]
    if not quick:
        cells += [_cell(name, MODALITIES) for name in ("scale_itself", *SCHEMES)]
    cells.sort(key=lambda cell: len(str(cell.factors["inputs"])))
    claims = [
        Comparison(
            f"on {cell.factors['inputs']}, SCALE beats {cell.factors['system']}",
            {"inputs": cell.factors["inputs"], "system": "SCALE"},
            cell.factors,
            metric=metric,
        )
        for metric in ("mAP@5", "Recall@10")
        for cell in cells
        if cell.factors["system"] != "SCALE"
    ]
    return Study(
        "fusion",
        "Does SCALE's design beat its relatives of equal size and steps?",
        ("inputs", "system"),
        tuple(cells),
        tuple(claims),
        figure="bars",
    )


def _cell(name: str, modalities: tuple[str, ...]) -> Cell:
    """A system on some modalities; all five make it see them all."""
    system, everywhere = SYSTEMS[name](), modalities == MODALITIES
    if everywhere:
        system = system.everywhere()
    tasks = [t for t in system.loss_tasks if t == "contrastive" or TASK_OF[t] in modalities]
    return Cell(
        {"inputs": subset_name(modalities), "system": system.name},
        {"loss.tasks": tasks, "model.modalities": list(modalities)},
        model=name + EVERYWHERE if everywhere else name,
        tests=TESTS,
    )
