"""Work for test_runner.py, in a module that a spawned process can import."""

import os
import signal

from scale.studies.runner import Job
from scale.studies.study import Record


def measure(job: Job) -> Record:
    """A figure from the seed, or the end of the process."""
    if job.cell.factors["fate"] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    figures = {"held out": {"mAP@5": job.seed + 0.5}}
    return Record(job.study, "cat", "micro", job.key, job.cell.factors, job.seed, figures=figures)
