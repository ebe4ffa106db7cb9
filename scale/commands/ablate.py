"""`scale ablate`: run a study, then write its table, its answer and its pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scale.experiments.studies import STUDIES

StudyName = Literal[tuple(STUDIES)]


@dataclass
class Ablate:
    """Run a study: a grid of small trainings over seeds, with intervals and an answer.

    Finished runs are kept in <out>/<study>-<catalogue>.parquet; stopped at any moment, the same
    command goes on. Beside it come the table (.md, .csv) and the pictures (.svg, .png).

    missing: policies for missing modalities. weighting: S', candidates and controls in five
    regimes. noise: each kind and strength. modalities: one more at a time, and all subsets. tasks:
    without each part of the objective. fusion: SCALE and its relatives. faults: the released
    code's. toy: weights where the truth is known, without a catalogue.

    Example: scale ablate missing --catalogue data_samples --seeds 5
    """

    study: tyro.conf.Positional[StudyName]
    """Which one."""
    catalogue: Path | None = None
    """Folder of the catalogue; the study `toy` needs none."""
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
        from scale.experiments.report import answer

        study = STUDIES[self.study](self.quick)
        study = study.with_seeds(self.seeds or (3 if self.quick else study.seeds))
        records = self._records(study)
        summary, paths = write_study(study, records, self.out, self.lang)
        print(f"{study.question}\n\n{answer(summary)}\n")
        print("written: " + ", ".join(str(path) for path in paths))

    def _records(self, study):
        from scale.experiments.runner import finished_records, run_study
        from scale.experiments.studies.toy import run_toy_study

        if self.study == "toy":
            return run_toy_study(study, self.out, jobs=self.jobs, train=not self.report_only)
        if self.catalogue is None:
            raise ValueError(f"the study {self.study} needs --catalogue FOLDER")
        if self.report_only:
            return finished_records(study, self.catalogue, self.out, self.preset)
        return run_study(study, self.catalogue, self.out, preset=self.preset, jobs=self.jobs)


def write_study(study, records, out: Path, lang: str) -> tuple:
    """Report and pictures of the runs that are there; returns the summary and the paths.

    Raises ValueError where there are none.
    """
    from scale.experiments.report import summarise, write_report
    from scale.experiments.retention import retention_curves
    from scale.viz.studies import comparison_figure, retention_curve, study_figure
    from scale.viz.style import save_figure

    if not records:
        raise ValueError(f"no finished runs of the study {study.name} in {out}")
    summary = summarise(study, records)
    stem = out / f"{study.name}-{records[0].catalogue}"
    paths = write_report(stem.with_name(f"{stem.name}.md"), summary)
    figures = {"": study_figure(summary, lang=lang), "-claims": comparison_figure(summary, lang)}
    curves = retention_curves(study, records)
    if curves:
        figures["-retention"] = retention_curve(curves, lang)
    suffix = "" if lang == "en" else f"-{lang}"
    for name, figure in figures.items():
        paths += save_figure(figure, stem.with_name(f"{stem.name}{name}{suffix}"))
    return summary, paths
