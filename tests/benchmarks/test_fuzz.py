"""A small fuzz campaign; `benchmarks/fuzz.py` runs the large one."""

import os
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

from tests.processes import run_alone


def _fuzz():
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    import fuzz

    return fuzz


def _campaign(folder: Path, run: Path) -> None:
    """Read 200 inputs in one fork with limits."""
    fuzz = _fuzz()
    os.environ["SCALE_CACHE"] = str(folder / "cache")
    targets = fuzz.make_targets(folder, run)
    share = -(-200 // (len(targets) + len(fuzz.DRAWN)))
    drawn_inputs = {name: fuzz.draw_inputs(name, 0, share) for name in fuzz.DRAWN}

    def work():
        drawn = (
            fuzz.drawn_outcomes(name, folder / f"drawn {name}", inputs, range(len(inputs)))
            for name, inputs in drawn_inputs.items()
        )
        read = (fuzz.outcomes(t, fuzz.contents(t), 0, range(share)) for t in targets)
        return chain(*read, *drawn)

    values, status = fuzz.in_child(work, folder / "report")
    tally = fuzz.Tally(Counter(), [])
    assert tally.add("any", values) >= 200
    assert (tally.faults, status) == ([], 0), (tally.faults, len(values), status)
    assert tally.counts["ok"] > len(targets), "all valid inputs, and some changed ones"


def test_damaged_and_hostile_inputs_neither_crash_nor_hang(run_folder, tmp_path):
    run_alone(_campaign, tmp_path, run_folder)


def _faults(folder: Path) -> None:
    fuzz, valid = _fuzz(), bytes(100)
    (folder / "x").write_bytes(valid)

    def crash(folder: Path) -> None:
        if (folder / "x").read_bytes() != valid:
            os.abort()

    def confuse(folder: Path) -> None:
        raise KeyError("x")

    def swell(folder: Path) -> None:
        bytearray(2 * fuzz.MEMORY)

    for read, message in ((crash, "SIGABRT"), (confuse, "KeyError"), (swell, "MemoryError")):
        target = fuzz.Target("x", folder, ("x",), read)
        tally = fuzz.fuzz(target, 0, 2, folder.parent / "report")
        assert tally.counts["fault"] >= 1, message
        assert message in tally.faults[-1], tally.faults


def test_a_fault_of_any_kind_is_reported(tmp_path):
    (tmp_path / "x").mkdir()
    run_alone(_faults, tmp_path / "x")
