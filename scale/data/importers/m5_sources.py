"""Options of the import of M5Product, in a light module that the command line reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class M5Sources:
    """Files of M5Product besides the annotations; all are optional."""

    regions: tuple[Path, ...] = ()
    """Region features of the pictures: TSV files (.tsv) or LMDB files."""
    video: Path | None = None
    """Folder of video vectors, ID.npy of (seconds, F)."""
    audio: Path | None = None
    """Folder of spectrograms, ID.npy of (80, time) or (time, 80)."""
    media: Path | None = None
    """Folder with images/ID.jpg, videos/ID.mp4 and audios/ID.mp3, which are copied or linked
    (--mode) for the modalities that have no features."""
    train: tuple[Path, ...] = ()
    """Lists of the ids of the split train: JSON lists, JSON objects of labels by id, or lines.
    With any list, products that are in none are left out."""
    val: tuple[Path, ...] = ()
    """Lists of the split val."""
    test: tuple[Path, ...] = ()
    """Lists of the split test, e.g. query and gallery."""
    classes: Path | None = None
    """JSON list of class names; integer labels are positions in it."""
    titles: Literal["annotations", "regions"] = "annotations"
    """Source of the titles, where both have one; differences are counted."""
    boxes: Literal["separate", "append", "none"] = "separate"
    """Location of each region (x1/w, y1/h, x2/w, y2/h, share of the area): in features/boxes.npy,
    which the model does not read; appended to its features, as five more inputs; or dropped."""
    mean_region: bool = False
    """Put the mean of the regions in front, with the location of the whole picture, as the authors
    do."""
    audio_frames: int = 0
    """Average the time frames of a spectrogram to at most this number; 0: keep all."""
