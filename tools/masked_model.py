"""`python -m tools.masked_model notebooks/models`: train the models of notebooks 04 to 08.

The demo's model (450 steps, six losses, 502 products) hardly uses one modality to predict another.
These are trained on the five masked losses alone, for longer and on more descriptions: each
training product of the sample shop is described by six sellers, with its two pictures in turn, and
products of another shop (seed 1) are added. No product of the validation and test splits is among
them. `masked` is the model of the first stage (04, 07, 08); `masked_words` was then trained to
predict hidden words and values of colour, material, pattern and size (05, 06). About 20 minutes on
one idle core, of which the pictures take two.

The folders are run folders with weights in half precision, which `scale.load` opens like any other.
"""

import argparse
import json
import shutil
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import clip_grad_norm_
from tqdm.auto import tqdm

from scale.config import Config, MaskConfig, tiny
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.product import Product
from scale.data.tokenizer import make_tokenizer
from scale.demo import samples_folder
from scale.losses import WordPieces, mask_batch, masked_token_loss, scale_loss
from scale.modalities import TASKS
from scale.model.storage import WEIGHTS
from scale.seeding import generator
from scale.studies import Context, in_context, mask_entities, mask_words
from scale.training.optimizer import learning_rate
from scale.training.run import (
    RunFolder,
    TrainedRun,
    build_dataset,
    fit_vocabulary,
    seeded_model,
)
from scale.training.trainer import Trainer
from tools.sample_shop.build import plan
from tools.sample_shop.item import Item, present
from tools.sample_shop.picture import picture
from tools.sample_shop.sound import sound, write_sound
from tools.sample_shop.text import COLOUR_WORDS, MATERIAL_WORDS, PATTERN_WORDS, table, titles

FIRST_STEPS = 1000
"""Steps of the first stage, of a schedule of 2,000."""
SELLERS = 6
"""Descriptions of each training product of the sample shop."""
SHOP_SEED, SHOP_SIZE, SHOP_USED = 1, 4000, (400, 750)
"""The other shop: its seed and size, and how many of its products the first and
the later stages use."""
BATCH = 32
"""Products per step of the later stages."""
TRIES = 12
"""Titles drawn until one contains the wanted word."""


def config() -> Config:
    """Return the preset `tiny` with finer pictures, a deeper JCT and the masked losses alone."""
    base = tiny().with_features(
        text_length=24, table_length=48, image_size=128, patch_size=16, frame_size=48
    )
    train = replace(base.train, steps=2000, batch_size=32, eval_every=0, checkpoint_every=125)
    return replace(
        base,
        model=replace(base.model, encoder_layers=1, jct_layers=3),
        mask=MaskConfig(rate=0.5),
        loss=replace(base.loss, tasks=TASKS),
        train=replace(train, keep_every=250),
    )


def first_stage(catalogue: Catalogue) -> TrainedRun:
    """Train for the first `FIRST_STEPS` of the schedule of `config`, as `scale pretrain` does."""
    settings = config()
    tokenizer = make_tokenizer(catalogue.split("train").products, settings.features)
    settings = fit_vocabulary(settings, tokenizer)
    data = build_dataset(catalogue, settings, tokenizer, None)
    train = data.subset(data.rows_of("train"))
    trainer = Trainer(settings, seeded_model(settings), train)
    for step in tqdm(range(FIRST_STEPS), desc="first stage"):
        trainer.train_step(step)
    return TrainedRun(RunFolder(Path()), settings, tokenizer, data.normaliser, trainer.model)


