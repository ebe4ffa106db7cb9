# %% [markdown]
# # 16 · Your own products
#
# **The question.** You have a CSV file and a folder of pictures. How do you get from there to a model that finds
# products by words and by pictures? And how do you notice that something went wrong on the way?
#
# You will build, from a CSV file with the usual errors:
# - a catalogue, by hand in fifteen lines, and with `scale import`;
# - a list of all its problems, with id, file and reason;
# - a model on the **features** (特征) of public models, its results compared with chance, and a search;
# - a mistake that no check of files can detect, and a test that detects it.
#
# The short version, for a catalogue in one of twenty formats ([importing](../docs/importing.md)):
#
# ```
# scale import SOURCE --out my_shop
# scale inspect my_shop
# scale pretrain --preset pretrained --catalogue my_shop --out runs/mine
# scale evaluate runs/mine --catalogue my_shop --baselines
# scale search "ceramic mug for tea" --run runs/mine --in my_shop
# ```
#
# Code: `scale/data/importers/csv.py`. More: [the catalogue](../docs/catalogue.md), [public
# models](../docs/backbones.md). About 40 seconds.

# %%
import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

import scale
from scale.notebook import approx, samples, setup

setup(seed=0)

# %% [markdown]
# ## A realistic CSV file
#
# First we write the CSV file of a small shop. Take 160 products of the sample shop, forty of each of its four largest
# categories, with a title, a few attributes and a picture. Everything happens in a temporary folder, which becomes the
# working directory, so that all paths below are short.

# %%
shop, workplace = samples(), TemporaryDirectory()
os.chdir(workplace.name)
Path("pictures").mkdir()
taken, rows = dict.fromkeys(("mug", "cushion", "backpack", "bottle"), 40), []
for p in shop:
    if p.image is None or not taken.get(p.category):
        continue
    taken[p.category] -= 1
    shutil.copyfile(p.image, f"pictures/{p.id}.jpg")
    row = {"SKU": p.id, "Product": p.text or "", "Category": p.category, "Photo": f"{p.id}.jpg"}
    keys = ("brand", "material", "colour")
    rows.append(row | {key.title(): p.labels[key] for key in keys})
print(len(rows), "rows; the first:", rows[0])

# %% [markdown]
# Real files contain errors. We add six common ones: an empty title, a NaN (which spreadsheet programs write for an
# empty cell), a picture that was truncated during copying, a missing picture, an id that occurs twice, and a path that
# leads out of the folder. The last one may be an accident, or an attempt to read another file of your machine.

# %%
rows[3]["Product"] = ""
rows[5]["Colour"] = "NaN"
broken = Path("pictures") / rows[8]["Photo"]
broken.write_bytes(broken.read_bytes()[:300])
rows[11]["Photo"] = "lost.jpg"
rows[20]["SKU"] = rows[19]["SKU"]
Path("secret.jpg").write_bytes(b"not for you")
rows[30]["Photo"] = "../secret.jpg"
with Path("products.csv").open("w", encoding="utf-8", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)

# %% [markdown]
# ## By hand
#
# A catalogue has one JSON object per line, with `id`, `title`, `category`, `image`, and a `table` of attribute-value
# pairs (see notebook 02). This step involves two decisions:
#
# - **What does an empty cell mean?** CSV has no `null`. So an empty cell, or NaN, must become "absent", not an empty
#   title. Other words, such as "none", may be values: a bag whose pattern is none.
# - **What if a picture is missing?** Drop neither the row nor the path; keep the path unchanged. Opening the catalogue
#   reports it with a reason, so that it can be repaired.


# %%
def cell(text):
    return None if text.strip().lower() in ("", "nan", "null", "n/a", "-") else text.strip()


def copied(photo, out):
    source = (Path("pictures") / photo).resolve()
    if not source.is_relative_to(Path("pictures").resolve()):
        return photo  # never read outside of the folder; the catalogue will refuse it
    if source.is_file():
        (out / "image").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / "image" / photo)
    return f"image/{photo}"


# %% [markdown]
# Every other column becomes an attribute of the table.


# %%
def record_of(row, out):
    attributes = [name for name in row if name not in ("SKU", "Product", "Category", "Photo")]
    pairs = [[name, cell(row[name])] for name in attributes]
    record = {"id": cell(row["SKU"]), "title": cell(row["Product"])}
    record |= {"category": cell(row["Category"]), "image": copied(row["Photo"], out)}
    return record | {"table": [pair for pair in pairs if pair[1]] or None}


