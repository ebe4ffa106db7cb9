# %% [markdown]
# # 02 · Products and modalities
#
# **The question.** SCALE learns from products that are described in five ways. What does such a product
# look like on disk? How does the paper's data set differ from the ones before it? And two facts that
# decide much of what follows: some categories are large and most are small, and many products lack
# something. Is what they lack chance?
#
# You will build:
# - a catalogue, read line by line, seen and heard;
# - a table of the data sets of the literature, each number with its source;
# - the measures of a **long-tailed distribution** (长尾分布), by hand;
# - a test whether **missing modalities** (模态缺失) are chance, also by hand.
#
# Paper: sections 1 and 3. Code: `scale/data/catalogue.py`, `scale/data/summary.py`. About 15 seconds.

# %%
import json
from collections import Counter

import numpy as np
import pandas as pd
from IPython.display import display

import scale
from scale.notebook import approx, demo_run, play, samples, setup

setup(seed=0)

# %% [markdown]
# ## A record, line by line
#
# A **modality** (模态) is one way in which a thing is described. A **catalogue** is a folder: a file
# `products.jsonl` with one product a line, and the media files beside it. This is the first line of the
# sample shop (with some keys left out, and the table cut).

# %%
shop = samples()
line = (shop.folder / "products.jsonl").read_text(encoding="utf-8").splitlines()[0]
record = json.loads(line)
record["table"] = record["table"][:3]
shown = ("id", "title", "table", "image", "video", "audio", "category", "split")
print("\n".join(f"{key:<9}{record[key]}" for key in shown))

# %% [markdown]
# Five keys are modalities: `title` (we call it **text**, 文本), `table` (表格: pairs of an attribute and a
# value), `image` (图像), `video` (视频) and `audio` (音频). The media are paths of files. What a product
# lacks is `null`, in Python `None`. An empty string is *not* the same: it is an accident, and gets
# reported.
#
# Opened, the catalogue is a list of products. `present` tells what each has.

# %%
for product in shop.products[:4]:
    has = [m if m in product.present else "-" for m in scale.MODALITIES]
    print(f"{product.id}  {product.category:<9}" + "".join(f"{m:<7}" for m in has))
without_clip = next(p for p in shop if p.video is None)
assert "video" not in without_clip.present

# %% [markdown]
# ## To see and to hear
#
# The squares below each picture show which of the five the product has. Look at how often the last two,
# video and audio, are empty.

# %%
scale.plot.contact_sheet(shop.products[:16])

# %% [markdown]
# Products come from a program, so their licence is free and their clips are short; `data_samples/README.md`
# tells how. Here is a clip, and the sound of the same thing when it is hit.

# %%
drum = next(p for p in shop if p.category == "drum" and len(p.present) == 5)
print(drum.text)
display(play(drum, "video"), play(drum, "audio"))

# %% [markdown]
# Each modality says something that the others do not. The title says what the thing is *for*, the table
# its size and brand, the picture its shape and colour, the clip how it is used, the sound what it is made
# of. That is why one hopes to gain from all five. The paper calls this **modality interaction** (模态交互).
#
# ## The data sets of the literature
#
# Before M5Product there were large data sets with two modalities, and small ones with more. The numbers
# below were looked up, not remembered: `DATA_SETS` holds the page on which each was read. Where no page
# that we could open states a number, the cell says so. Do the same on your slides.

# %%
rows = [
    {
        "data set": f"{d.name} ({d.year})",
        "modalities": " + ".join(d.modalities),
        "instances": f"{scale.viz.plain(d.instances)} {d.instance if d.instances else ''}".strip(),
        "categories": f"{scale.viz.plain(d.categories, d.over)} {d.groups}".strip(),
    }
    for d in scale.viz.DATA_SETS
]
pd.DataFrame(rows).set_index("data set")

# %% [markdown]
# The same as a picture, with the sample shop in the last row. The scale is logarithmic: each tick is a
# hundred times the one before.

# %%
scale.plot.data_set_picture([*scale.viz.DATA_SETS, scale.viz.shop_facts(shop)])

