"""Choices of the preset `pretrained`, one by one, by cross-validation on training data.

    python benchmarks/projections.py data_samples ../shared/data/esky5 --out projections.json

The products of train and val are divided into three folds (products with equal contents together);
each fold is judged by a model trained on the others. The test split is not used. Prints the mean
over folds of the mean Recall@10 over all directions between two modalities and of the category's
mAP@1 of the product embedding; one training per fold, with the seed of the fold. The preset's own
row is followed by its parts and by other product embeddings of the same model.

B products, D width, C inputs of a projection.
"""

import argparse
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import kl_div, normalize
from tqdm.auto import tqdm

from scale.config import Config, configure
from scale.data.batch import Tokens
from scale.data.catalogue import Catalogue, with_splits
from scale.data.dataset import SECOND_VIEW, ProductDataset
from scale.data.text_loss import choose_lengths
from scale.data.tokenizer import train_tokenizer
from scale.evaluation.embed import Embeddings, embed_dataset, subset_embedding, unit
from scale.evaluation.report import provenance, write_json
from scale.evaluation.retrieval import ProductArrays, category_retrieval, direction_retrievals
from scale.losses.masking import MaskedBatch
from scale.losses.total import LossOutput, scale_loss
from scale.modalities import INDEX, MODALITIES, TASKS
from scale.model.projection import ProjectionInputs
from scale.model.scale import ScaleModel, ScaleOutput
from scale.training.cross_fit import content_folds
from scale.training.run import build_dataset, fit_sizes, initial_model
from scale.training.trainer import Trainer

FOLDS = 3
VARIANTS = {
    "pretrained": {},
    "first views only": {"train": {"second_views": False}},
    "one network": {"model": {"projection_heads": 1}},
    "four networks": {"model": {"projection_heads": 4}},
    "without TF-IDF": {"model": {"lexical_pieces": 0}},
    "ridge 0.5": {"model": {"projection_ridge": 0.5}},
    "ridge 8": {"model": {"projection_ridge": 8.0}},
    "temperature 0.07": {"loss": {"temperature": 0.07}},
    "label smoothing 0.1": {"loss": {"label_smoothing": 0.1}},
    "temperature learned": {"loss": {"temperature_learned": True}},
    "SigLIP": {"loss": {"contrast": "siglip", "temperature_learned": True}},
    "ConFu": {"loss": {"contrast": "confu"}},
    "FuseMix": {},
    "STRUCTURE": {},
    "50 steps": {"steps": 50},
    "150 steps": {"steps": 150},
    "400 steps": {"steps": 400},
    "first views only, 150 steps": {"steps": 150, "train": {"second_views": False}},
    "[CLS] of a Transformer": {"model": {"pooling": "cls"}, "steps": 400},
    "with the masked tasks": {"loss": {"tasks": ("contrastive", *TASKS)}},
    "early stopping": {"steps": 400},
}


def fuse_mix(masked: MaskedBatch) -> MaskedBatch:
    """Mix all modalities of each product with those of another, with one lambda of Beta(1, 1).

    FuseMix (Vouitsis et al., CVPR 2024), on the inputs of the projections. Modalities that only one
    of the two has are left out.
    """
    batch = masked.batch
    other_B = torch.randperm(len(batch))
    share_B1 = torch.rand(len(batch), 1)
    present_BM, tokens = batch.present_BM & batch.present_BM[other_B], {}
    for m, own in batch.tokens.items():
        (rows_R,) = present_BM[:, INDEX[m]].nonzero(as_tuple=True)
        x_BC = own.values.new_zeros(len(batch), own.values.shape[1])
        x_BC[own.rows_R] = own.values
        mixed_BC = share_B1 * x_BC + (1 - share_B1) * x_BC[other_B]
        padding_RL = torch.zeros(len(rows_R), 1, dtype=torch.bool)
        tokens[m] = Tokens(mixed_BC[rows_R], padding_RL, rows_R)
    return replace(masked, batch=replace(batch, tokens=tokens, present_BM=present_BM))


def structure_loss(output: ScaleOutput, masked: MaskedBatch, config: Config) -> torch.Tensor:
    """Return the mean divergence between the similarities of products before and after projection.

    KL(softmax(x x^T / t) || softmax(f f^T / t)) per modality and network, after STRUCTURE
    (Groeger et al., NeurIPS 2025), with its first level alone.
    """
    terms, width = [], config.model.projection_width
    for m, tokens in masked.batch.tokens.items():
        f_RD = output.pooled_BMD[tokens.rows_R, INDEX[m]]
        x_RC = normalize(tokens.values, dim=-1)
        target_RR = (x_RC @ x_RC.T / config.loss.temperature).softmax(1)
        for part_RD in f_RD[:, width:].split(width, dim=1):
            logits_RR = part_RD @ part_RD.T / config.loss.temperature
            terms.append(kl_div(logits_RR.log_softmax(1), target_RR, reduction="batchmean"))
    return torch.stack(terms).mean()


def set_objective(trainer: Trainer, name: str) -> None:
    """Replace the loss of a trainer by that of FuseMix or STRUCTURE."""
    config, scale_objective = trainer.config, trainer.loss_fn

    def structure(masked: MaskedBatch, progress: float) -> LossOutput:
        output = trainer.forward(masked.batch, masked.hidden, masked.positions)
        found = scale_loss(output, masked, config.loss, progress)
        found.losses["structure"] = structure_loss(output, masked, config)
        return found

    if name == "FuseMix":
        trainer.loss_fn = lambda masked, progress: scale_objective(fuse_mix(masked), progress)
    elif name == "STRUCTURE":
        trainer.loss_fn = structure


