"""Precision of `scale inspect --mismatch` on planted wrong contents.

    python benchmarks/mismatches.py data_samples --share 0.05 --seeds 3 --out runs/mismatches

In each seed, a share of the training products' contents is exchanged in every modality (the
catalogue's files stay as they are), a run with the preset `pretrained` is trained on the damaged
catalogue, and the listed products are compared with the planted ones. Finished seeds are kept.
Contents that the catalogue itself has wrong count as errors of the list.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import scale
from scale.data.catalogue import Catalogue, with_splits
from scale.evaluation.report import provenance, write_json
from scale.inference.mismatch import find_mismatches, planted_precision
from scale.modalities import MODALITIES
from scale.studies.statistics import seed_interval

KS = (20, 50, 100)


def plant(
    catalogue: Catalogue, share: float, seed: int
) -> tuple[Catalogue, dict[tuple[str, str], str]]:
    """Exchange a share of the contents of each modality along a ring of training products.

    Returns:
        The damaged catalogue, and the owner's id of each wrong content by (id, modality).
    """
    random, products, owners = np.random.default_rng(seed), list(with_splits(catalogue)), {}
    for m in MODALITIES:
        rows = [i for i, p in enumerate(products) if p.split == "train" and getattr(p, m)]
        chosen = random.permutation(rows)[: round(share * len(rows))].tolist()
        if len(chosen) < 2:
            continue
        donors = [products[row] for row in (*chosen[1:], chosen[0])]
        for row, donor in zip(chosen, donors, strict=True):
            if getattr(donor, m) == getattr(products[row], m):
                continue
            content = {k: v for k, v in products[row].content.items() if k != m}
            content |= {m: donor.content[m]} if m in donor.content else {}
            owners[products[row].id, m] = donor.id
            products[row] = replace(products[row], **{m: getattr(donor, m)}, content=content)
    return replace(catalogue, products=tuple(products)), owners


def measure(catalogue: Catalogue, share: float, seed: int, out: Path) -> dict:
    """Return precision, named owners, estimated shares and seconds of one seed."""
    path = out / f"{catalogue.folder.resolve().name}-{share:g}-{seed}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    started = time.perf_counter()
    damaged, owners = plant(catalogue, share, seed)
    run = scale.pretrain(
        damaged, preset="pretrained", out=out / path.stem, seed=seed, resume=True, progress=False
    )
    judged = time.perf_counter()
    found = find_mismatches(run, damaged, top=2 * max(KS), progress=False)
    frame = found.frame[found.frame.judged == "cross-fitted"]
    named = [
        owners[id, m] == other
        for id, m, other in zip(frame.id, frame.modality, frame.other_id, strict=True)
        if (id, m) in owners
    ]
    result = {
        "planted": len(owners),
        "precision": {str(k): v for k, v in planted_precision(frame, set(owners), KS).items()},
        "owner named": float(np.mean(named)) if named else None,
        "shares": found.shares,
        "seconds of the list": round(time.perf_counter() - judged, 1),
        "provenance": provenance(seed, started),
    }
    write_json(path, result)
    return result


def main() -> None:
    """Measure all seeds of a catalogue and print means with 95 % intervals over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/mismatches"))
    options = parser.parse_args()
    catalogue = scale.open(options.catalogue)
    found = [measure(catalogue, options.share, s, options.out) for s in range(options.seeds)]
    for k in map(str, KS):
        values = np.array([f["precision"][k] for f in found if k in f["precision"]])
        if len(values):
            print(f"precision at {k}: {seed_interval(values)} ({len(values)} seeds)")
    print("owner named:", seed_interval(np.array([f["owner named"] or 0.0 for f in found])))
    print("shares:", found[0]["shares"], "planted", [f["planted"] for f in found])


if __name__ == "__main__":
    main()
