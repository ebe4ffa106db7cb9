# %% [markdown]
# # 00 · The tour: five minutes with SCALE
#
# **The question.** A shop describes a thing in five ways: a title, a table of attributes, a picture, a
# clip, a sound. Can a program learn, with no one naming anything for it, that these five belong together?
#
# That is **self-supervised pretraining** (自监督预训练) with five **modalities** (模态): text, table, image,
# video, audio (文本、表格、图像、视频、音频). The method is SCALE, from the paper *M5Product* (CVPR 2022).
#
# In this notebook you will
# - look at one product, and listen to it;
# - load a model that this project trains on 720 products (or train it: one to two minutes, once);
# - search by words, by a sound, by a whole product;
# - see the score matrix S′, which the paper is named for;
# - choose where to go next.
#
# Nothing here asks you to understand the code. Each later notebook takes one piece apart. About 15 seconds.

# %%
import pandas as pd

import scale
from scale.notebook import approx, demo_run, play, samples, setup

setup(seed=0)

# %% [markdown]
# ## Meet a product
#
# The project ships with a small shop, made by a program: `data_samples`. Every product has a title, a table
# and so on, or lacks some of them, as in real shops. This one has all five.

# %%
shop = samples()
bell = shop["p0040"]
scale.plot.product(bell)

# %% [markdown]
# Press play: this is its clip, and its sound. They were made by different "sellers" from the same hidden
# traits. Nobody tells the model that a bell rings: it must find out that this kind of picture comes with
# this kind of sound.

# %%
play(bell, "video")

# %% [markdown]
# And the sound:

# %%
play(bell, "audio")

# %% [markdown]
# ## How many have everything?
#
# Most do not. **Incomplete modalities** (模态缺失) are the paper's second challenge, after the interaction of
# modalities (模态交互). Below, of all 720 products, the share that has each one.

# %%
share = {m: sum(m in product.present for product in shop) / len(shop) for m in scale.MODALITIES}
share["all five"] = sum(len(product.present) == 5 for product in shop) / len(shop)
assert share["all five"] < 0.4
pd.DataFrame({"share of products": share}).round(2)

# %% [markdown]
# ## The model
#
# `demo_run` loads what `make demo` trained. If it is not there, it trains it now: please wait for the bar.
# The model has five **encoders**, one for each modality. Each turns its modality into one **feature**
# (特征): 64 numbers. Training pulls the five features of one product together and pushes those of different
# products apart. That is **contrastive learning** (对比学习), notebook 01.

# %%
run = demo_run()
test = shop.split("test")  # products that training never saw
millions = sum(p.numel() for p in run.model.parameters()) / 1e6
print(f"{millions:.1f} million parameters, {run.config.train.steps} steps of training")
print(f"{len(test)} products that it has never seen")

# %% [markdown]
# ## Search
#
# Words in, products out. The words go through the text encoder, every product of the test split through all
# encoders that it has something for, and the products whose features point the same way come first. The
# **cosine** says how much they point the same way: 1 is the same direction, 0 a right angle.

# %% tags=["nbval-ignore-output"]
# not compared: another processor may order near neighbours differently

found = run.search("for tea lovers, with handle", test, k=5)
found["similarity"] = found["similarity"].map(approx)
found

# %% [markdown]
# Now a search that has no words at all. Three **sounds** are the query, and products are found by their
# **picture** only. A green frame with a tick: the same category as the query. No title, no name, nothing
# that both sides share: the model has to know what a thing that sounds like this looks like.

# %%
asked = [shop[i] for i in ("p0040", "p0574", "p0278")]
sounds = [scale.Product(id=p.id, audio=p.audio) for p in asked]
answers = [run.search(sound, test, k=5, subset="image") for sound in sounds]

# %% [markdown]
# The sheet has a row for each query.

# %%
results = [[(shop[i], s) for i, s in zip(a["id"], a["similarity"], strict=True)] for a in answers]
hits = [[p.category == q.category for p, _ in row] for q, row in zip(asked, results, strict=True)]
scale.plot.retrieval_sheet(sounds, results, hits, query_subset=("audio",))