def fit(name: str, train: ProductDataset, config: Config) -> ScaleModel:
    """Train all steps of a variant, or with `early stopping` up to the best of every 50 steps.

    The best one has the largest mean Recall@10 on a fifth of the products, which is not trained on.
    """
    early = name == "early stopping"
    if early:
        fold_N = content_folds(train.content_id_NM, 5, seed=config.train.seed)
        val, train = (train.subset(np.flatnonzero(r)) for r in (fold_N == 0, fold_N != 0))
    trainer, best, weights = Trainer(config, initial_model(config, train)[0], train), -1.0, None
    set_objective(trainer, name)
    for step in range(config.train.steps):
        trainer.train_step(step)
        if early and (step + 1) % 50 == 0:
            found = figures(val, embed_dataset(trainer.model, val, progress=False))[0]
            if found > best:
                best, weights = found, deepcopy(trainer.model.state_dict())
            trainer.model.train()
    if weights is not None:
        trainer.model.load_state_dict(weights)
    return trainer.model.eval()


def measure(
    name: str, data: ProductDataset, config: Config, fold: int, fold_N: np.ndarray
) -> dict[str, list[float]]:
    """Train on the other folds; return the figures of this one, by part of the features."""
    own_N = np.array([not product.id.endswith(SECOND_VIEW) for product in data.products])
    trained_N = (fold_N != fold) & (own_N | config.train.second_views)
    held = data.subset(np.flatnonzero((fold_N == fold) & own_N))
    model = fit(name, data.subset(np.flatnonzero(trained_N)), config)
    embeddings = embed_dataset(model, held, progress=False)
    found = {"": figures(held, embeddings)}
    if name == "pretrained":
        width = config.model.projection_width
        parts = {"CCA alone": slice(width), "networks alone": slice(width, None)}
        for part, columns in parts.items():
            pooled_NMD = embeddings.pooled_NMD[:, :, columns]
            found[f", {part}"] = figures(held, replace(embeddings, pooled_NMD=pooled_NMD))
        for other, emb_ND in product_embeddings(model, held, embeddings).items():
            found[f", {other}"] = [float("nan"), category_map(held, emb_ND)]
    return found


def product_embeddings(
    model: ScaleModel, held: ProductDataset, embeddings: Embeddings
) -> dict[str, np.ndarray]:
    """Return other embeddings of products: side by side, and with the inputs of the projections."""
    trained_NMD, inputs = unit(embeddings.pooled_NMD), []
    computed = ProjectionInputs.compute(model.projections, held)
    for m, x_RC in computed.x.items():
        present_N1 = held.present_NM[:, INDEX[m], None]
        inputs.append(present_N1 * unit(x_RC.numpy())[computed.row_NM[:, INDEX[m]]])
    beside_ND, frozen_ND = trained_NMD.reshape(len(held), -1), np.concatenate(inputs, axis=1)
    both_ND = np.concatenate([unit(beside_ND), unit(frozen_ND)], axis=1)
    return {"modalities side by side": beside_ND, "frozen": frozen_ND, "frozen beside": both_ND}


def figures(held: ProductDataset, embeddings: Embeddings) -> list[float]:
    """Return mean Recall@10 over directions and the category's mAP@1."""
    products = ProductArrays.of(held, embeddings, None)
    found = direction_retrievals(products, ks=(10,)).values()
    recall = np.mean([direction.values["Recall@10"].mean() for direction in found])
    emb_ND, _ = subset_embedding(products.pooled_NMD, products.present_NM, MODALITIES)
    return [float(recall), category_map(held, emb_ND)]


def category_map(held: ProductDataset, emb_ND: np.ndarray) -> float:
    """Return mAP@1 of retrieval by category among the products with a nonzero embedding."""
    rows_Q = np.flatnonzero(np.abs(emb_ND).sum(1) > 0)
    emb_QD, products = emb_ND[rows_Q], [held.products[row] for row in rows_Q]
    labels, ids = [p.category for p in products], [p.id for p in products]
    found = category_retrieval(unit(emb_QD), unit(emb_QD), labels, labels, ids, ids, ks=(1,))
    return float(np.nanmean(found.values["mAP@1"]))


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
        base = choose_lengths(base, kept, tokenizer)
        lengths = {name: getattr(base.features, name) for name in ("text_length", "table_length")}
        # Validation products serve as training products here.
        kept = [replace(p, split="train") for p in kept]
        data = build_dataset(Catalogue(catalogue.folder, tuple(kept)), base, tokenizer, None)
        fold_of = dict(zip(data.ids, content_folds(data.content_id_NM, FOLDS, seed=0), strict=True))
        data = data.with_second_views()
        # A second view may have another content, and belongs to the fold of its product.
        fold_N = np.array([fold_of[id.removesuffix(SECOND_VIEW)] for id in data.ids])
        for name in tqdm(arguments.variants, desc=folder.name):
            found: dict[str, list[list[float]]] = {}
            for fold in range(FOLDS):
                config = configure("pretrained", VARIANTS[name] | {"seed": fold, "device": "cpu"})
                config = config.with_features(**lengths)
                config = fit_sizes(config, data)
                for part, values in measure(name, data, config, fold, fold_N).items():
                    found.setdefault(name + part, []).append(values)
            for variant, values in found.items():
                mean = np.mean(values, axis=0).tolist()
                results.setdefault(variant, {})[folder.name] = mean
            facts = provenance(0, started, "cpu")
            write_json(arguments.out, {"provenance": facts, "Recall@10, mAP@1": results})
    for name, by_catalogue in results.items():
        cells = [f"{values[0]:.3f} / {values[1]:.3f}" for values in by_catalogue.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
