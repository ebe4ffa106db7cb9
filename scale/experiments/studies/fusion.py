"""Study `fusion`: SCALE against single-stream, two-stream and two-tower relatives."""

from scale.experiments.fusion.systems import SYSTEMS
from scale.experiments.study import Cell, Comparison, Study, Test

QUICK = ("scale_itself", "uniter", "vilbert", "clip")
EVERYWHERE = " everywhere"
"""Behind a system's name: the same system on all five modalities."""


def fusion(quick: bool = False) -> Study:
    """Every named system with the modalities of its paper, and on all five.

    Same blocks, parameters within 5 % of SCALE's (so within 10 % of each other), same steps and
    batches. On all five is the fair comparison; with its own modalities a system sees less. Systems
    without a contrastive loss learn no space in which modalities of one product lie together, so
    their instance retrieval is near chance by design; category retrieval can compare all.
    """
    tests = (Test("held out"), Test("complete", complete=True))
    cells, names = [], QUICK if quick else tuple(SYSTEMS)
    for name in names:
        system = SYSTEMS[name]()
        cells.append(
            Cell(
                {"inputs": "all five", "system": system.name},
                {"loss.tasks": list(system.everywhere().loss_tasks)},
                model=name + EVERYWHERE,
                tests=tests,
            )
        )
        if name != "scale_itself" and not quick:
            cells.append(
                Cell(
                    {"inputs": "its own", "system": system.name},
                    {"loss.tasks": list(system.loss_tasks)},
                    model=name,
                    tests=tests,
                )
            )
    cells.sort(key=lambda cell: cell.factors["inputs"])
    scale = {"inputs": "all five", "system": "SCALE"}
    claims = [
        Comparison(
            f"SCALE beats {cell.factors['system']} on all five modalities ({metric})",
            scale,
            cell.factors,
            metric=metric,
        )
        for metric in ("mAP@5", "Recall@10")
        for cell in cells
        if cell.factors["inputs"] == "all five" and cell.factors["system"] != "SCALE"
    ]
    return Study(
        "fusion",
        "Does SCALE's design beat its relatives of equal size and steps?",
        ("inputs", "system"),
        tuple(cells),
        tuple(claims),
        figure="bars",
    )