# %% [markdown]
# It is a small model and a small shop, and it makes mistakes. Do not judge it by three rows: *measure*. With
# 146 test products and every sound as a query, how often is the picture of the **same product** among the
# first ten?

# %%
results = run.evaluate(shop, "test").set_index(["task", "model", "item", "metric"])
recall, chance = (
    results.loc[("retrieval.instance", model, "audio->image", "Recall@10")]
    for model in ("trained", "chance")
)
low, high = approx(recall.low), approx(recall.high)
print(
    f"Recall@10, sound to picture: {approx(recall.value)} [{low}, {high}], {recall.n:.0f} queries"
)
print(f"by chance: {chance.value:.2f}")
assert recall.low > chance.value

# %% [markdown]
# In brackets stands the 95 % **confidence interval** (置信区间): other test products would give another
# number, probably one in there. No number in this project stands without one. The interval lies well above
# chance, so the model knows something; notebook 14 says how much, and where simple features beat it.
#
# ## S′, the score matrix
#
# For one product, take the cosine between every two of its five features. That table is S, the
# **inter-modality score matrix** (模态间得分矩阵). Multiply each cell by its share in its row, and you have S′
# (模态匹配分数). The paper uses S′ to weigh its fifteen losses. Here it is, for the bell.

# %%
scale.plot.scores(run.scores(bell))

# %% [markdown]
# Read it by row. Dark off-diagonal cells: these two agree. The diagonal of S is 1, because everything agrees
# with itself. Whether such weights help is a question that one can measure, and the answer, on our data, is
# no: uniform weights do as well (notebooks 09 and 11).
#
# ## Exercises
#
# **1.** Search for something of your own: change the words in the search cell. Words that no title has ever
# used do not help much: this model learned its language from 502 titles.

# %% tags=["solution", "nbval-ignore-output"]
# not compared: another processor may order near neighbours differently
for words in ("something for music fans", "a blue thing for sport"):
    best = run.search(words, test, k=3)
    print(words, "->", ", ".join(best["category"] + " " + best["id"]))

# %% [markdown]
# **2.** Draw the product and S′ of another product, one that lacks a modality. What happens to its row and
# its column?

# %% tags=["solution"]
lacking = next(p for p in test if p.video is None and p.audio is not None)
scale.plot.scores(run.scores(lacking))  # hatched: no scores, no pairs, no loss

# %% [markdown]
# ## Where to go next
#
# The same with your own products takes a few lines (notebook 16):
#
# ```python
# import scale
#
# shop = scale.open("my_shop")
# run = scale.pretrain(shop, preset="tiny", out="runs/mine")
# run.search("for tea lovers, with handle", shop)
# run.evaluate(shop)
# run.explore(shop)
# ```
#
# | you want to know | notebook |
# |---|---|
# | what contrastive learning is, from a child who sees two cats and a dog | 01 |
# | what product data look like, and what is missing in them | 02 |
# | how SCALE differs from UNITER, ViLBERT, CLIP | 03 |
# | the five pretext tasks (代理任务), one by one | 04 to 08 |
# | S and S′ in depth | 09 |
# | how it is trained, stopped, resumed, and what to do when it does not learn | 10 |
# | what noise and missing modalities do | 11 |
# | which modality helps | 12 |
# | what the space of features looks like | 13 |
# | what mAP@5 means | 14 |
# | how such code goes wrong without a word | 15 |
# | how to use your own products | 16 |
#
# One evening before the talk? 00, 01, 09, 11, 15.
#
# ## What to remember
#
# - A product has up to five modalities, and most products lack some.
# - The model was given no categories and no names in training: only which five belong together.
# - One vector for each modality is enough to search with anything for anything.
# - A few good rows prove nothing; a number with its interval, beside chance, does.
#
# ## Five questions
#
# 1. What does "self-supervised" mean here: what takes the place of labels?
# 2. Why can the model find a picture by a sound, though no product's sound was ever named?
# 3. How would you notice that a search result is only luck?
# 4. Why is the diagonal of S always 1?
# 5. Which of the five modalities would you give up first in a real shop, and how would you test that?
#
# ## Pictures for your slides
#
# ```
# scale figures product scores retrieval_sheet
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