with Path("products.csv").open(encoding="utf-8", newline="") as file:
    records = [record_of(row, Path("by_hand")) for row in csv.DictReader(file)]
lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
Path("by_hand/products.jsonl").write_text("".join(lines), encoding="utf-8")
print(lines[0])

# %% [markdown]
# ## By command
#
# `scale import` does the same, and also handles encodings, delimiters, links, clips and sounds. The string is the
# command that you would type in a shell. `cli.main` runs it here; 0 means success.

# %%
from scale import cli

command = (
    "import products.csv --images pictures --out my_shop "
    "--columns id=SKU title=Product category=Category image=Photo"
)
assert cli.main(command.split()) == 0
written = Path("my_shop/products.jsonl").read_text(encoding="utf-8").splitlines()
assert [json.loads(line) for line in written] == records

# %% [markdown]
# Both wrote the same records. Encoding and delimiter are detected and printed, and `--encoding gb18030` or
# `--delimiter ";"` overrides them. Clips and sounds are columns `video` and `audio`, with files in the same folder.
#
# The report in the middle is the first thing to read: it lists what each column was taken for. `scale import
# products.csv` without `--out` prints it and writes nothing. Exports of shops (Shopify, WooCommerce, Magento), Excel,
# parquet, data frames and public data sets need no `--columns`: see [importing](../docs/importing.md).
#
# ## Its problems
#
# `scale.open` checks everything that needs no decoding; `summary` also decodes every file. A product keeps its valid
# values; a refused value counts as missing and is listed.

# %%
catalogue = scale.open("my_shop")
inspection = catalogue.summary(progress=False)
listed = [(p.id, p.modality or "record", p.kind, Path(p.path).name) for p in inspection.problems]
pd.DataFrame(listed, columns=["id", "what", "reason", "file"])

# %% [markdown]
# Four problems for six errors. The empty title and the NaN are not among them: they mean "absent", and absent is not a
# problem. But the counts show them: the title and the colour are missing.

# %%
assert catalogue[rows[3]["SKU"]].text is None
assert "Colour" not in dict(catalogue[rows[5]["SKU"]].table)
assert len(catalogue) == 159, "the second product of one id is left out"
assert not list(Path("my_shop").rglob("secret*")), "nothing from outside was copied"
assert len(inspection.problems) == 4

# %% [markdown]
# For a nightly job, open the catalogue in strict mode: the first problem raises an error.

# %%
try:
    scale.open("my_shop", strict=True)
except ValueError as error:
    print(str(error).replace(os.sep, "/"))

# %% [markdown]
# The whole report on one page (in a shell: `scale inspect my_shop`). Look at three parts. *Top left*: which modalities
# do your products have? *Right*: is there a long tail? *Check table*: the column with leaks counts products of the
# test split whose content also occurs in another split. The model would have memorised those, so your results would be
# too good.

# %%
scale.plot.catalogue(catalogue)

# %% [markdown]
# ## Splits
#
# Our CSV has no column for the **split** (划分) into training, validation and test products. So a hash of title and
# table decides, 70 / 10 / 20. The same product is always in the same split, also after products are added. Products
# with the same words (up to case and white space) or the same picture share a split, so they cannot leak.

# %%
names = [p.split for p in scale.data.with_splits(catalogue)]
print({name: names.count(name) for name in ("train", "val", "test")})
again = scale.data.with_splits(replace(catalogue, products=catalogue.products[::-1]))
assert [p.split for p in again][::-1] == names

# %% [markdown]
# ## Train
#
# 109 training products are too few to learn from nothing how a mug looks and what "ceramic" means. So do not start
# from nothing: the preset `pretrained` takes the features of **public models**, MiniLM for titles and tables,
# EfficientNet-Lite0 for pictures. They run once, frozen, and their outputs are cached. Trained are only
# **projections** (投影) that bring the modalities of one product together, by the contrastive losses of notebook 01.
# There is nothing to configure: modalities that the catalogue lacks are left out.
#
# Problems are logged as warnings. We have seen ours, so we only log errors.

# %%
import logging

logging.getLogger("scale").setLevel(logging.ERROR)
run = scale.pretrain("my_shop", "pretrained", out="runs/mine", progress=False)

# %% [markdown]
# In a shell: `scale pretrain --preset pretrained --catalogue my_shop --out runs/mine`.
#
# Did it learn? First look at the loss. Guessing among $n$ products costs $\ln n$ for a pair of modalities, and we have
# three pairs. (The log begins at step 10, and the projections start from a solution in closed form, so its first line
# is below guessing already.)


