"""Studies of the method's components: `modalities`, `tasks`, `masking`, `faults`, `fusion`."""

from scale.config import LossConfig
from scale.modalities import MODALITIES, SPECS, TASKS, parse_subset, subset_name
from scale.studies.clean_contrast import CLEAN_CONTRAST
from scale.studies.definitions.weighting import official_settings
from scale.studies.released_code import FAULTS
from scale.studies.study import Cell, Comparison, Study, Test
from scale.studies.systems.named import SYSTEMS

BOTH = (Test("held out"), Test("complete", complete=True))
WITH_SUBSETS = (Test("held out", subsets=True), Test("complete", complete=True, subsets=True))


def modalities(quick: bool = False) -> Study:
    """Text alone, then with each further modality in canonical order, in training and testing.

    The cell with all five also queries with each of the 31 subsets (the retention curve).
    """
    counts = (1, 3, 5) if quick else (1, 2, 3, 4, 5)
    names = {count: "+".join(MODALITIES[:count]) for count in counts}
    cells = tuple(
        Cell(
            {"modalities": names[count]},
            {"model.modalities": list(MODALITIES[:count])},
            tests=WITH_SUBSETS if count == len(MODALITIES) else BOTH,
        )
        for count in counts
    )
    steps = list(zip(counts[1:], counts, strict=False))
    claims = [
        Comparison.between(
            f"{names[more]} beats {names[fewer]}", "modalities", names[more], names[fewer],
            test=test,
        )
        for test in ("held out", "complete")
        for more, fewer in (*steps, (counts[-1], counts[0]))
    ]  # fmt: skip
    return Study(
        "modalities",
        "Does each further modality help?",
        ("modalities",),
        cells,
        tuple(claims),
        figure="bars",
        retention=({"modalities": names[counts[-1]]},),
    )


def tasks(quick: bool = False) -> Study:
    """The full objective, and without each component: five pretext tasks, contrast, JCT.

    A task that is off does not mask its inputs either, and masks augment the contrastive losses;
    the study `masking` separates the two.
    """
    every = LossConfig().tasks
    changes = {"all": {}}
    changes |= {
        f"without {task}": {"loss.tasks": [t for t in every if t != task]}
        for task in ("contrastive", *TASKS)
        if not quick or task in ("contrastive", "MLM")
    }
    changes["without masked tasks"] = {"loss.tasks": ["contrastive"]}
    changes["without JCT"] = {"model.jct_layers": 0}
    cells = tuple(Cell({"objective": n}, settings, tests=BOTH) for n, settings in changes.items())
    claims = tuple(
        Comparison.between(f"quality is lower {name}", "objective", "all", name, metric)
        for metric in ("mAP@5", "Recall@10")
        for name in changes
        if name != "all"
    )
    return Study(
        "tasks", "Which parts of the objective help?", ("objective",), cells, claims, figure="bars"
    )


def masking(quick: bool = False) -> Study:
    """`tasks` with controls: is the effect of a masked task that of its loss or of its masks?

    `without MLM` removes the loss and its masks, `without MLM, masked` the loss only
    (`mask.always`). In `clean contrast`, S and the contrastive losses use clean inputs, as
    retrieval does, and the masked losses masked ones, in two passes (`studies.clean_contrast`).
    """
    every = LossConfig().tasks
    removed = {
        f"without {task}": {"loss.tasks": [t for t in every if t != task]}
        for task in (("MLM",) if quick else TASKS)
    }
    none = "without masked tasks"
    removed[none] = {"loss.tasks": ["contrastive"]}
    controls = {f"{name}, masked": removed[name] | {"mask.always": True} for name in removed}
    changes = {"all": {}} | removed | controls
    cells = [Cell({"objective": n}, settings, tests=BOTH) for n, settings in changes.items()]
    cells.append(Cell({"objective": CLEAN_CONTRAST}, model=CLEAN_CONTRAST, tests=BOTH))
    pairs = [
        (f"quality is lower {name} but with its inputs masked", "all", f"{name}, masked")
        for name in removed
    ]
    pairs += [
        ("masked inputs help the contrastive losses alone", f"{none}, masked", none),
        ("the contrastive losses are better on clean inputs", CLEAN_CONTRAST, "all"),
        ("masked tasks help beside contrastive losses on clean inputs", CLEAN_CONTRAST, none),
    ]
    claims = tuple(
        Comparison.between(claim, "objective", better, worse, metric)
        for metric in ("mAP@5", "Recall@10")
        for claim, better, worse in pairs
    )
    question = "Do the masked tasks help by their losses, or by masking inputs?"
    return Study("masking", question, ("objective",), tuple(cells), claims, figure="bars")


