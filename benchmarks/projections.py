"""Choices of the preset `pretrained`, one by one, by cross-validation on training data.

    python benchmarks/projections.py data_samples ../shared/data/esky5 --out projections.json

The products of train and val are divided into three folds (products with equal contents together);
each fold is judged by a model trained on the others. The test split is not used. Prints the mean
over folds of the mean Recall@10 over all directions between two modalities and of the category's
mAP@1 of the product embedding; one training per fold, with the seed of the fold.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from scale.config import Config, configure
from scale.data.catalogue import Catalogue, with_splits
from scale.data.dataset import ProductDataset
from scale.data.tokenizer import train_tokenizer
from scale.evaluation.embed import Embeddings, embed_dataset, subset_embedding
from scale.evaluation.report import provenance, write_json
from scale.evaluation.retrieval import ProductArrays, category_retrieval, direction_retrievals
from scale.modalities import MODALITIES, TASKS
from scale.training.cross_fit import content_folds
from scale.training.run import build_dataset, fit_sizes, initial_model
from scale.training.trainer import Trainer

FOLDS = 3
VARIANTS = {
    "pretrained": {},
    "one network": {"model": {"projection_heads": 1}},
    "four networks": {"model": {"projection_heads": 4}},
    "without TF-IDF": {"model": {"lexical_pieces": 0}},
    "ridge 0.5": {"model": {"projection_ridge": 0.5}},
    "ridge 8": {"model": {"projection_ridge": 8.0}},
    "temperature 0.07": {"loss": {"temperature": 0.07}},
    "label smoothing 0.1": {"loss": {"label_smoothing": 0.1}},
    "400 steps": {"steps": 400},
    "[CLS] of a Transformer": {"model": {"pooling": "cls"}, "steps": 400},
    "with the masked tasks": {"loss": {"tasks": ("contrastive", *TASKS)}},
}


def measure(
    data: ProductDataset, config: Config, fold: int, fold_N: np.ndarray
) -> dict[str, list[float]]:
    """Train on the other folds; return the figures of this one, by part of the features."""
    train, held = (data.subset(np.flatnonzero(rows)) for rows in (fold_N != fold, fold_N == fold))
    trainer = Trainer(config, initial_model(config, train)[0], train)
    for step in range(config.train.steps):
        trainer.train_step(step)
    embeddings = embed_dataset(trainer.model.eval(), held, progress=False)
    width = config.model.projection_width
    parts = {"": slice(None), ", CCA alone": slice(width), ", networks alone": slice(width, None)}
    if config.model.pooling == "cls":
        parts = {"": slice(None)}
    return {
        part: figures(held, replace(embeddings, pooled_NMD=embeddings.pooled_NMD[:, :, columns]))
        for part, columns in parts.items()
    }


def figures(held: ProductDataset, embeddings: Embeddings) -> list[float]:
    """Return mean Recall@10 over directions and the category's mAP@1."""
    products = ProductArrays.of(held, embeddings, None)
    found = direction_retrievals(products, ks=(10,)).values()
    recall = np.mean([direction.values["Recall@10"].mean() for direction in found])
    emb_ND, valid_N = subset_embedding(products.pooled_NMD, products.present_NM, MODALITIES)
    labels, ids = np.array(products.labels, object), np.array(products.ids, object)
    emb_QD, labels, ids = emb_ND[valid_N], labels[valid_N].tolist(), ids[valid_N].tolist()
    category = category_retrieval(emb_QD, emb_QD, labels, labels, ids, ids, ks=(1,))
    return [float(recall), float(np.nanmean(category.values["mAP@1"]))]


def main() -> None:
    """Measure all variants on all catalogues; print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalogues", type=Path, nargs="+")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    results: dict[str, dict[str, list[float]]] = {}
    for folder in arguments.catalogues:
        catalogue = with_splits(Catalogue.open(folder))
        kept = [p for p in catalogue.products if p.split != "test"]
        base = configure("pretrained", {"device": "cpu"})
        tokenizer = train_tokenizer(kept, base.features.vocab_size)
        data = build_dataset(Catalogue(catalogue.folder, tuple(kept)), base, tokenizer, None)
        fold_N = content_folds(data.content_id_NM, FOLDS, seed=0)
        for name in tqdm(arguments.variants, desc=folder.name):
            found: dict[str, list[list[float]]] = {}
            for fold in range(FOLDS):
                config = configure("pretrained", VARIANTS[name] | {"seed": fold, "device": "cpu"})
                for part, values in measure(data, fit_sizes(config, data), fold, fold_N).items():
                    if not part or name == "pretrained":
                        found.setdefault(name + part, []).append(values)
            for variant, values in found.items():
                mean = np.mean(values, axis=0).tolist()
                results.setdefault(variant, {})[folder.name] = mean
            facts = provenance(0, started, "cpu")
            write_json(arguments.out, {"provenance": facts, "Recall@10, mAP@1": results})
    for name, by_catalogue in results.items():
        cells = [f"{recall:.3f} / {precision:.3f}" for recall, precision in by_catalogue.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
