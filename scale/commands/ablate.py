"""`scale ablate`: run a study, then write its table, its answer and its pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

StudyName = Literal[
    "toy", "scarcity", "missing", "weighting", "harmony", "memorising", "noise", "modalities",
    "tasks", "fusion", "faults",
]  # fmt: skip
"""Names of `scale.studies.definitions.STUDIES`, which a test compares; importing it is slow."""


@dataclass
class Ablate:
    """Run a study: a grid of small trainings over seeds, with intervals and an answer.

    Finished runs are kept in <out>/<study>-<catalogue>.parquet; stopped at any moment, the same
    command goes on. Beside it come the table (.md, .csv) and the pictures (.svg, .png).

    missing: policies for missing modalities. weighting: S', candidates and controls in five
    regimes, on the contrastive losses alone. harmony: the main ones with the whole objective.
    memorising: telling wrong pairs after more and more steps. noise: each kind and strength.
    modalities: one more at a time, and all subsets. tasks: without each part of the objective.
    fusion: SCALE and its relatives. faults: the released code's. toy: weights where the truth is
    known, without a catalogue. scarcity: the toy with fewer and fewer products.

    Example: scale ablate missing --catalogue data_samples --seeds 5
    """

    study: tyro.conf.Positional[StudyName]
    """Which one."""
    catalogue: Path | None = None
    """Folder of the catalogue; the studies `toy` and `scarcity` need none."""
    out: Path = Path("runs/studies")
    """Folder for the runs and the report."""
    seeds: int | None = None
    """Trainings of each cell; default: the study's own, 5 (3 with --quick)."""
    quick: bool = False
    """The same question coarsely: fewer cells and seeds, in about five minutes."""
    preset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "micro"
    """Settings that the cells change: micro (seconds a run) or tiny (minutes a run)."""
    jobs: int | None = None
    """Processes; default: one a GPU, else one a core."""
    report_only: bool = False
    """Train nothing: write the report of the runs that are there."""
    lang: Literal["en", "zh"] = "en"
    """Language of the pictures."""

    def run(self) -> None:
        """Run, write, and print the answer."""

        from scale.studies.definitions import STUDIES
        from scale.studies.report import conclusion

        study = STUDIES[self.study](self.quick)
        if self.seeds is not None or self.quick:
            study = study.with_seeds(3 if self.seeds is None else self.seeds)
        records = self._records(study)
        summary, paths = write_study(study, records, self.out, self.lang)
        print(f"{study.question}\n\n{conclusion(summary)}\n")
        print("written: " + ", ".join(str(path) for path in paths))

    def _records(self, study):
        from scale.studies.definitions.toy import TOY_STUDIES, run_toy_study
        from scale.studies.runner import load_finished, run_study

        if self.study in TOY_STUDIES:
            return run_toy_study(study, self.out, jobs=self.jobs, train=not self.report_only)
        if self.catalogue is None:
            raise ValueError(f"the study {self.study} needs --catalogue FOLDER")
        if self.report_only:
            return load_finished(study, self.catalogue, self.out, self.preset)
        return run_study(study, self.catalogue, self.out, preset=self.preset, jobs=self.jobs)


def write_study(study, records, out: Path, lang: str) -> tuple:
    """Report and pictures of the runs that are there; returns the summary and the paths.

    A picture that has nothing to show is left out, and a printed line says so. Raises ValueError
    where there are no runs.
    """
    from scale.studies.report import write_report
    from scale.studies.statistics import summarise
    from scale.viz.theme import save_figure

    if not records:
        raise ValueError(f"no finished runs of the study {study.name} in {out}")
    summary = summarise(study, records)
    stem = f"{study.name}-{records[0].catalogue}"
    paths = write_report(out / f"{stem}.md", summary)
    suffix = "" if lang == "en" else f"-{lang}"
    for name, figure in _pictures(summary, records, lang).items():
        paths += save_figure(figure, out / f"{stem}{name}{suffix}")
    return summary, paths


def _pictures(summary, records, lang: str) -> dict:
    """By the ending of the file's name: cells, claims, and what else the study measures."""
    from scale.studies.diagnosis import own_weights, weighting_aucs
    from scale.studies.retention import damage_retention, retention_curves
    from scale.viz.studies import (
        comparison_figures,
        damage_figure,
        retention_curve,
        score_figure,
        study_figure,
    )

    study, metric, figures = summary.study, summary.study.metrics[0], {}
    if any(row.estimate(test, metric).n for row in summary.rows for test in summary.shared_tests()):
        figures[""] = study_figure(summary, lang=lang)
    else:
        print(f"no picture of the cells: no run of the study {study.name} has {metric}")
    if summary.outcomes:
        pages = comparison_figures(summary, lang)
        for number, page in enumerate(pages, 1):
            figures["-claims" + f"-{number}" * (len(pages) > 1)] = page
    else:
        print(f"no picture of claims: the study {study.name} compares nothing")
    if curves := retention_curves(study, records):
        figures["-retention"] = retention_curve(curves, lang)
    if damages := damage_retention(study, records):
        figures["-damage"] = damage_figure(damages, lang, study.name, metric)
    if own_weights(study, records) or weighting_aucs(study, records):
        figures["-scores"] = score_figure(study, records, lang)
    return figures
