"""figures/: the core figures and both decks of the demo's run, ready to take, and their gallery.

python -m tools.gallery            # draw unless up to date
python -m tools.gallery --force    # draw
python -m tools.gallery --check    # fail if out of date; draws nothing

`figures/made.json` stores hashes of the drawing code and words, of the run's products and training
code, of the studies, and of every file.
"""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import date
from functools import partial
from pathlib import Path

from PIL import Image

from scale.data.catalogue import Catalogue
from scale.demo import samples_folder, training_fingerprint
from scale.files import hash_code, write_whole
from scale.viz.registry import Sources, select
from scale.viz.words import WORDS, Language, caption

ROOT = Path(__file__).parents[1]
FOLDER, RUN, STUDIES = ROOT / "figures", ROOT / "runs" / "demo", ROOT / "figures" / "studies"
CORE_FOLDER, MANIFEST, PAGE = FOLDER / "core", FOLDER / "made.json", FOLDER / "README.md"
LANGS: tuple[Language, ...] = ("en", "zh")
NAMES = {"en": "English", "zh": "中文"}
DECKS = {lang: FOLDER / f"talk_{lang}.pptx" for lang in LANGS}
FORMATS = ("svg", "png")
LARGEST = 15_000_000
"""Bytes of all core figures together."""


def fingerprints() -> dict[str, str]:
    """Return the hashes of everything that the figures depend on, without the run itself."""
    package = ROOT / "scale"
    rooms = [package / "viz", package / "talk", Path(__file__)]
    drawing = hash_code(rooms) + _hash(sorted((package / "viz" / "assets").iterdir())) + _words()
    shop = STUDIES.glob(f"*-{samples_folder().name}*.parquet")
    return {
        "drawing": hashlib.blake2b(drawing.encode(), digest_size=16).hexdigest(),
        "run": training_fingerprint(Catalogue.open(samples_folder())),
        "studies": _hash(sorted([*shop, *STUDIES.glob("*-views.parquet")])),
    }


def _words() -> str:
    """Return captions and labels as text, without those of the explorers."""
    kept = {
        lang: {
            **words,
            "labels": {k: v for k, v in words["labels"].items() if not k.startswith("explore")},
        }
        for lang, words in WORDS.items()
    }
    return json.dumps(kept, sort_keys=True)


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        digest.update(path.name.encode() + hashlib.blake2b(path.read_bytes()).digest())
    return digest.hexdigest()


def problems() -> list[str]:
    """Return a line for each reason why the folder is out of date; empty if it is current."""
    if not MANIFEST.is_file():
        return ["figures/made.json is missing"]
    made = json.loads(MANIFEST.read_text(encoding="utf-8"))
    reasons = {
        "drawing": "the code or the words of figures and slides",
        "run": "the products or the training code",
        "studies": "the results of the studies",
    }
    now = fingerprints()
    found = [f"{why} changed" for key, why in reasons.items() if made["from"][key] != now[key]]
    for name, digest in made["files"].items():
        path = FOLDER / name
        if not path.is_file():
            found.append(f"figures/{name} is missing")
        elif _hash([path]) != digest:
            found.append(f"figures/{name} is not the file that was made")
    return found


def make() -> None:
    """Draw the core figures and the decks, and write the gallery and the manifest.

    Raises ValueError if the run is not that of the current code, RuntimeError if something cannot
    be drawn.
    """
    from scale.evaluation.report import provenance
    from scale.viz.writing import failures, write_pictures

    now = fingerprints()
    mark = RUN / "started.txt"
    trained = mark.read_text(encoding="utf-8").strip() if mark.is_file() else ""
    if trained != now["run"]:
        raise ValueError(f"{RUN}: not trained by the current code; `scale demo` trains it")
    sources = Sources(RUN, samples_folder(), STUDIES)
    names = select((), "core", sources)
    CORE_FOLDER.mkdir(parents=True, exist_ok=True)
    for path in CORE_FOLDER.iterdir():
        path.unlink()
    written = write_pictures(names, sources, CORE_FOLDER, LANGS, formats=FORMATS, captions=False)
    if written.failed:
        raise RuntimeError(failures(written.failed))
    for path in sorted(CORE_FOLDER.glob("*.png")):
        reduce_palette(path)
    _make_decks()
    write_whole(PAGE, page(names))
    origin = provenance(sources.seed, time.perf_counter())
    files = [PAGE, *DECKS.values(), *sorted(CORE_FOLDER.iterdir())]
    made = {
        "from": now,
        "provenance": {
            **{key: origin[key] for key in ("commit", "dirty", "seed", "versions")},
            "run": str(RUN.relative_to(ROOT)),
            "catalogue": samples_folder().name,
        },
        "files": {str(path.relative_to(FOLDER)): _hash([path]) for path in files},
    }
    write_whole(MANIFEST, json.dumps(made, indent=1) + "\n")
    size = sum(path.stat().st_size for path in CORE_FOLDER.iterdir())
    print(f"written: {len(names)} figures in two languages, {size / 1e6:.1f} MB, and two decks")