def describe(item: Item, seller: int) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the title and table of another seller; odd ones name the colour, even ones the
    material, if they find a title that does within `TRIES`."""
    words = COLOUR_WORDS[item.colour] if seller % 2 else MATERIAL_WORDS[item.material]
    for attempt in range(TRIES):
        other = replace(item, seed=(*item.seed, seller, attempt))
        title = titles(other)[0][0]
        if words[0][0] in title.lower():
            break
    return title, tuple(map(tuple, table(other)))


def sample_shop() -> Iterator[Product]:
    """Yield the sample shop, with `SELLERS` descriptions of each product of the split train."""
    items = {item.id: item for item, _ in plan(0, 720)}
    for product in Catalogue.open(samples_folder()).products:
        if product.split != "train":
            yield product
            continue
        yield product
        for seller in range(1, SELLERS):
            title, pairs = describe(items[product.id], seller)
            yield replace(
                product,
                id=f"{product.id}-{seller}",
                text=title if product.text else None,
                table=pairs if product.table else None,
                image=product.alt.image if seller % 2 and product.alt.image else product.image,
            )


def other_shop(media: Path, used: int) -> Iterator[Product]:
    """Yield two descriptions of each of `used` new products, with a picture and a sound."""
    for name in ("image", "audio"):
        (media / name).mkdir(parents=True, exist_ok=True)
    for item, _ in plan(SHOP_SEED, SHOP_SIZE)[:used]:
        has = present(item)
        image, audio = media / f"image/{item.id}.jpg", media / f"audio/{item.id}.ogg"
        if "image" in has and not image.exists():
            picture(item, "main").save(image, quality=84)
        if "audio" in has and not audio.exists():
            write_sound(audio, sound(item, "main"))
        for seller in (1, 2):
            title, pairs = describe(item, seller)
            yield Product(
                id=f"other-{item.id}-{seller}",
                split="train",
                category=item.category.name,
                text=title if "text" in has else None,
                table=pairs if "table" in has else None,
                image=image if "image" in has else None,
                audio=audio if "audio" in has else None,
            )


COLOURS, MATERIALS = (
    [pairs[0][0] for pairs in words.values()] for words in (COLOUR_WORDS, MATERIAL_WORDS)
)
WORDS = [*COLOURS, *MATERIALS, *(pair[0] for pair in PATTERN_WORDS.values())]
"""Words that the later stages hide in titles."""
NAMES = ("Colour", "Color", "Shade", "Material", "Made of", "Main material", "Pattern", "Print",
         "Motif", "Size class", "Format", "Shipping class")  # fmt: skip
"""Attributes whose values they hide in tables."""
KEEP = {"image": 0.9, "audio": 0.5, "text": 0.4, "table": 0.3, "video": 0.3}
"""Probability that a step keeps another modality."""


@dataclass(frozen=True)
class Stage:
    """Steps that mostly hide attribute words and values."""

    steps: int
    schedule: int
    """Steps of the whole schedule of the learning rate (warm-up and cosine)."""
    rate: float
    cycle: tuple[str, ...]
    """What the steps hide, in turn: `colours` and `materials` in titles that name one, `values` in
    tables, `all`: the five tasks."""


STAGES = (
    Stage(600, 1600, 1.5e-3, ("colours", "materials", "colours", "values", "colours", "all")),
    Stage(200, 200, 8e-4, ("colours", "materials", "values", "materials", "colours", "all")),
)
"""The second and the third stage."""


def train_stage(run: TrainedRun, train: ProductDataset, stage: Stage) -> None:
    """Train a model in place, mostly on hidden attribute words and values.

    Random masking hides a colour in 4 of 100 cases. Hiding whole words and values that matter is
    the idea of ERNIE (Sun et al., 2019).
    """
    model, pieces = run.model.train(), WordPieces.of(run.tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.rate, weight_decay=0.05)
    draw = generator("cpu", run.config.train.seed, 2)
    rows_of = {
        name: [k for k, p in enumerate(train.products) if names_one(p, words) and p.image]
        for name, words in (("colours", COLOURS), ("materials", MATERIALS))
    }
    rows_of["values"] = [k for k, p in enumerate(train.products) if p.table]
    rows_of["all"] = list(range(len(train)))
    for step in tqdm(range(stage.steps), desc="words and values"):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, stage.schedule, stage.rate, 0.05)
        kind = stage.cycle[step % len(stage.cycle)]
        picked = torch.randint(len(rows_of[kind]), (BATCH,), generator=draw).tolist()
        rows = [rows_of[kind][k] for k in dict.fromkeys(picked)]
        if kind == "all":
            masked = mask_batch(train.collate(rows), run.config.mask, pieces, (2, step), TASKS)
            loss = scale_loss(model(masked.batch, masked.hidden), masked, run.config.loss).total
        else:
            modality = "table" if kind == "values" else "text"
            hide = mask_entities if kind == "values" else mask_words
            masked = hide(train, NAMES if kind == "values" else WORDS, rows=rows)
            kept = tuple(m for m, p in KEEP.items() if torch.rand(1, generator=draw) < p)
            masked = in_context(masked, modality, Context(kept))
            logits_NV = model(masked.batch, masked.hidden).predictions[modality]
            loss = masked_token_loss(logits_NV, masked.targets[modality])
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()


def names_one(product: Product, words: Collection[str]) -> bool:
    """Return whether the title contains one of the words."""
    return bool({*words} & {*(product.text or "").lower().replace(",", " ").split()})


def ship(run: TrainedRun, out: Path, facts: dict) -> None:
    """Write what `scale.load` reads, with weights in half precision, and how it was trained."""
    target = RunFolder(out)
    shutil.rmtree(out, ignore_errors=True)
    best = target.checkpoint("best")
    best.mkdir(parents=True)
    run.model.save_pretrained(best)
    tensors = {name: tensor.half() for name, tensor in load_file(best / WEIGHTS).items()}
    save_file(tensors, best / WEIGHTS, {"format": "pt"})
    run.tokenizer.save_pretrained(target.tokenizer)
    run.normaliser.save(target.normaliser)
    train = replace(run.config.train, steps=sum(facts["steps"]))
    replace(run.config, train=train).save(target.config)
    (out / "made.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Render, train in three stages, write both models."""
    parser = argparse.ArgumentParser(prog="python -m tools.masked_model", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the shipped model")
    parser.add_argument("--work", type=Path, default=Path("build/masked_model"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    shop, own = Catalogue.open(samples_folder()), tuple(sample_shop())
    first, second = (
        replace(shop, products=(*own, *other_shop(given.work / "shop", used))) for used in SHOP_USED
    )
    commit = ["git", "rev-parse", "--short", "HEAD"]
    facts = {
        "command": "python -m tools.masked_model notebooks/models",
        "commit": subprocess.run(commit, capture_output=True, text=True).stdout.strip(),
        "torch": torch.__version__,
    }
    run = first_stage(first)
    facts |= {"seed": run.config.train.seed, "steps": [FIRST_STEPS]}
    ship(run, given.out / "masked", facts | {"descriptions": len(first.split("train").products)})
    data = build_dataset(second, run.config, run.tokenizer, run.normaliser)
    for stage in STAGES:
        train_stage(run, data.subset(data.rows_of("train")), stage)
        facts["steps"].append(stage.steps)
    facts["descriptions"] = len(second.split("train").products)
    ship(run, given.out / "masked_words", facts)


if __name__ == "__main__":
    main()