# %% [markdown]
# In one sentence: M5Product is the only row that has all five *and* millions. The abstract of the paper says
# it is "500 times larger" than the largest public data set with a similar number of modalities. You can
# check that: XMedia has four of the five.

# %%
sets = {d.name: d for d in scale.viz.DATA_SETS}
times = sets["M5Product"].instances / sets["XMedia"].instances
print(f"M5Product has {times:.0f} times as many instances as XMedia")
assert 500 < times < 550

# %% [markdown]
# The division is right. But are the two numbers of the same kind? Read the notes.

# %%
for name in ("XMedia", "M5Product", "RPC checkout", "CMU-MOSEI", "Dress Retrieval"):
    print(f"{name}: {sets[name].note}")
    print(f"   read at {sets[name].sources[0][:88]}")

# %% [markdown]
# Three things to keep in mind, and to say if somebody asks:
#
# - **An instance is not always a product.** In XMedia an instance is one file; no item has both a picture and
#   a sound. In CMU-MOSEI it is a few seconds of a talk. Only rows whose instances carry several modalities
#   *of the same thing* can train a contrast between modalities.
# - **The audio of M5Product is the sound track of its video.** A product without a clip has no sound either. In
#   the sample shop the sound is a recording of its own, so one can be there without the other.
# - **One number we could not confirm,** and we say so.
#
# ## The long tail
#
# How many products does each category have? Start with four categories, small enough to check by hand:
# 6, 2, 1 and 1 products. Are they unequal? The **Gini coefficient** (基尼系数) takes all pairs of categories
# and their differences:
#
# $$G = \frac{\sum_i \sum_j |n_i - n_j|}{2 K \sum_i n_i}$$
#
# The differences to 6 are 4, 5, 5; to 2 they are 1, 1; and the last two are equal. Together 16, and each pair
# counts twice: 32. Below the line stands 2 · 4 · 10 = 80. So $G$ = 0.4. It is 0 if all are equal.


# %%
def slow_gini(sizes):
    differences = sum(abs(a - b) for a in sizes for b in sizes)
    return differences / (2 * len(sizes) * sum(sizes))


assert slow_gini([6, 2, 1, 1]) == 0.4
assert slow_gini([5, 5, 5]) == 0
assert abs(slow_gini([6, 2, 1, 1]) - scale.data.long_tail([6, 2, 1, 1])["gini"]) < 1e-12

# %% [markdown]
# A second measure is easier to say aloud: the **effective number** of categories. It is $e^H$ with the entropy
# $H = -\sum_k p_k \ln p_k$, where $p_k$ is the share of category $k$. For equal categories it is their number; for
# one that has nearly everything it is nearly 1. Now the shop.

# %%
sizes = Counter(p.category for p in shop)
counts = sorted(sizes.values(), reverse=True)
share_K = np.array(counts) / sum(counts)
effective = np.exp(-(share_K * np.log(share_K)).sum())
tail = scale.data.long_tail(counts)
np.testing.assert_allclose([slow_gini(counts), effective], [tail["gini"], tail["effective"]])
print(f"{tail['categories']} categories, from {counts[0]} to {counts[-1]} products")
print(f"Gini {tail['gini']:.2f}, as many as {tail['effective']:.1f} equal categories")
print(f"the largest fifth holds {tail['head_share']:.0%} of the products")

# %% [markdown]
# The bars: dark are the few categories that together hold half of the shop, the **head** (头部). The light ones
# are the **tail** (尾部).

# %%
scale.plot.long_tail(sizes)

# %% [markdown]
# The same counts as a histogram, drawn with seaborn itself: most categories are small.

# %%
import matplotlib.pyplot as plt
import seaborn as sns

figure, axes = plt.subplots(figsize=(5, 2.6), layout="constrained")
sns.histplot(x=counts, binwidth=5, binrange=(0, 80), ax=axes)
axes.set(xlabel="products of a category", ylabel="categories")
assert np.median(counts) < np.mean(counts)  # a tail to the right
sns.despine(figure)

# %% [markdown]
# A real shop is far steeper. A common model is **Zipf's law** (齐夫定律): the category of rank $r$ has a size
# proportional to $1/r$. We draw it for 6,000 categories, as many as M5Product has. It is a model of such a tail,
# not M5Product's own.