# %%
def logged_losses(run):
    metrics = scale.training.read_metrics(run.folder.folder)
    return [line["loss/contrastive"] for line in metrics if "loss/total" in line]


first, *_, last = logged_losses(run)
guess = 3 * np.log(names.count("train"))
print(f"guessing {guess:.1f}, first line of the log {approx(first, 1)}, last {approx(last, 1)}")
assert last < 0.6 * guess

# %% [markdown]
# ## Measure
#
# A falling loss shows that the *training* products are learned, possibly only memorised. So measure on the test split,
# and compare each number with two baselines: **chance**, and the **same model untrained** (public features, random
# projections).
#
# Which metric? **Instance retrieval** (实例检索): does the picture of a product find *its own* title among all titles of
# the test split? Recall@10 is the share of queries with the right one among the first ten. The contrastive loss trains
# exactly this.

# %%
results = run.evaluate("my_shop", "test")  # a data frame, one row per number
three = ("image", "text", "table")
directions = [f"{a}->{b}" for a in three for b in three if a != b]
STAGES = ["chance", "untrained", "trained"]


def recalls(results):
    """Recall@10 of each direction (row) and model (column)."""
    found = results[(results.task == "retrieval.instance") & (results.metric == "Recall@10")]
    return found.pivot(index="item", columns="model", values="value").loc[directions, STAGES]


measured = recalls(results)
pd.concat([measured, measured.mean().to_frame("mean").T]).map(approx)

# %% [markdown]
# The untrained model is at chance: the public models were never shown which title belongs to which picture. The
# trained one is far above, on products that it has not seen.

# %%
mean = measured.mean()
assert mean["trained"] > mean["chance"] + 0.2
assert mean["trained"] > mean["untrained"] + 0.2
assert abs(mean["untrained"] - mean["chance"]) < 0.15

# %% [markdown]
# What would the same products give from nothing? The preset `micro` learns its words and pictures from our 109
# products alone (60 steps, the contrastive losses only):

# %%
settings = {
    "model": {"modalities": ("text", "table", "image")},
    "loss": {"tasks": ("contrastive",)},
}
settings |= {"steps": 60, "batch_size": 32, "learning_rate": 2e-3}
nothing = scale.pretrain("my_shop", "micro", out="runs/nothing", progress=False, **settings)
from_nothing = recalls(nothing.evaluate("my_shop", "test"))["trained"].mean()
print(
    f"mean Recall@10: from nothing {approx(from_nothing)}, public models {approx(mean['trained'])}"
)
assert mean["trained"] > from_nothing + 0.1

# %% [markdown]
# The difference is the reason for the recommendation; [the findings](../docs/findings.md) show it on larger catalogues.
#
# Now a number that looks better but is less informative: mAP@1 by **category**, the share of test products whose
# nearest other product has the same category; in brackets the 95 % interval.

# %%
found = results[(results.task == "retrieval.category") & (results.metric == "mAP@1")]
by_category = found.set_index(["model", "item"])
rows_of = {"all it has": "text+table+image+video+audio", "text": "text", "image": "image"}
table = {}
for stage in STAGES:
    cells = {row: by_category.loc[(stage, subset)] for row, subset in rows_of.items()}
    text = "{} [{}, {}]".format
    table[stage] = {row: text(*(approx(e[k]) for k in ("value", "low", "high")))
                    for row, e in cells.items()}  # fmt: skip
print(f"queries: {by_category.loc[('trained', rows_of['all it has'])].n:.0f}")
pd.DataFrame(table)

# %% [markdown]
# Look at the untrained column: it is almost perfect. Four categories are no challenge for public models; a picture of a
# cushion resembles other cushions under any projection. So this number says nothing about our training, however good
# it looks. If untrained is as good as trained, choose a harder question.

# %%
for subset in ("text", "image"):
    assert by_category.loc[("untrained", subset)].value > 0.8

# %% [markdown]
# ## Search
#
# `search` embeds every product as one vector: the **gallery** (候选库). A query is words, or the path of a picture. The
# picture below is a *second* photo of a bottle, from another angle, which is not in the catalogue.

# %% tags=["nbval-ignore-output"]
# not compared: another processor may order near neighbours differently
second = next(p for p in shop if p.category == "bottle" and p.split == "test").alt.image
asked = {
    "cushion": scale.Product(id="words 1", text="soft cotton cushion for a cosy evening"),
    "mug": scale.Product(id="words 2", text="ceramic mug for tea"),
    "bottle": scale.Product(id="photo", image=second),
}
answers = {wanted: run.search(query, catalogue, k=5) for wanted, query in asked.items()}
hits = {wanted: list(found.category == wanted) for wanted, found in answers.items()}
answers["mug"].drop(columns="similarity")

