"""Mutation testing: count the single-line faults that the tests of a room detect.

    python tools/mutation.py                      # all rooms, 20 mutants each
    python tools/mutation.py losses --count 40 --seed 1

Each mutant changes one expression (a comparison, an operator, a constant, a condition, a dropped
statement) in a copy of the tree and runs the tests of its room: first the file named after the
mutated module, then those that import it, then the others, in each group the fastest first. A
mutant survives if all tests pass: either the change has no effect, or a test is missing. GPU-only
branches and log messages are not mutated. Not part of CI: a run takes minutes to an hour. Writes
`build/mutation.json`.
"""

import argparse
import ast
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from tqdm.auto import tqdm

ROOT = Path(__file__).parents[1]
ROOMS: dict[str, tuple[list[str], list[str]]] = {
    "model": (["scale/model"], ["tests/model"]),
    "losses": (["scale/losses"], ["tests/losses"]),
    "metrics": (["scale/evaluation/metrics.py"], ["tests/evaluation/test_metrics.py"]),
    "training": (["scale/training"], ["tests/training"]),
}
"""Mutated files and their tests, by room."""

COMPARE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
           ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
           ast.In: ast.NotIn, ast.NotIn: ast.In}  # fmt: skip
BINARY = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
          ast.FloorDiv: ast.Mult, ast.Mod: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
          ast.Pow: ast.Mult}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "zeros": "ones", "ones": "zeros",
         "sum": "mean", "mean": "sum", "argmax": "argmin", "first": "last"}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed expression."""

    file: str
    line: int
    before: str
    after: str
    killed: bool | None = None
    """None: not run."""
    killer: str = ""
    """First test that failed."""
    seconds: float = 0.0


def mutations(node: ast.AST) -> Iterator[ast.AST]:
    """Yield replacements of a node, each with one fault."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARE:
        yield ast.Compare(
            node.left, [COMPARE[type(node.ops[0])](), *node.ops[1:]], node.comparators
        )
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        yield ast.BinOp(node.left, BINARY[type(node.op)](), node.right)
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert | ast.USub):
        yield node.operand
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, int):
            yield ast.Constant(node.value + 1)
        elif isinstance(node.value, float):
            yield ast.Constant(node.value * 1.5 + 0.1)
    if isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield ast.Attribute(node.value, NAMES[node.attr], ast.Load())
    if isinstance(node, ast.Name) and node.id in NAMES and isinstance(node.ctx, ast.Load):
        yield ast.Name(NAMES[node.id], ast.Load())


