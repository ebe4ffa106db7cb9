"""Make the Chinese fonts in scale/viz/assets from Debian's package fonts-noto-cjk.

    python tools/make_font_subset.py [FOLDER of NotoSansCJK-Regular.ttc and NotoSansCJK-Bold.ttc]

Each of the two subsets contains all characters of GB2312, Latin-1 and common symbols, with outlines
and advance widths only (no hinting, layout features or vertical metrics), because matplotlib uses
nothing else. The family is renamed to avoid confusion with an installed Noto Sans CJK SC. The same
input gives the same bytes. The licence (SIL Open Font License 1.1) is in assets/OFL.txt.
"""

import sys
from pathlib import Path

DEBIAN_PATH = "/usr/share/fonts/opentype/noto"
SIMPLIFIED_CHINESE = 2
"""Index of `Noto Sans CJK SC` in the collection."""
FAMILY = "SCALE Sans SC"
FULL_NAMES = {"Regular": FAMILY, "Bold": f"{FAMILY} Bold"}
OUTPUT = Path(__file__).parents[1] / "scale" / "viz" / "assets"
SYMBOLS = (
    (0x20, 0x7E),  # ASCII
    (0xA0, 0xFF),  # Latin-1
    (0x2000, 0x206F),  # general punctuation
    (0x20A0, 0x20BF),  # currency signs
    (0x2100, 0x218F),  # letterlike symbols, number forms
    (0x2190, 0x22FF),  # arrows, operators
    (0x2460, 0x25FF),  # enclosed numbers, box drawing, geometric shapes
    (0x2600, 0x26FF),  # miscellaneous symbols
    (0x3000, 0x303F),  # CJK punctuation
    (0xFF00, 0xFFEF),  # full-width forms
)


def gb2312() -> set[int]:
    """Return the code points of GB2312-1980: 6,763 Chinese characters and 682 symbols."""
    pairs = (bytes((row, cell)) for row in range(0xA1, 0xF8) for cell in range(0xA1, 0xFF))
    return {ord(c) for pair in pairs for c in pair.decode("gb2312", errors="ignore")}


def write_subset(source: Path, weight: str) -> None:
    """Write the subset of a weight, `Regular` or `Bold`, to OUTPUT."""
    from fontTools import subset

    options = subset.Options(
        font_number=SIMPLIFIED_CHINESE,
        layout_features=[],
        drop_tables=[*subset.Options().drop_tables, "BASE", "VORG", "vhea", "vmtx", "GPOS", "GSUB"],
        hinting=False,
        name_IDs=[0, 1, 2, 3, 4, 5, 6, 7, 13, 14],
        name_languages=[0x409],
        recalc_timestamp=False,
    )
    font = subset.load_font(str(source), options)
    subsetter = subset.Subsetter(options)
    wanted = gb2312().union(*(range(first, last + 1) for first, last in SYMBOLS))
    subsetter.populate(unicodes=wanted)
    subsetter.subset(font)
    path, full = OUTPUT / f"ScaleSansSC-{weight}.otf", FULL_NAMES[weight]
    names = {1: FAMILY, 3: f"{full}; subset of Noto Sans CJK SC 2.004", 4: full, 6: path.stem}
    for name_id, text in names.items():
        font["name"].setName(text, name_id, 3, 1, 0x409)
    cff = font["CFF "].cff
    cff.fontNames[0] = path.stem
    cff.topDictIndex[0].FamilyName, cff.topDictIndex[0].FullName = FAMILY, full
    subset.save_font(font, path, options)
    kept = len(font.getBestCmap())
    print(f"{path.name}: {kept} code points, {path.stat().st_size / 1e6:.2f} MB")


def main(folder: str = DEBIAN_PATH) -> None:
    """Write both fonts."""
    for weight in FULL_NAMES:
        write_subset(Path(folder) / f"NotoSansCJK-{weight}.ttc", weight)


if __name__ == "__main__":
    main(*sys.argv[1:])
