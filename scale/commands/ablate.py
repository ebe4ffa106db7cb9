"""`scale ablate`: run a study and write its table, its conclusion and its figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

StudyName = Literal[
    "toy", "scarcity", "missing", "fused", "weighting", "agreement", "harmony", "memorising",
    "noise", "modalities", "tasks", "masking", "fusion", "faults", "contrast", "contrast_tuning",
]  # fmt: skip
"""Names of `scale.studies.definitions.STUDIES`, repeated because that import is slow."""


@dataclass
class Ablate:
    """Run a study: small trainings on a grid of settings and seeds, with intervals.

    Writes the runs to <out>/<study>-<catalogue>.parquet, with a report (.md, .csv) and figures
    (.svg, .png) beside it (<study>-<catalogue>-val with --held-out val). If interrupted, the same
    command continues.

    missing: policies for missing modalities. fused: embeddings after the joint transformer, and the
    prediction of missing modalities. weighting: S', alternatives and controls in five regimes, with
    the contrastive losses only. agreement: weights judged by models that have not seen the product,
    in the same regimes (--preset pretrained). harmony: the main weightings with the whole
    objective. memorising: recognition of wrong pairs as training gets longer. noise: each kind of
    noise by strength. modalities: one more at a time, and all subsets. tasks: the objective without
    each of its parts. masking: the effect of the masked losses and that of masked inputs, apart.
    fusion: SCALE and related architectures. faults: those of the released code. contrast: losses of
    other authors. contrast_tuning: their temperatures, for --held-out val. toy: weights on
    synthetic data with known truth, without a catalogue. scarcity: toy with ever fewer products.

    Example: scale ablate missing --catalogue data_samples --seeds 5
    """

    study: tyro.conf.Positional[StudyName]
    """Name of the study."""
    catalogue: Path | None = None
    """Folder of the catalogue; the studies `toy` and `scarcity` need none."""
    out: Path = Path("runs/studies")
    """Folder for the runs and the report."""
    seeds: int | None = None
    """Trainings per cell; default: that of the study, usually 5 (3 with --quick)."""
    quick: bool = False
    """Fewer cells and seeds, in about five minutes."""
    preset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "micro"
    """Base settings of all cells: micro (seconds per run) or tiny (minutes per run)."""
    held_out: Literal["test", "val", "val+test"] | None = None
    """Products to measure on: choose a default on val, report it on test. Default: test; with
    --report-only, the split of the stored runs, test first. val+test: reports of earlier runs."""
    jobs: int | None = None
    """Number of processes; default: one per GPU, else one per core."""
    report_only: bool = False
    """Write the report of the finished runs, without training."""
    lang: Literal["en", "zh"] = "en"
    """Language of the figures."""

    def run(self) -> None:
        """Run the study, write the files and print the conclusion."""
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
            if self.held_out is not None:
                raise ValueError(f"the study {self.study} has no splits: omit --held-out")
            return run_toy_study(study, self.out, jobs=self.jobs, train=not self.report_only)
        if self.catalogue is None:
            raise ValueError(f"the study {self.study} needs --catalogue FOLDER")
        if self.report_only:
            return load_finished(study, self.catalogue, self.out, self.preset, self.held_out)
        held_out = self.held_out or "test"
        return run_study(
            study, self.catalogue, self.out, preset=self.preset, held_out=held_out, jobs=self.jobs
        )


def write_study(study, records, out: Path, lang: str) -> tuple:
    """Write report and figures of the finished runs; return the summary and the paths.

    A figure without data is left out, with a printed message. Raises ValueError without runs.
    """
    from scale.studies.report import write_report
    from scale.studies.statistics import summarise
    from scale.viz.theme import save_figure

    if not records:
        raise ValueError(f"no finished runs of the study {study.name} in {out}")
    summary = summarise(study, records)
    stem = f"{study.name}-{records[0].catalogue}" + "-val" * (records[0].held_out == "val")
    paths = write_report(out / f"{stem}.md", summary)
    suffix = "" if lang == "en" else f"-{lang}"
    for name, figure in _pictures(summary, records, lang).items():
        paths += save_figure(figure, out / f"{stem}{name}{suffix}")
    return summary, paths


def _pictures(summary, records, lang: str) -> dict:
    """Return the figures by the suffix of the file name: cells, claims, other measurements."""
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
        print(f"no figure of the cells: no run of the study {study.name} has {metric}")
    if summary.outcomes:
        pages = comparison_figures(summary, lang)
        for number, page in enumerate(pages, 1):
            figures["-claims" + f"-{number}" * (len(pages) > 1)] = page
    else:
        print(f"no figure of claims: the study {study.name} has no comparisons")
    if curves := retention_curves(study, records):
        figures["-retention"] = retention_curve(curves, lang)
    if damages := damage_retention(study, records):
        figures["-damage"] = damage_figure(damages, lang, study.name, metric)
    if own_weights(study, records) or weighting_aucs(study, records):
        figures["-scores"] = score_figure(study, records, lang)
    return figures