def mutants_of(path: Path) -> list[tuple[Mutant, str]]:
    """Return the mutants of a file, each with the changed source of the whole file."""
    source = path.read_text(encoding="utf-8")
    lines, found = source.splitlines(keepends=True), []
    for node in _mutable(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            replacements = [ast.Pass()]
        else:
            replacements = list(mutations(node))
        for new in replacements:
            if node.lineno != node.end_lineno:
                continue
            # Columns of the syntax tree count bytes.
            line = lines[node.lineno - 1].encode()
            text = ast.unparse(new)
            if isinstance(new, ast.BinOp | ast.BoolOp | ast.Compare | ast.IfExp):
                text = f"({text})"
            changed = line[: node.col_offset] + text.encode() + line[node.end_col_offset :]
            whole = [*lines[: node.lineno - 1], changed.decode(), *lines[node.lineno :]]
            mutant = Mutant(
                path.relative_to(ROOT).as_posix(), node.lineno, line.decode().strip(),
                changed.decode().strip(),
            )  # fmt: skip
            found.append((mutant, "".join(whole)))
    return found


def _mutable(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes to mutate: no annotations, messages, decorators or GPU-only branches."""
    if isinstance(tree, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom | ast.JoinedStr):
        return
    if isinstance(tree, ast.Call) and ast.unparse(tree.func).startswith("log."):
        return
    if isinstance(tree, ast.Expr) and not list(_mutable(tree.value)):
        return
    if isinstance(tree, ast.If | ast.IfExp) and "cuda" in ast.unparse(tree.test):
        for node in tree.orelse if isinstance(tree, ast.If) else [tree.orelse]:
            yield from _mutable(node)
        return
    yield tree
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "format_spec"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _mutable(child)


def copy_tree(target: Path) -> None:
    """Copy the code and link the data that the tests read."""
    for name in ("scale", "tests", "tools"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "Makefile", "README.md", "constraints.txt", "environment.yml"):
        shutil.copy(ROOT / name, target / name)
    for name in ("data_samples", "docs", "notebooks", "figures", "benchmarks"):
        (target / name).symlink_to(ROOT / name)


def passes(tree: Path, tests: list[str], seconds: float, test_seconds: float = 600) -> bool:
    """Return whether the tests pass, with a time limit for all and one for each test.

    Writes their durations to `times.xml` in the tree.
    """
    (tree / "times.xml").unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider",
               f"--timeout={test_seconds:.0f}", "--junitxml=times.xml", *tests]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=tree, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        # Child processes of an interrupted test may still wait for each other.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def durations_by_file(tree: Path) -> dict[str, list[float]]:
    """Return the seconds of each test of the last run by test file."""
    found: dict[str, list[float]] = {}
    for case in ElementTree.parse(tree / "times.xml").iter("testcase"):
        path = f"{case.get('classname', '').replace('.', '/')}.py"
        found.setdefault(path, []).append(float(case.get("time", 0)))
    return found


def failed_test(tree: Path) -> str:
    """Return the test that failed in the last run, marked if it timed out."""
    if not (tree / "times.xml").exists():
        return "the run did not end"
    for case in ElementTree.parse(tree / "times.xml").iter("testcase"):
        for problem in (*case.iter("failure"), *case.iter("error")):
            late = " (timeout)" if "Timeout" in problem.get("message", "") else ""
            return f"{case.get('classname')}.{case.get('name')}{late}"
    return ""


def ordered_tests(tree: Path, module: str, seconds: dict[str, list[float]]) -> list[str]:
    """Return the test files, those most likely to detect a fault in the module first."""
    folder, name = module.removesuffix(".py").replace("/", ".").rsplit(".", 1)
    imports = re.compile(
        rf"^(from {folder}\.{name} |import {folder}\.{name}\b|from {folder} import .*\b{name}\b)",
        re.MULTILINE,
    )

    def key(path: str) -> tuple[bool, bool, float]:
        source = (tree / path).read_text(encoding="utf-8")
        return Path(path).stem != f"test_{name}", not imports.search(source), sum(seconds[path])

    return sorted(seconds, key=key)


def _python_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def run_room(room: str, count: int, seed: int, tree: Path) -> Iterator[Mutant]:
    """Run `count` mutants of a room, drawn uniformly from all its mutants."""
    folders, tests = ROOMS[room]
    files = [path for name in folders for path in _python_files(ROOT / name)]
    mutants = [mutant for path in files for mutant in mutants_of(path)]
    chosen = random.Random(seed).sample(mutants, min(count, len(mutants)))
    started = time.perf_counter()
    if not passes(tree, tests, 3600):
        raise SystemExit(f"{room}: the tests fail without a mutation")
    limit = 60 + 3 * (time.perf_counter() - started)
    seconds = durations_by_file(tree)
    test_limit = 30 + 3 * max(map(max, seconds.values()))
    for mutant, source in tqdm(chosen, desc=room, unit="mutant"):
        path = tree / mutant.file
        original = path.read_text(encoding="utf-8")
        path.write_text(source, encoding="utf-8")
        started = time.perf_counter()
        killed = not passes(tree, ordered_tests(tree, mutant.file, seconds), limit, test_limit)
        path.write_text(original, encoding="utf-8")
        killer = failed_test(tree) if killed else ""
        seconds_taken = time.perf_counter() - started
        yield replace(mutant, killed=killed, killer=killer, seconds=seconds_taken)


def main() -> None:
    """Run the given rooms; print the surviving mutants and the scores."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("rooms", nargs="*", help=f"{', '.join(ROOMS)}; default: all")
    parser.add_argument("--count", type=int, default=20, help="mutants per room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutation.json")
    options = parser.parse_args()
    results: list[Mutant] = []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        for room in options.rooms or ROOMS:
            found = []
            for m in run_room(room, options.count, options.seed, tree):
                found.append(m)
                if not m.killed:
                    print(f"survived {m.file}:{m.line}\n  - {m.before}\n  + {m.after}", flush=True)
                text = json.dumps([asdict(each) for each in [*results, *found]], indent=1) + "\n"
                options.out.write_text(text)
            results += found
            killed = Counter(mutant.killed for mutant in found)[True]
            print(f"{room}: {killed} of {len(found)} killed", flush=True)


if __name__ == "__main__":
    main()