# %%
zipf_K = scale.viz.power_law(6000)
scale.plot.tail_curves({"sample shop, 34 categories": counts, "1 / rank, 6,000 categories": zipf_K})

# %% [markdown]
# Left, a straight line on two logarithmic axes is a power law. Right, the **Lorenz curve** (洛伦兹曲线): go along
# the categories from the smallest on, and add up what they hold. The more it sags below the diagonal, the
# more unequal; twice the area between the two is the Gini coefficient.
#
# ## What the tail does to a mean
#
# A test gives right and wrong answers. Their mean can be taken in two ways: over **products** (each product
# counts the same, so large categories count more) or over **categories** (each category counts the same;
# the macro-average, 宏平均). Imagine a system that is right for the 600 largest of the 6,000 categories, and
# wrong for all others.

# %%
right_K = np.arange(6000) < 600
over_products = (zipf_K * right_K).sum()
over_categories = right_K.mean()
print(f"mean over products {over_products:.2f}, mean over categories {over_categories:.2f}")
assert over_products > 0.7
assert over_categories == 0.1

# %% [markdown]
# 0.75 or 0.10: the same system. So ask of every number on a slide which mean it is. Accuracy (准确率) is a mean
# over products, macro-F1 one over categories; `scale evaluate` prints both.
#
# Now a real model: the demo's. Each product of the test split asks for its nearest product in the training
# split; the answer is right if both have the same category.

# %%
run = demo_run()
known, asked = run.embed(shop, split="train"), run.embed(shop, split="test")
category = {p.id: p.category for p in shop}
nearest_Q = (asked.emb_ND @ known.emb_ND.T).argmax(axis=1)
asked_Q = np.array([category[i] for i in asked.ids])
right_Q = asked_Q == [category[known.ids[place]] for place in nearest_Q]

# %% [markdown]
# Each bar is a category, as wide as it has questions. The mean over products is the filled area; the mean over
# categories is the mean height.

# %%
names = sorted(sizes, key=lambda name: (-sizes[name], name))
queries_K = np.array([(asked_Q == name).sum() for name in names])
hits_K = np.array([right_Q[asked_Q == name].sum() for name in names])
micro, macro = hits_K.sum() / queries_K.sum(), (hits_K / queries_K).mean()
print(f"over products {approx(micro)}, over categories {approx(macro)}")
assert micro > macro + 0.02
scale.plot.tail_metric(names, queries_K, hits_K)

# %% [markdown]
# In one sentence: the model is better where it has seen more, so the mean over products flatters it. The bars on
# the right stand on two questions each, so do not read a single one of them.
#
# ## What is missing
#
# `present_NM` is a table of yes and no: N products, M modalities. Its column means are the shares of products that
# have each modality.

# %%
present_NM = shop.present_NM()
share_M = present_NM.mean(axis=0)
print("  ".join(f"{m} {share:.2f}" for m, share in zip(scale.MODALITIES, share_M, strict=True)))
complete = present_NM.all(axis=1).mean()
print(f"all five: {complete:.2f};  product of the shares: {share_M.prod():.2f}")
assert complete > share_M.prod() + 0.05

# %% [markdown]
# If each modality were missing by a coin of its own, the share of products with all five would be the product of the
# five shares, 0.29. It is 0.37. So the coins are not independent. The dots show which modalities come together, the
# bars how often, and how often independence would give them.

# %%
scale.plot.expected_combinations(present_NM)