def _make_decks() -> None:
    """Write both decks at the same time, dated by the run's results."""
    day = date.fromtimestamp((RUN / "results.json").stat().st_mtime).isoformat()
    start = partial(subprocess.Popen, cwd=ROOT)
    command = [sys.executable, "-m", "scale.cli", "slides", "--date", day]
    running = [
        start([*command, "--lang", lang, "--out", str(path.relative_to(ROOT))])
        for lang, path in DECKS.items()
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise RuntimeError("a deck could not be written")


def reduce_palette(path: Path) -> None:
    """Rewrite a PNG with a palette of 256 colours; the colour of the page stays exact."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    reduced = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette, paper = reduced.getpalette(), image.getpixel((0, 0))
    place = 3 * reduced.getpixel((0, 0))
    palette[place : place + 3] = paper
    reduced.putpalette(palette)
    reduced.save(path, format="png", optimize=True)


COLUMNS = 3
"""Thumbnails per row."""


def page(names: list[str]) -> str:
    """Return the gallery as Markdown."""
    cells = [
        f'<td align="center" width="33%"><a href="#{name}"><img src="core/{name}_en.png" '
        f'width="280" alt="{caption(name, "en").title}"></a><br>{caption(name, "en").title}</td>'
        for name in names
    ]
    rows = [cells[k : k + COLUMNS] for k in range(0, len(cells), COLUMNS)]
    table = ["<table>", *(f"<tr>{''.join(row)}</tr>" for row in rows), "</table>"]
    return (
        "\n\n".join([HEAD.format(count=len(names)), "\n".join(table), *map(_entry, names)]) + "\n"
    )


HEAD = """# Figures and slides, ready to take

Generated by `make figures` from the run of `scale demo` on the sample shop; do not edit.

- [talk_en.pptx](talk_en.pptx), [talk_zh.pptx](talk_zh.pptx): the deck in English and Chinese, with
  native charts and speaker notes ([docs/slides.md](../docs/slides.md)).
- [core/](core): {count} figures in English and Chinese, as SVG (its text can be edited) and PNG.
- [studies/](studies): results of the studies ([docs/studies.md](../docs/studies.md)).
- [made.json](made.json): commit, versions, seed and hashes.

Other figures, other styles (slides, dark page), PDF, and figures of your own run:
`scale figures --help`. The method: Dong et al., M5Product, CVPR 2022, arXiv 2109.04275."""


def _entry(name: str) -> str:
    english, chinese = (caption(name, lang) for lang in LANGS)
    links = " · ".join(
        f"[{kind.upper()} {NAMES[lang]}](core/{name}_{lang}.{kind})"
        for lang in LANGS
        for kind in FORMATS
    )
    return "\n\n".join(
        [
            f'<a id="{name}"></a>\n\n## {english.title}',
            f"![{english.title}](core/{name}_en.png)",
            english.text,
            f"**{chinese.title}** {chinese.text}",
            f"`scale figures {name}` · {links}",
        ]
    )


def main(arguments: list[str]) -> int:
    """Draw, or check, and return the exit code."""
    found = problems()
    if "--check" in arguments:
        print("\n".join(found) or "figures: up to date")
        return bool(found)
    if not found and "--force" not in arguments:
        print("figures: up to date")
        return 0
    make()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