# %% [markdown]
# In a shell: `scale search "ceramic mug for tea" --run runs/mine --in my_shop`, or with the path of a picture instead
# of the words. A green frame marks the category of the query.

# %%
print("right among the first five:", {wanted: approx(sum(h), 0) for wanted, h in hits.items()})
assert sum(map(sum, hits.values())) >= 12
pairs = [
    [(catalogue[i], s) for i, s in zip(found.id, found.similarity, strict=True)]
    for found in answers.values()
]
queries = [replace(query, category=wanted) for wanted, query in asked.items()]
scale.plot.retrieval_sheet(queries, pairs, list(hits.values()))

# %% [markdown]
# ## When it does not learn
#
# Now a mistake that can cost a week. Someone sorts the column of photos, or deletes one cell in it, and every photo
# moves up by one row. All files exist, all decode, all ids are valid.

# %%
right = [p for p in catalogue if p.image]
moved = [p.image for p in right[1:]] + [right[0].image]
wrong = {p.id: replace(p, image=image) for p, image in zip(right, moved, strict=True)}
shifted = replace(catalogue, products=tuple(wrong.get(p.id, p) for p in catalogue))
problems = shifted.summary(progress=False).problems
assert len(problems) == len(inspection.problems)
print("problems of the shifted catalogue:", len(problems), "- the same as before")

# %% [markdown]
# No check of files can detect it. Looking at it takes five seconds. Always look at a sheet of your own products.

# %%
some = shifted.products[24:40]
scale.plot.products([replace(p, name=f"{p.category}: {p.text or 'no title'}") for p in some])

# %% [markdown]
# Suppose that it is not noticed, and we train with the same settings, products and steps.

# %%
blind = scale.pretrain(shifted, "pretrained", out="runs/shifted", progress=False)
losses = logged_losses(blind)
print(f"loss at the end {approx(losses[-1], 1)}; with the right photos it was {approx(last, 1)}")
assert losses[-1] < 0.6 * guess

# %% [markdown]
# The loss falls all the same! The model has memorised which photo is next to which title. Instance retrieval on the
# test split reveals the mistake, direction by direction:

# %%
compared = recalls(blind.evaluate(shifted, "test"))[["chance", "trained"]]
compared = compared.rename(columns={"trained": "shifted photos"})
compared["right photos"] = measured["trained"]
with_image = [name for name in directions if "image" in name]
assert (
    compared.loc[with_image, "shifted photos"].mean()
    < compared.loc[with_image, "chance"].mean() + 0.15
)
assert compared.loc[["text->table", "table->text"], "shifted photos"].min() > 0.45
compared.map(approx)

# %% [markdown]
# All directions with the picture are at chance, while titles and tables still find each other. So this table also
# locates the fault: it is the photos. For single wrong photos, `scale inspect my_shop --mismatch runs/mine` lists the
# products whose picture fits the rest least.
#
# So if a model does not learn, use this list. The cheapest checks come first.
#
# | symptom | check | likely cause |
# |---|---|---|
# | loss falls, test at chance | a contact sheet | photos and rows do not belong together |
# | loss stays near $P \ln B$ (P pairs, batch B) | `metrics.jsonl`: learning rate, gradient norm | rate too low or far too high; too few steps |
# | loss falls, test a little above chance | number of products | overfitting: preset `pretrained`; fewer steps |
# | one modality at chance | `scale inspect`: lengths, duplicates | one default picture for all; titles in another language than the tokenizer's |
# | numbers too good | `scale inspect`: leaks | copies of a product in train and test |
# | loss is NaN | the last lines of the log | rate; a feature file with NaN in it |
# | none of these | `scale doctor --catalogue my_shop` | it overfits one batch; if that fails, the fault is in the code |
#
# ## A checklist
#
# 1. Keep the CSV. Repair errors *there* and import again; never edit `products.jsonl`.
# 2. `scale inspect`: read every problem, and either repair it or accept the value as missing.
# 3. Look at 24 products with their pictures and titles.
# 4. Add a `split` column if you have a reason (by date, by seller); otherwise the hash decides.
# 5. Train with `pretrained`: a minute on a laptop. With many products and a GPU, compare it with `finetune` and `small`.
# 6. Report each number with chance and the untrained model, its interval and the number of queries.
# 7. Keep the run folder: settings, seed and `problems.jsonl` are in it.
#
# ## Exercise 1
#
# Write the test that would have caught the shifted photos, without any training. Take the mean colour of each picture
# (three numbers) and the colour word in its table. If photos and rows belong together, pictures of one colour word are
# alike. Measure the share of the variance *between* the words, and compare it with shuffled rows (notebook 02).