# %% [markdown]
# "Everything" and "only text, table, image" are more frequent than chance, the mixed ones are rarer. Somebody who films
# also records. Statistics has three names for this, and a talk should use the right one:
#
# | | name | meaning | example |
# |---|---|---|---|
# | MCAR | **missing completely at random** (完全随机缺失) | chance, the same for every product | a disk error |
# | MAR | **missing at random** (随机缺失) | depends on something we see | nobody records a cushion |
# | MNAR | **missing not at random** (非随机缺失) | depends on something we do not see | a hasty seller |
#
# ## Is it chance? A test
#
# If presence were MCAR, the share of products with a clip would be about the same in every category. Toy first: two
# categories of 10 products, 8 of the first and 2 of the second have a clip. In all 10 of 20 have one, so 5 and 5 are
# expected. **Chi-square** (卡方) adds up the squared differences, each over what is expected, for "has" and "has not":
#
# $$\chi^2 = \sum \frac{(\text{observed} - \text{expected})^2}{\text{expected}}
#   = \frac{3^2}{5} + \frac{3^2}{5} + \frac{3^2}{5} + \frac{3^2}{5} = 7.2$$


# %%
def slow_chi_square(has, size):
    total = 0.0
    for observed, n in zip(has, size, strict=True):
        expected = n * sum(has) / sum(size)
        total += (observed - expected) ** 2 / expected
        total += ((n - observed) - (n - expected)) ** 2 / (n - expected)
    return total


assert abs(slow_chi_square([8, 2], [10, 10]) - 7.2) < 1e-9
assert slow_chi_square([5, 5], [10, 10]) == 0

# %% [markdown]
# The shop has 34 categories. The package computes all five modalities at once; the loop must agree, and so must SciPy.

# %%
from scipy.stats import chi2_contingency

category_N = [p.category for p in shop]
names, sizes_K, counts_KM = scale.viz.presence_by_category(present_NM, category_N)
real_M = scale.viz.chi_square(counts_KM, sizes_K)
slow_M = [slow_chi_square(counts_KM[:, m], sizes_K) for m in range(5)]
np.testing.assert_allclose(real_M, slow_M)
table = np.stack([counts_KM[:, 3], sizes_K - counts_KM[:, 3]])
np.testing.assert_allclose(chi2_contingency(table).statistic, real_M[3])
print("  ".join(f"{m} {value:.1f}" for m, value in zip(scale.MODALITIES, real_M, strict=True)))

# %% [markdown]
# Is 82 for video much? A **permutation test** (置换检验) answers without any theory: deal the clips out to the products
# anew, at random, and compute chi-square again. Do that 1,000 times. If no shuffled shop comes near the real one, it
# was not chance.

# %%
rng = np.random.default_rng(0)
member_KN = np.array([[c == name for c in category_N] for name in names], dtype=int)
chance_R = []
for _ in range(1000):
    dealt_N = rng.permutation(present_NM[:, 3])  # as many clips, other products
    chance_R.append(scale.viz.chi_square((member_KN @ dealt_N)[:, None], sizes_K)[0])
p = (1 + np.sum(np.array(chance_R) >= real_M[3])) / 1001
print(f"video: real {real_M[3]:.1f}, largest of 1,000 shufflings {max(chance_R):.1f}, p = {p:.3f}")
assert max(chance_R) < real_M[3]

# %% [markdown]
# All five in one picture: grey is what chance gives, the line is the shop.

# %%
chance_RM = scale.viz.chance_chi_square(present_NM, category_N)
p_M = (1 + (chance_RM >= real_M).sum(axis=0)) / 1001
assert (p_M[:3] > 0.05).all()
assert (p_M[3:] < 0.01).all()
scale.plot.independence_picture(real_M, chance_RM)

# %% [markdown]
# In one sentence: whether a product has a title, a table or a picture tells nothing about its category, but whether it
# has a clip or a sound does. Where do the differences sit? Left the shop, right a shuffled one: what missing
# completely at random would look like.

# %%
scale.plot.presence_maps(present_NM, category_N)

# %% [markdown]
# The right map is not flat either! Small categories jump by chance, and that is why one needs the test. But only the left
# one has cushions, umbrellas and backpacks without sound (they make none), and water cans and bells with it.
#
# ## Is the category all?
#
# Let us deal the clips out again, but only among products of the *same* category. What the category explains is then
# kept. If the category were all, the number of products with clip *and* sound would stay as it is.

