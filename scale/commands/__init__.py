"""The commands of `scale`: one dataclass each, whose docstring is the help text.

A command parses its options, calls the package and prints. Modules import heavy libraries inside
`run`, so that `scale COMMAND --help` stays fast.
"""

MODULES = {
    "import": "catalogue.Import",
    "inspect": "catalogue.Inspect",
    "shards": "catalogue.Shards",
    "pretrain": "models.Pretrain",
    "evaluate": "models.Evaluate",
    "embed": "models.Embed",
    "index": "models.Index",
    "search": "models.Search",
    "ablate": "ablate.Ablate",
    "figures": "figures.Figures",
    "slides": "slides.Slides",
    "explore": "explore.Explore",
    "doctor": "demo.Doctor",
    "demo": "demo.Demo",
}
"""Module and class of each command, in the order of the usage text."""