# %% tags=["solution"]
def mean_colours(products):
    return np.stack(
        [np.asarray(scale.data.load_image(p.image).resize((16, 16))).mean((0, 1)) for p in products]
    )


def explained(mean_N3, words_N):
    between = 0.0
    for word in np.unique(words_N):
        apart_3 = mean_N3[words_N == word].mean(axis=0) - mean_N3.mean(axis=0)
        between += (words_N == word).mean() * (apart_3**2).sum()
    return between / mean_N3.var(axis=0).sum()


# %% [markdown]
# The broken picture is excluded from both. The numbers:

# %% tags=["solution"]
bad_file, rng = rows[8]["Photo"], np.random.default_rng(0)
usable = [p for p in right if "Colour" in dict(p.table)]
usable = [p for p in usable if bad_file not in (p.image.name, wrong[p.id].image.name)]
words_N = np.array([dict(p.table)["Colour"] for p in usable])
colours_N3 = mean_colours(usable)
kept = explained(colours_N3, words_N)
lost = explained(mean_colours([wrong[p.id] for p in usable]), words_N)
chance_R = [explained(colours_N3, rng.permutation(words_N)) for _ in range(200)]
print(f"right photos {kept:.2f}, shifted {lost:.2f}")
print(f"chance {min(chance_R):.2f} to {max(chance_R):.2f}")
assert kept > max(chance_R) + 0.05
assert lost < max(chance_R) + 0.05

# %% [markdown]
# ## Exercise 2
#
# Which modality is best for search in your catalogue? Search for "ceramic mug for tea" three times, in galleries that
# contain only the text, only the table, and only the picture of the products. Count the mugs among the first ten.

# %% tags=["solution"]
for modality in ("text", "table", "image"):
    found = run.search("ceramic mug for tea", catalogue, k=10, subset=modality)
    print(f"{modality}: {approx((found.category == 'mug').sum(), 0)} mugs of 10")
# Words find pictures although pictures contain no words: the contrastive loss aligned them.
os.chdir(Path(samples().folder).parent)
workplace.cleanup()

# %% [markdown]
# ## What to remember
#
# - The importer translates, the catalogue validates: a bad cell becomes a listed problem, never a silent gap.
# - An empty cell means absent; a wrong path is a problem; nothing outside of your folder is read.
# - Start from public models (`--preset pretrained`): a few hundred products suffice.
# - A falling loss proves nothing about new products. Measure on the test split, and compare with chance and the
#   untrained model.
# - No check of files detects photos that moved by one row. Look at your products, and at instance retrieval.
#
# ## Five questions
#
# 1. Why should an importer not skip a row whose picture is missing?
# 2. Two rows have the same id. Which one is kept, and where is the other reported?
# 3. Why does the hash for the splits use title and table, and not the row number?
# 4. You train on 3 modalities in batches of 64. What is the contrastive loss of a model that guesses?
# 5. The loss has fallen to 0.5 and Recall@10 on the test split is at chance. Name two causes, and how to distinguish
#    them.
#
# <details><summary>Answers</summary>
#
# 1. The product still has its title and its table. And a row that disappears is not reported: the number of products
#    is smaller, and the path cannot be repaired.
# 2. The first one. The second is listed by `summary` and in `problems.jsonl`, with id and reason.
# 3. Row numbers change when products are added or sorted; then products would move between training and test, and
#    the test would contain products that a model was trained on. And copies of a product share words, so they share a
#    split.
# 4. Three pairs, each with $\ln 64$ = 4.16: 12.5.
# 5. Photos and rows do not belong together, or too few products (overfitting). A sheet of products shows the first, and
#    so do the directions of instance retrieval: only those of one modality are at chance. With overfitting all are low,
#    and fewer steps or public features help.
#
# </details>
#
# ## Pictures for your slides
#
# ```
# scale figures catalogue contact_sheet losses retrieval_sheet
# ```
#
# For your own: `--catalogue my_shop --run runs/mine`. Add `--lang zh` for Chinese labels, `--style slides` for a
# projector. All terms: [glossary](../docs/glossary.md).