def faults(quick: bool = False) -> Study:
    """The released code's behaviours, one at a time, against the described method.

    Two are settings: weights on regression predictions, and the full released loss. The baseline is
    the described method: S' on the loss with its gradient stopped.
    """
    names = ("heads on encoder", "missing in the losses") if quick else tuple(FAULTS)
    described = {"loss.weight_by": "scores", "loss.weight_on": "loss"}
    cells = [Cell({"fault": "none (as described)"}, described, tests=BOTH)]
    cells += [Cell({"fault": name}, described, model=name, tests=BOTH) for name in names]
    prediction = described | {"loss.weight_mean_one": False, "loss.weight_uniform_share": 0.0}
    cells += [
        Cell({"fault": "weights on the loss, S' unscaled"}, prediction, tests=BOTH),
        Cell(
            {"fault": "weights on regression predictions"},
            prediction | {"loss.regression_weight_on": "prediction"},
            tests=BOTH,
        ),
        Cell({"fault": "the whole released loss"}, official_settings(), tests=BOTH),
    ]
    baselines = {"weights on regression predictions": "weights on the loss, S' unscaled"}
    claims = tuple(
        Comparison.between(
            f"quality is lower with {name}", "fault",
            baselines.get(name, "none (as described)"), name, metric,
        )
        for metric in ("mAP@5", "Recall@10")
        for name in (cell.factors["fault"] for cell in cells[1:])
        if name != "weights on the loss, S' unscaled"
    )  # fmt: skip
    question = "What does each fault of the released code cost?"
    return Study("faults", question, ("fault",), tuple(cells), claims, figure="bars")


TASK_OF = {spec.task: name for name, spec in SPECS.items()}
"""Pretext task -> modality."""

QUICK = ("uniter", "vilbert", "clip")
SCHEMES = ("uniter", "vilbert", "mmt", "clip")
"""One system of each scheme, which also runs on all five modalities."""


def fusion(quick: bool = False) -> Study:
    """Each named system against SCALE on the modalities of its paper, one per scheme on all five.

    Same blocks, parameters within 5 % of SCALE's on the same modalities (so within 10 % of each
    other), same steps and batches, but different times: one long sequence costs more. Systems
    without a contrastive loss do not align the modalities of a product, so their instance retrieval
    is near chance by design; category retrieval compares all systems.
    """
    names = QUICK if quick else tuple(name for name in SYSTEMS if name != "scale_itself")
    cells = [_cell(name, SYSTEMS[name].modalities) for name in names]
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
        "Does SCALE's design beat related systems with equal numbers of parameters and steps?",
        ("inputs", "system"),
        tuple(cells),
        tuple(claims),
        figure="bars",
    )


def _cell(name: str, modalities: tuple[str, ...]) -> Cell:
    """Return the cell of a system on some modalities; with all five, `System.everywhere`."""
    everywhere = modalities == MODALITIES
    system = SYSTEMS[name].everywhere() if everywhere else SYSTEMS[name]
    tasks = [t for t in system.loss_tasks if t == "contrastive" or TASK_OF[t] in modalities]
    return Cell(
        {"inputs": subset_name(modalities), "system": system.name},
        {"loss.tasks": tasks, "model.modalities": list(modalities)},
        model=f"{name} everywhere" if everywhere else name,
        tests=BOTH,
    )
