"""The `scale` command: dataclasses as a command line, errors as one plain line."""

import contextlib
import importlib
import importlib.metadata
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scale.commands import MODULES
from scale.config import RENAMED
from scale.data.product import printable
from scale.files import NOT_WRITABLE, default_cache_folder
from scale.training.preemption import EXIT_CODE, TrainingStopped

NAMES = tuple(MODULES)

USAGE = """usage: scale COMMAND [options]

  import    make a catalogue from CSV, Excel, JSON, parquet, XML, tar, a shop or a data set
  inspect   report the contents and the problems of a catalogue
  shards    write the tokens of a catalogue once, for training on millions of products
  pretrain  train SCALE on a catalogue
  evaluate  measure retrieval, classification and clustering of a trained run
  embed     write one vector per product, to parquet or npy
  index     build a search index on disk, for millions of products
  search    find products for a title, an image, a video or an audio file
  ablate    run a study over several seeds and report the result with intervals
  figures   draw figures for slides and papers
  slides    write a deck for a talk (.pptx) with the results of a run and of the studies
  explore   explore S', masking, the embedding space and training in a browser
  doctor    check the installation and whether the model can learn
  demo      train, evaluate and draw on the sample shop, in a few minutes

scale COMMAND --help lists the options, with an example."""

BOX = re.compile("[\u2500-\u257f]|-{5,}")
"""Box-drawing characters of tyro's messages; in terminals without Unicode, dashes."""


DISTRIBUTIONS = {
    "sklearn": "scikit-learn", "umap": "umap-learn", "faiss": "faiss-cpu", "pptx": "python-pptx",
    "jscatter": "jupyter-scatter",
}  # fmt: skip
"""Distributions whose modules have another name."""


class ArgumentError(ValueError):
    """Invalid arguments; the message is tyro's, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: success. 2: an error, with one plain line on stderr (with SCALE_DEBUG=1, after a traceback).
    A training that --resume continues: 75 if it was stopped by a signal or by --max-time, 130 if it
    was stopped by Ctrl-C. 141: nobody reads the output any more (`scale inspect X | head`).
    """
    # Terminals without Unicode get replacements instead of losing the report.
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="replace")
        sys.stderr.reconfigure(errors="backslashreplace")
    try:
        code = _main(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Python flushes once more at its end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _main(arguments: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *rest = arguments
    rest = [_current_name(argument) for argument in rest]
    if name not in NAMES:
        return _fail(f"scale: unknown command {name!r}; known: {', '.join(NAMES)}")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("scale").setLevel(logging.INFO)
    try:
        command = _parse(name, rest)
        if command is not None:
            command.run()
    except KeyboardInterrupt:
        hints = {
            "pretrain": "; continue with --resume",
            "ablate": "; the same command continues",
            "shards": "; the same command continues",
        }
        print(f"scale {name}: stopped{hints.get(name, '')}", file=sys.stderr)
        return 130
    except TrainingStopped as stop:
        print(f"scale {name}: {stop}", file=sys.stderr)
        return EXIT_CODE
    except BrokenPipeError:
        raise
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        return _fail(f"scale {name}: {error}{_hint(error)}")
    except Exception as error:
        if os.environ.get("SCALE_DEBUG"):
            traceback.print_exc()
        return _fail(
            f"scale {name}: internal error, {type(error).__name__}: {error}; SCALE_DEBUG=1 prints "
            "the place"
        )
    return 0


def _hint(error: Exception) -> str:
    """Return the extra to install if a package is missing, or the variable to set if a folder of
    the user cannot be written."""
    if isinstance(error, ModuleNotFoundError):
        extra = extra_of(error.name or "")
        return f"; pip install 'scale-workbench[{extra}]'" if extra else ""
    place = getattr(error, "filename", None)
    if not isinstance(error, OSError) or error.errno not in NOT_WRITABLE or place is None:
        return ""
    inside = Path(str(place)).is_relative_to(default_cache_folder())
    return "; set SCALE_CACHE to a folder that can be written" if inside else ""


def extra_of(module: str) -> str:
    """Return the smallest extra of this package that installs a module; empty: none."""
    name = module.partition(".")[0].lower().replace("_", "-")
    name = DISTRIBUTIONS.get(name, name)
    extras: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("scale-workbench") or ():
        if found := re.match(r"([\w.-]+).*extra == ['\"](.+)['\"]", requirement):
            extras.setdefault(found[2], []).append(found[1].lower().replace("_", "-"))
    return min((e for e, names in extras.items() if name in names),
               key=lambda extra: len(extras[extra]), default="")  # fmt: skip


def _parse(name: str, arguments: list[str]) -> Any:
    """Return the command with its options, or None if the help was requested and printed."""
    import tyro

    module, kind_name = MODULES[name].split(".")
    kind = getattr(importlib.import_module(f"scale.commands.{module}"), kind_name)
    defaults = {}
    if name in ("pretrain", "shards"):
        defaults["default"] = _preset_defaults(kind, arguments)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, prog=f"scale {name}", args=arguments, **defaults)
    except SystemExit as stop:
        if not stop.code:
            return None
        text = " ".join(BOX.sub(" ", complaint.getvalue()).split("For full helptext")[0].split())
        # The title of tyro's box may be the beginning of its text.
        text = re.sub(r"^(.{5,40}) (?=\1)", "", text, flags=re.IGNORECASE)
        raise ArgumentError(f"{text} (scale {name} --help)") from stop


def _preset_defaults(kind: type, arguments: list[str]) -> Any:
    """Return the command with the defaults of the preset that the arguments name."""
    import argparse

    import tyro

    from scale.config import PRESETS

    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--preset", default="tiny")
    preset = finder.parse_known_args(arguments)[0].preset
    if preset not in PRESETS:
        raise ArgumentError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    config = PRESETS[preset]().underived()
    return kind(catalogue=tyro.MISSING, out=tyro.MISSING, preset=preset, config=config)


def _current_name(argument: str) -> str:
    """Replace the old name of a renamed setting (`scale.config.RENAMED`), with a warning."""
    option, equals, value = argument.partition("=")
    for old, new in RENAMED.items():
        for negation in ("", "no-"):
            before, after = (f"--{name.replace('.', f'.{negation}')}".replace("_", "-")
                             for name in (old, new))  # fmt: skip
            if option.replace("_", "-") == before:
                print(f"scale: {before} is now called {after}", file=sys.stderr)
                return f"{after}{equals}{value}"
    return argument


def _fail(message: str) -> int:
    # A file name may contain the escape sequences of terminals.
    print("".join(map(printable, " ".join(message.split()))), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
