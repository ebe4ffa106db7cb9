"""The `scale` command: dataclasses as a command line, errors as one plain line."""

import contextlib
import io
import logging
import re
import sys
from collections.abc import Sequence
from typing import Any

from scale.config import RENAMED
from scale.training.preemption import EXIT_CODE, TrainingStopped

NAMES = ("import", "inspect", "shards", "pretrain", "evaluate", "embed", "index", "search",
         "ablate", "figures", "slides", "explore", "doctor", "demo")  # fmt: skip

USAGE = """usage: scale COMMAND [options]

  import    a catalogue from a CSV file and a folder of pictures
  inspect   what a catalogue holds, and what is wrong with it
  shards    a catalogue's tokens written once, for training on millions of products
  pretrain  train SCALE on a catalogue
  evaluate  retrieval, classification and clustering of a trained run
  embed     one vector per product, to parquet or npy
  index     a search index on disk, for millions of products
  search    products for a title, a picture, a clip or a sound
  ablate    run a study: what helps, with intervals over seeds
  figures   pictures for slides and papers, by name
  slides    a deck for a talk (.pptx), with the numbers of a run and of the studies
  explore   S', masking, embedding space and training, interactively, in a browser
  doctor    does this installation work, and can the model learn?
  demo      all of it on the catalogue that ships, in a few minutes

scale COMMAND --help tells the options, with an example."""

BOX = re.compile("[\u2500-\u257f]")
"""The characters that tyro frames its messages with."""


class ArgumentError(ValueError):
    """Arguments that cannot be read; the message is tyro's complaint in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, or 2 with one plain line on stderr; 75 and 130 where a training
    was stopped and goes on with --resume (by scheduler or time, by Ctrl-C)."""
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
        hints = {"pretrain": "; go on with --resume", "ablate": "; the same command goes on",
                 "shards": "; the same command goes on"}  # fmt: skip
        hint = hints.get(name, "")
        print(f"scale {name}: stopped{hint}", file=sys.stderr)
        return 130
    except TrainingStopped as stop:
        print(f"scale {name}: {stop}", file=sys.stderr)
        return EXIT_CODE
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        return _fail(f"scale {name}: {error}")
    return 0


def _parse(name: str, arguments: list[str]) -> Any:
    """The command with its options, or None where the help was asked for and is printed."""
    try:
        import tyro
    except ImportError as error:
        raise ImportError("tyro is missing: pip install 'scale-workbench[cli]'") from error
    from scale.commands.arguments import COMMANDS

    kind = COMMANDS[name]
    configured = name in ("pretrain", "shards")
    defaults = {"default": _preset_defaults(kind, arguments)} if configured else {}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, prog=f"scale {name}", args=arguments, **defaults)
    except SystemExit as stop:
        if not stop.code:
            return None
        text = BOX.sub(" ", complaint.getvalue()).split("For full helptext")[0]
        raise ArgumentError(f"{' '.join(text.split())} (scale {name} --help)") from stop


def _preset_defaults(kind: type, arguments: list[str]) -> Any:
    """A command with the defaults of the preset that the arguments name."""
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
    print(" ".join(message.split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