# %%
rng = np.random.default_rng(0)
both = (present_NM[:, 3] & present_NM[:, 4]).sum()
dealt = (scale.viz.permute_within(present_NM, category_N, rng) for _ in range(500))
within_R = [dealt_NM[:, 3:].all(axis=1).sum() for dealt_NM in dealt]
print(f"clip and sound: {both} products")
print(f"dealt out within categories: {min(within_R)} to {max(within_R)}")
assert both > max(within_R)

# %% [markdown]
# It does not. There is a second cause, and no column of the catalogue names it: the **seller**. Shops film and record,
# private people do not, and some never fill in a table (`tools/sample_shop/item.py`). So by category the gaps
# are MAR, and given the category they are still MNAR. Real shops are like that.
#
# Why it matters: leave out incomplete products, and you do not get fewer of the same. You get another shop.

# %%
whole_N, labels_N = present_NM.all(axis=1), np.array(category_N)
kept = {n: whole_N[labels_N == n].mean() for n in ("watercan", "drum", "mug", "cushion")}
print("complete, by category:", ", ".join(f"{n} {share:.0%}" for n, share in kept.items()))
before, after = (labels_N == "cushion").mean(), (labels_N[whole_N] == "cushion").mean()
print(f"cushions: {before:.1%} of the shop, {after:.1%} of its complete products")
assert kept["cushion"] < 0.2 < 0.6 < kept["drum"]

# %% [markdown]
# A model that is trained on complete products alone hardly sees a cushion. That is one reason why keeping incomplete
# products helps (notebook 11 measures it), and why `scale evaluate` also reports by *which* modalities the query has.
#
# ## Exercise 1
#
# A batch has 64 products, drawn at random. How many mugs and how many spinners does it hold on average? In what share
# of the batches is there no spinner at all? (A product is no spinner with chance $1 - p$; 64 draws.) What does that
# mean for a contrastive loss, where only what is in the batch can be a negative?

# %% tags=["solution"]
for name in ("mug", "spinner"):
    p = sizes[name] / len(shop)
    print(f"{name}: {64 * p:.1f} a batch, none in {(1 - p) ** 64:.0%} of the batches")
assert (1 - sizes["spinner"] / len(shop)) ** 64 > 0.4
# A spinner hardly ever meets another one: the model learns to tell it from mugs, not from its kind.
# A mug meets five or six others in every batch: false negatives, of the same category.

# %% [markdown]
# ## Exercise 2
#
# Is the *table* missing by chance? By category it is (p = 0.33). Now test it against the sound: compare the share of
# products with a table among those with a sound and those without, by a permutation test. What is your
# explanation?

# %% tags=["solution"]
table_N, sound_N = present_NM[:, 1], present_NM[:, 4]


def gap(sound_N):
    return table_N[sound_N].mean() - table_N[~sound_N].mean()


rng = np.random.default_rng(0)
chance_R = np.array([gap(rng.permutation(sound_N)) for _ in range(1000)])
p = (1 + (abs(chance_R) >= abs(gap(sound_N))).sum()) / 1001
print(f"table: {gap(sound_N):+.2f} more often with a sound, p = {p:.3f}")
assert p < 0.01
# The same sellers leave both out: a cause that no column shows makes gaps go together.

# %% [markdown]
# ## What to remember
#
# - A record says `null` for what a product lacks; nothing else means absent.
# - M5Product is large *and* has five modalities; "instances" of two data sets are seldom of one kind.
# - With a long tail the mean over products and the mean over categories can be 0.75 and 0.10 for one system.
# - Gaps are not chance: they depend on the category (MAR), and on sellers whom we do not see (MNAR). Leaving out
#   incomplete products changes the shop.
#
# ## Five questions
#
# 1. What is the difference between `"title": null` and `"title": ""`?
# 2. Why can XMedia not train a contrast between the picture and the sound of one thing?
# 3. Three categories have 8, 1 and 1 products. What is the Gini coefficient?
# 4. A paper reports 0.90 accuracy on a long-tailed test set. What would you ask?
# 5. A modality is missing in 40 % of all products, with the same share in every category. Is it missing completely at
#    random?
#
# ## Pictures for your slides
#
# ```
# scale figures contact_sheet data_sets long_tail tail_curves tail_metric combinations
# scale figures expected_combinations independence presence_by_category
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
