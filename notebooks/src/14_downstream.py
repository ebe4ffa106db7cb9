# %% [markdown]
# # 14 · Downstream tasks
#
# **The question.** The model is trained. How good is it? A shop does not need predictions of hidden words. It
# needs to find a product (**retrieval**, 检索), predict its category (**classification**, 分类) and sort products
# into groups (**clustering**, 聚类). These are the **downstream tasks** (下游任务). Each results in a number in a
# table. What does that number mean, how certain is it, and what can go wrong between the model and the number?
#
# You will build, and check against the package:
# - mAP@5 from one ranked list, by hand, with its **three denominators**, and two systems whose order depends on
#   the definition;
# - the chance level, and why it belongs in every table, with the untrained model and two simple baselines;
# - **bootstrap** intervals (自助法置信区间), paired and unpaired;
# - the worst query of the test split, in detail;
# - a linear probe, macro-F1 and the long tail; k-means, NMI and why purity always rises.
#
# Paper: the experiments (section 5). Code: `scale/evaluation/`. About 20 seconds.

# %%
import numpy as np
import pandas as pd

import scale
from scale import exercises
from scale.evaluation import average_precision_at_k, category_retrieval, estimate, paired_difference
from scale.notebook import approx, approx_estimate, demo_data, demo_run, device, samples, setup

setup(seed=0)

# %% [markdown]
# ## One ranking, by hand
#
# The result of a query is a list, best first. Some items of the list are **relevant** (相关): in our shop, products
# of the query's category. Here is a list of ten places. A 1 is a **hit** (命中). In the whole gallery (候选库) there
# are 8 relevant items, so most of them are not in the list.
#
# **Precision at i** (精确率), P@i, is the share of hits among the first i places. P@1 = 1/1, P@2 = 1/2,
# P@3 = 2/3, and so on.
#
# **Names.** Capital letters at the end of a name are the axes of the array: `rel_K` has one entry per place of the
# list (K), `value_Q` one per query, `emb_ND` D numbers for each of N products, `score_QG` queries by gallery.

# %%
rel_K = np.array([1, 0, 1, 0, 0, 1, 0, 0, 0, 0], dtype=bool)
relevant, k = 8, 5
precision_K = rel_K.cumsum() / np.arange(1, 11)
columns = {"hit": np.where(rel_K, "1", ""), "precision": [f"{p:.2f}" for p in precision_K]}
pd.DataFrame(columns, index=range(1, 11)).T

# %% [markdown]
# **Average precision at k** (平均精确率), AP@k, adds up the precision *at the hits* among the first k places. A miss
# adds nothing. So a hit counts more the earlier it comes and the more hits precede it. Here the sum is P@1 + P@3
# = 1 + 0.67 = 1.67; the hit at rank 6 is too late.
#
# A sum needs a denominator to become an average. There are three in use:
#
# $$\text{AP@}k = \frac{1}{Z}\sum_{i \le k} \text{rel}_i\, \text{P@}i, \qquad
# Z = \underbrace{R}_{\text{all relevant}},\quad \underbrace{\min(k, R)}_{\text{what fits}},\quad
# \underbrace{\textstyle\sum_{i \le k} \text{rel}_i}_{\text{hits found}}$$

# %%
total = sum(rel_K[i] * precision_K[i] for i in range(k))
by_hand = {
    "relevant": total / relevant,
    "min(k, relevant)": total / min(k, relevant),
    "hits": total / rel_K[:k].sum(),
}
for denominator, value in by_hand.items():
    package = average_precision_at_k(rel_K[None], np.array([relevant]), k, denominator)
    np.testing.assert_allclose(package, [value])
    print(f"divided by {denominator:17} AP@5 = {value:.2f}")

# %% [markdown]
# One list, three numbers: 0.21, 0.33 and 0.83. The next picture shows how they arise.

# %%
scale.plot.ap_denominators({"One ranking": rel_K}, relevant)

# %% [markdown]
# Which one is right? All are called "AP@5" in published tables.
# - **All relevant** ($R$; trec_eval's map_cut): with 8 relevant items and 5 places, even a perfect list gets
#   only 5/8. The metric can never be 1, and cannot be compared between queries.
# - **What fits** ($\min(k, R)$): a perfect list gets 1, whatever $R$ is. This is our default.
# - **Hits found**: *missed* items cost nothing. The authors' script uses this.
#
# The extreme case: ten relevant items, one hit, at rank 1.

# %%
one_hit = np.array([[1, 0, 0, 0, 0]], dtype=bool)
for denominator in by_hand:
    (value,) = average_precision_at_k(one_hit, np.array([10]), 5, denominator)
    print(f"divided by {denominator:17} AP@5 = {value:.2f}")
assert value == 1.0  # by the hits found: nine of ten were missed, and the score is perfect

# %% [markdown]
# There is one more difference in the authors' script: **k shrinks.** It cuts the list at $\min(k, R + 1)$ places,
# where the 1 is the query itself, which it counts as a member of its class. A query with one relevant item has
# only two places for it. A hit at rank 3 counts 1/3 in our metric and 0 in theirs:

# %%
third = np.array([[0, 0, 1, 0, 0]], dtype=bool)
(ours,) = average_precision_at_k(third, np.array([1]), 5)
(theirs,) = scale.evaluation.authors_metrics_at_k(third, np.array([1]), 5)[0]
print(f"one relevant item, found at rank 3: ours {ours:.2f}, the authors' {theirs:.2f}")
assert theirs == 0 < ours

# %% [markdown]
# ## Two systems, and a winner by definition
#
# Here is a case in which the definition decides the comparison. Five relevant items. System A finds one, at rank
# 1, and then nothing. System B misses rank 1 and then finds four.

# %%
systems = {"System A": [1, 0, 0, 0, 0], "System B": [0, 1, 1, 1, 1]}
rel_SK, five_S = np.array(list(systems.values()), dtype=bool), np.array([5, 5])
score = {d: average_precision_at_k(rel_SK, five_S, 5, d) for d in by_hand}
table = pd.DataFrame(score, index=systems)
assert table.loc["System A", "hits"] > table.loc["System B", "hits"]
assert table.loc["System A", "min(k, relevant)"] < table.loc["System B", "min(k, relevant)"]
table.round(2)

# %% [markdown]
# The same in a picture. Compare the orange bars with the blue ones.

# %%
scale.plot.ap_denominators(systems, relevant=5)

# %% [markdown]
# By the hits found, A wins with 1.00 against 0.68. By what fits, B wins with 0.54 against 0.20. A shop would
# choose B: four of five products found. So: **no number without its definition**, and never compare a mAP@5 from
# one paper with a mAP@5 from another before you know both denominators.
#
# ## The real thing
#
# Now the 146 test products of the sample shop, embedded by the demo's model before and after training. A
# product's vector is the mean of the unit vectors of its modalities. Every product is a query once; the others
# are the gallery; the relevant ones have the same category.

# %%
run, test = demo_run(), demo_data("test")
models = {"untrained": run.untrained(), "trained": run.model}
embedded = {
    stage: scale.evaluation.embed_dataset(model, test, device=device(), progress=False)
    for stage, model in models.items()
}
stages = {
    stage: scale.evaluation.ProductArrays.of(test, features) for stage, features in embedded.items()
}
emb_ND = {stage: features.product().emb_ND for stage, features in embedded.items()}
category_N = np.array([product.category for product in test.products])
print(len(test), "products of", len(set(category_N)), "categories")

# %% [markdown]
# Retrieval as a slow loop: cosines to all, **take the query itself out of its gallery**, sort, mark the hits,
# compute AP@5. The package does the same in blocks; both must agree.


# %%
def slow_ap(emb_ND, k=5):
    values = []
    for q in range(len(emb_ND)):
        cosine_G = emb_ND @ emb_ND[q]
        cosine_G[q] = -np.inf  # never its own result
        rel_K = (category_N == category_N[q])[np.argsort(-cosine_G, kind="stable")][:k]
        relevant = (category_N == category_N[q]).sum() - 1
        precision_K = rel_K.cumsum() / np.arange(1, k + 1)
        values.append((rel_K * precision_K).sum() / min(k, relevant))
    return np.array(values)


# %% [markdown]
# `category_retrieval` also returns the chance level and the numbers of queries and gallery items:

# %%
found = {
    stage: category_retrieval(e, e, category_N, category_N, test.ids, test.ids)
    for stage, e in emb_ND.items()
}
for stage, e in emb_ND.items():
    np.testing.assert_allclose(found[stage].values["mAP@5"], slow_ap(e))
ap_Q = {stage: one.values["mAP@5"] for stage, one in found.items()}
found["trained"].counts

# %% [markdown]
# mAP@5 is a mean, which hides the distribution. Here is AP@5 of every query, drawn with seaborn: the queries pile
# up at 0 and, after training, at 1.

# %%
import matplotlib.pyplot as plt
import seaborn as sns

figure, axes = plt.subplots(figsize=(5, 2.6), layout="constrained")
sns.histplot(ap_Q, bins=10, binrange=(0, 1), element="step", ax=axes)
axes.set(xlabel="AP@5 of a query", ylabel="queries")
assert (ap_Q["trained"] == 1).sum() > (ap_Q["untrained"] == 1).sum()
sns.despine(figure)

# %% [markdown]
# Why is the query taken out? Because it is always its own nearest neighbour. Leave it in, and *any* model,
# trained or not, has a perfect mAP@1:

# %%
e = emb_ND["untrained"]
nearest_N = (e @ e.T).argmax(axis=1)
with_itself = (category_N[nearest_N] == category_N).mean()
taken_out = found["untrained"].values["mAP@1"].mean()
print(f"untrained model, mAP@1 with the query in the gallery {with_itself:.2f}")
print(f"and with the query taken out {approx(taken_out)}")
assert with_itself > 0.99
assert taken_out < 0.4

# %% [markdown]
# ## The chance level
#
# Is 0.2 good? A number needs a baseline. Shuffle the gallery of $G$ items, of which $R$ are relevant, and compute
# the expected values:
# - **mAP@1**: the first place is relevant with probability $R / G$.
# - **Recall@10** (召回率; share of the relevant items among the first ten): each relevant item is in the first
#   ten with probability $10 / G$, so that is also the expected share.
#
# For AP@5 the sum runs over pairs of places; the package has it in closed form. We check all three against 200
# shuffles of every query's gallery.

# %%
rng = np.random.default_rng(0)
shuffled = {"mAP@1": [], "mAP@5": [], "Recall@10": []}
for c in category_N:
    relevant = (category_N == c).sum() - 1
    rel_G = np.arange(len(test) - 1) < relevant
    rel_RK = rng.permuted(np.tile(rel_G, (200, 1)), axis=1)[:, :10]
    relevant_R = np.full(200, relevant)
    shuffled["mAP@1"].append(rel_RK[:, 0].mean())
    shuffled["mAP@5"].append(average_precision_at_k(rel_RK, relevant_R, 5).mean())
    shuffled["Recall@10"].append((rel_RK.sum(axis=1) / relevant).mean())

# %% [markdown]
# The table compares the shuffles with the formula and with the two models.

# %%
rows = {}
for metric, values in shuffled.items():
    formula = found["trained"].chance[metric].mean()
    assert abs(np.mean(values) - formula) < 0.01
    measured = {stage: approx(one.values[metric].mean()) for stage, one in found.items()}
    rows[metric] = {"shuffled": f"{np.mean(values):.2f}", "formula": f"{formula:.2f}", **measured}
relevant_Q = np.array([(category_N == c).sum() - 1 for c in category_N])
np.testing.assert_allclose((relevant_Q / 145).mean(), found["trained"].chance["mAP@1"].mean())
for metric in shuffled:
    trained, untrained = (found[s].values[metric].mean() for s in ("trained", "untrained"))
    assert trained > 1.5 * untrained > found["trained"].chance[metric].mean()
pd.DataFrame(rows).T

# %% [markdown]
# So there are two baselines: chance, and the **untrained** model. The second is the harder one. A random network
# already maps equal inputs to equal vectors, so it is better than chance before it has learned anything. The
# value of training is the difference from this baseline.
#
# Three random queries, with the trained model's results:

# %%
e = emb_ND["trained"]
cosine_NN = e @ e.T - 2 * np.eye(len(e))  # itself last
order_NN = np.argsort(-cosine_NN, axis=1, kind="stable")
asking = np.random.default_rng(0).permutation(len(test))[[0, 2, 3]]
shown = [[(test.products[j], float(cosine_NN[q, j])) for j in order_NN[q, :5]] for q in asking]
hits = [[category_N[j] == category_N[q] for j in order_NN[q, :5]] for q in asking]
scale.plot.retrieval_sheet([test.products[q] for q in asking], shown, hits)

# %% [markdown]
# Look at the misses too. Knives for a pan, a jar and bowls for a teapot: these are all kitchenware, but for the
# metric they are as wrong as a hammer.
#
# ## How certain is a mean? The bootstrap
#
# mAP@5 is a mean over 146 queries. Another 146 products would have given another mean. We have no others, but we
# can simulate them: **draw 146 queries from our 146, with replacement** (some twice, some not at all), take the
# mean, and repeat 1000 times. The middle 95 % of these means are the interval. That is the whole bootstrap (自助法).

# %%
value_Q = ap_Q["trained"]
n, rng = len(value_Q), np.random.default_rng(0)
mean_R = np.array([value_Q[rng.integers(0, n, n)].mean() for _ in range(1000)])
low, high = np.percentile(mean_R, [2.5, 97.5])
package = estimate(value_Q, seed=0)
np.testing.assert_allclose([package.low, package.high], [low, high])
print(f"mAP@5 {approx(value_Q.mean())}, 95 % interval {approx(low)} to {approx(high)}")

# %% [markdown]
# The interval is about ± 0.05, for *this* number of queries: four times as many would halve it.
#
# **Comparing two systems.** Does the picture help if the other four modalities are present? One could resample
# each system separately and take the difference of the means: the **unpaired** interval. But both systems
# answered *the same queries*, and hard queries are hard for both. So take the difference query by query, and
# resample those: the **paired** interval (配对).

# %%
subsets = {
    stage: scale.evaluation.subset_retrievals(arrays, "same") for stage, arrays in stages.items()
}
without = subsets["trained"]["text+table+video+audio"]
assert list(without.rows_Q) == list(range(len(test)))  # the same queries, in the same order
a_Q, b_Q = value_Q, without.values["mAP@5"]
paired = paired_difference(a_Q, b_Q)
n, rng = len(a_Q), np.random.default_rng(1)
unpaired_R = [rng.choice(a_Q, n).mean() - rng.choice(b_Q, n).mean() for _ in range(1000)]
low, high = np.percentile(unpaired_R, [2.5, 97.5])
print(f"paired   {approx(paired.value)}, {approx(paired.low)} to {approx(paired.high)}")
print(f"unpaired {approx(paired.value)}, {approx(low)} to {approx(high)}")
assert paired.high - paired.low < 0.8 * (high - low)

# %% [markdown]
# Left: the 146 values themselves; most queries find nothing or nearly everything, which is why the mean is so
# uncertain. Middle: the 1000 means. Right: the difference, both ways.

# %%
scale.plot.bootstrap_figure(a_Q, b_Q, ("all five", "all but the picture"))

# %% [markdown]
# The same data lead to two verdicts. The unpaired interval contains 0: "not decided". The paired one is about
# half as wide and lies to the right of 0: the picture helps. How much narrower does it get? The variance of a
# difference is $\sigma_a^2 + \sigma_b^2 - 2 \rho\,\sigma_a \sigma_b$: the more the two agree on which queries are
# hard (correlation $\rho$), the more you gain.

# %%
rho = np.corrcoef(a_Q, b_Q)[0, 1]
print(f"correlation of the two over queries: {approx(rho)}")
assert rho > 0.4
np.testing.assert_allclose(
    (a_Q - b_Q).var(), a_Q.var() + b_Q.var() - 2 * rho * a_Q.std() * b_Q.std()
)

# %% [markdown]
# **A bootstrap over queries does not show** whether another *training* (another seed) would give the same winner.
# That needs several trainings; our studies use five, and make a claim only if all intervals agree (notebooks 11
# and 12).
#
# ## 31 query subsets and 20 directions
#
# A product can be searched by any non-empty subset of its modalities: $2^5 - 1 = 31$ query subsets.
# `run.evaluate` measures all of them, for both models, with chance and intervals. (`baselines=True` adds two simple
# methods, which we need below.)

# %%
results = run.evaluate(samples(), "test", baselines=True)
by_category = results[(results.task == "retrieval.category") & (results.model == "trained")]
value = by_category.pivot(index="item", columns="metric", values="value")
assert len(value) == 31
scale.plot.retrieval(results, metric="mAP@5")

# %% [markdown]
# Each column is a subset (dots below); blue: trained, diamond: untrained, dash: chance. Within a group of equal
# size the best comes first. On the whole, more modalities give better results:

# %%
size = value.index.str.count(r"\+") + 1
mean = list(value["mAP@5"].groupby(size).mean())
assert mean[4] > mean[2] + 0.03 > mean[0] + 0.03
print("mean mAP@5 of 1, 2, 3, 4, 5 modalities:", ", ".join(approx(v) for v in mean))
n = by_category[by_category.metric == "mAP@5"].set_index("item").n.astype(int)
print(f"queries: {n['text']} by text, {n['video']} by video")
assert n["video"] < 0.7 * n["text"]

# %% [markdown]
# A trap in this picture: video alone looks like the best single modality. But only products with a clip are video
# queries, in a gallery of products that have one: there are fewer queries, different ones, and a higher chance
# level. Two bars with different n are not comparable. Notebook 12 uses the same queries for every subset.

#
# The second task is retrieval **across** modalities: find the title's *own* picture among all pictures. There are
# $5 \cdot 4 = 20$ directions. Exactly one result is right, so chance is 10 divided by the gallery size.

# %%
scale.plot.directions(results)

# %% [markdown]
# Rows are queries, columns are galleries; the colour is the difference from chance. Galleries have different
# sizes (not every product has a clip), so the chance level differs between cells. (On the diagonal the query is a
# second view of the same product, where the shop has one.)
#
# **Does the authors' definition change the order here?** Of the 465 pairs of subsets, how many are ordered
# differently by our mAP@5 and by theirs?

# %%
ours_S, theirs_S = value["mAP@5"].to_numpy(), value["authors mAP@5"].to_numpy()
first, second = np.triu_indices(31, k=1)
turned = np.sign(ours_S[first] - ours_S[second]) != np.sign(theirs_S[first] - theirs_S[second])
print(f"mean over subsets: ours {approx(ours_S.mean())}, the authors' {approx(theirs_S.mean())}")
print(f"pairs ordered differently: {approx(turned.sum(), 0)} of {len(turned)}")
assert (theirs_S > ours_S).all()
assert turned.mean() > 0.02

# %% [markdown]
# On the same lists the authors' number is larger for every subset, and about one comparison in ten is reversed.
#
# ## The worst query, in detail
#
# A mean hides failures. We take the worst query: among the products with at least three relevant items in the
# gallery, the one whose first hit has the lowest rank.

# %%
first_N = (category_N[order_NN] == category_N[:, None]).argmax(axis=1) + 1
worst = int(np.where(relevant_Q >= 3, first_N, 0).argmax())
top = order_NN[worst, :5]
shown = [(test.products[j], float(cosine_NN[worst, j])) for j in top]
hits = [category_N[j] == category_N[worst] for j in top]
scale.plot.retrieval_sheet([test.products[worst]], [shown], [hits])

# %% [markdown]
# A clock. The results are a bell, a watch, lamps; the first other clock comes far down the list. Why? A product's
# vector is the mean of its modalities' unit vectors, so we can test each modality alone: at which rank is *its*
# first hit, and at which rank would it be in a shuffled gallery?

# %%
features, rows = embedded["trained"], {"all": first_N[worst]}
for modality in test.products[worst].present:
    alone = features.product((modality,))
    kind_G = category_N[[test.ids.index(i) for i in alone.ids]]
    own = alone.ids.index(test.ids[worst])
    cosine_G = alone.emb_ND @ alone.emb_ND[own]
    cosine_G[own] = -np.inf
    rows[modality] = (kind_G[np.argsort(-cosine_G, kind="stable")] == kind_G[own]).argmax() + 1
assert first_N[worst] > 15
shuffled_rank = scale.evaluation.chance_mean_rank(relevant_Q[[worst]], np.array([len(test) - 1]))[0]
print(f"first hit by chance at rank {approx(shuffled_rank, 0)}")
same = [p.id for p in demo_data("train").products if p.category == category_N[worst]]
print(f"training products of this category: {approx(len(same), 0)}")
pd.DataFrame({"rank of the first hit": {name: approx(rank, 0) for name, rank in rows.items()}}).T

# %% [markdown]
# And the product itself:

# %%
scale.plot.product(test.products[worst])

# %% [markdown]
# Now it is clear. The title is "gadget for focused work", without the word clock. The picture shows a clock, but
# turned to the side and cropped, and half of it is empty. There is no clip. The table lists battery, power and
# protection class, like the tables of lamps and watches, so lamps and watches are found; of all modalities its
# first hit has the best rank. The training split contains only a dozen clocks. So there are four suspects: a
# vague title, a bad picture, a missing modality, a rare class. To find out which of them is responsible, one
# would change one at a time; but none of the four is in the loss function, and no mean would have shown them.
#
# (If your model was trained on another machine, the worst query may be a different one. Examine it in the same
# way: result list, modality by modality, product.)
#
# ## Classification: a linear probe
#
# How much of the category is *in* the vectors? For a **linear probe** (线性探针) the model is frozen and only a
# linear classifier is trained on its vectors. If that works, the categories are linearly separable in the space.
# Two metrics are common, and with few large and many small classes they disagree. By hand: eight mugs and two
# bells, and a classifier that always predicts "mug".

# %%
true, predicted = np.array(["mug"] * 8 + ["bell"] * 2), np.array(["mug"] * 10)
accuracy, f1 = (true == predicted).mean(), {}
for c in ("mug", "bell"):
    right = ((true == c) & (predicted == c)).sum()
    f1[c] = 2 * right / ((true == c).sum() + (predicted == c).sum())
macro = sum(f1.values()) / len(f1)
package = scale.evaluation.classification_scores(true, predicted)
np.testing.assert_allclose([found.value for found in package.values()], [accuracy, macro])
print(f"accuracy {accuracy:.2f}, macro-F1 {macro:.2f}")
print(f"F1 of mug {f1['mug']:.2f}, F1 of bell {f1['bell']:.2f}")

# %% [markdown]
# **Accuracy** (准确率) is the share of right predictions: each product counts the same, so large classes dominate.
# **F1** of a class is $2\,\text{tp} / (\text{true} + \text{predicted})$; **macro-F1** (宏平均 F1) is its mean over
# classes: each class counts the same, however small. In a **long-tailed distribution** (长尾分布), as in M5Product's
# 6,000 categories, the two can differ greatly. Now the probe:

# %%
splits = {name: demo_data(name) for name in ("train", "val", "test")}
probes = {}
for stage, model in models.items():
    examples = []
    for data in splits.values():
        features = scale.evaluation.embed_dataset(model, data, device=device(), progress=False)
        labels = [product.category for product in data.products]
        examples.append(scale.evaluation.Examples(features.product().emb_ND, labels))
    probes[stage] = scale.evaluation.linear_probe(*examples)
scores = {"majority": probes["trained"].majority} | {s: p.scores for s, p in probes.items()}
pd.DataFrame(scores).map(lambda e: f"{approx(e.value)} [{approx(e.low)}, {approx(e.high)}]").T

# %% [markdown]
# Before you trust the numbers: the probe was trained on *training* products, its only hyperparameter was chosen
# on the *validation* products, and the test products were used once. Which classes affect macro-F1 but hardly
# accuracy? The classes by their size in training, with the F1 of each:

# %%
from collections import Counter

predicted_N = np.array(probes["trained"].predicted)
in_train = Counter(product.category for product in splits["train"].products)
f1 = scale.viz.class_f1(category_N, predicted_N)
values = {name: e.value for name, e in probes["trained"].scores.items()}
size_C, f1_C = np.array([in_train[c] for c in f1]), np.array(list(f1.values()))
np.testing.assert_allclose(f1_C.mean(), values["macro-F1"])
scale.plot.tail_scores(list(f1), size_C, f1_C, values)

# %% [markdown]
# The large classes on the left are predicted well. On the right, a class has a handful of training products and
# two or three test products: its F1 is 0, 1 or one of a few values between, and it counts as much in macro-F1.

# %%
head, tail = f1_C[size_C >= 20].mean(), f1_C[size_C < 10].mean()
print(f"mean F1, classes of 20 or more training products: {approx(head)}")
print(f"mean F1, classes of less than 10 training products: {approx(tail)}")
assert head > tail + 0.1
assert values["accuracy"] > values["macro-F1"]
assert scores["trained"]["accuracy"].low > scores["untrained"]["accuracy"].value

# %% [markdown]
# ## Clustering: k-means and its scores
#
# Now without any labels: **k-means** puts $k$ centres into the space, gives each point to its nearest centre,
# moves each centre to the mean of its points, and repeats. The result is then compared with the categories. By
# hand, six products in two clusters:

# %%
cluster_N, class_N = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1])
# Purity counts the largest class of each cluster.
assert scale.evaluation.purity(cluster_N, class_N) == (2 + 3) / 6


def entropy(number_N):
    share = np.bincount(number_N) / len(number_N)
    return -sum(p * np.log(p) for p in share if p > 0)


shared = entropy(cluster_N) + entropy(class_N) - entropy(2 * cluster_N + class_N)
nmi = shared / ((entropy(cluster_N) + entropy(class_N)) / 2)
package = scale.evaluation.agreement(np.ones((1, 6), int), cluster_N, class_N)
np.testing.assert_allclose(package["NMI"], nmi)
print(f"purity {5 / 6:.2f}, NMI {nmi:.2f}")

# %% [markdown]
# **Purity** (纯度): name each cluster after its most frequent category; purity is the share of products whose
# category equals this name. **NMI** (归一化互信息): the information that the cluster contains about the category,
# normalised. Purity is easy to explain and easy to inflate: with one cluster per product it is 1. We vary $k$,
# and compare each result with random clusters of the same sizes.

# %%
clusters_K = [2, 5, 10, 20, 34, 60, 100, 146]
curves = scale.viz.purity_curves(emb_ND["trained"], category_N, clusters_K)
measures = {f"{stage} {name}": v for stage in curves for name, v in curves[stage].items()}
table = pd.DataFrame(measures, index=clusters_K)
table[["trained purity", "chance purity", "chance NMI"]].map(approx)

# %% [markdown]
# All three measures against $k$. The third, ARI, counts pairs of products that are together in both groupings or
# apart in both, and is corrected so that random clusters have 0:

# %%
assert curves["trained"]["purity"][-1] == curves["chance"]["purity"][-1] == 1.0
assert curves["chance"]["NMI"][-1] > 0.7
assert np.abs(curves["chance"]["ARI"]).max() < 0.05
scale.plot.purity_figure(clusters_K, curves, categories=34)

# %% [markdown]
# Purity rises with $k$ and ends at 1, for the model **and for random clusters**. Even NMI reaches 0.8 for random
# clusters. Only ARI is 0 for them. So a purity without $k$ and without its chance level is meaningless. Our
# report fixes $k$ at the number of categories and prints the chance level.
#
# ## All of it on one page
#
# Every task, both models, chance, intervals. For classification, "chance" means predicting the majority class for
# all.

# %%
tasks = scale.viz.task_estimates(emb_ND, test.ids, category_N, probes)
for metric, by_stage in tasks.items():
    assert by_stage["trained"].low > by_stage["untrained"].value, metric
scale.plot.task_figure(tasks)

# %% [markdown]
# Training helps in all three tasks; in no row do the two models' intervals overlap. Note the *baselines*: the
# untrained model's NMI of more than 0.5 looks good until it is compared with random clusters.
#
# ## Against simple features
#
# An untrained network is a weak opponent. Two stronger ones need no training of a network at all:
#
# - **hand-made**: TF-IDF (词频–逆文档频率) of the words of title and table, colour histograms and edges of picture and
#   clip, mean and spread of the sound's spectrum;
# - **frozen**: the mean of the very features that the demo's model reads (TF-IDF for its word pieces).
#
# Linear methods do the rest: cosine of the modalities side by side for categories, canonical correlation analysis
# (典型相关分析, CCA) to find a title's own picture, logistic regression for the probe. They are tuned on the validation
# split. On the command line: `scale evaluate RUN --baselines`. **Predict**: where is SCALE between them?

# %%
every = "+".join(scale.MODALITIES)
measures = {
    "category, mAP@5": ("retrieval.category", "mAP@5", every),
    "own partner, Recall@10": ("retrieval.instance_mean", "Recall@10", None),
    "probe, accuracy": ("classification.linear_probe", "accuracy", None),
}
rows = {}
for name, (task, metric, item) in measures.items():
    here = results[(results.task == task) & (results.metric == metric)]
    here = here if item is None else here[here["item"] == item]
    rows[name] = {each.model: approx_estimate(each, 2) for each in here.itertuples()}
order = ["chance", "majority", "untrained", "handmade", "frozen", "trained"]
pd.DataFrame(rows).reindex(order).fillna("-")

# %% [markdown]
# Is the difference real? The queries are the same, so we compare in pairs. For the category, `run.evaluate` has done
# it: trained model minus baseline, all five modalities, 95 % interval over products.

# %%
versus = results[(results.task == "retrieval.differences") & (results.metric == "mAP@5")]
versus = versus.set_index("item")
for name in ("untrained", "handmade", "frozen"):
    print(f"trained - {name}: {approx_estimate(versus.loc[f'trained - {name} {every}'], 3)}")
value = results.set_index(["task", "model", "item", "metric"])["value"]
accuracy = value.xs("accuracy", level="metric")["classification.linear_probe"]
assert versus.loc[f"trained - untrained {every}", "low"] > 0
assert versus.loc[f"trained - handmade {every}", "high"] < 0.1  # no clear victory
assert accuracy["trained"].item() < min(accuracy["handmade"].item(), accuracy["frozen"].item())

# %% [markdown]
# **The demo does not beat them.** In retrieval it is at best on a par, and in the probe it is clearly worse: a word such
# as "mug" in a title *is* the category, TF-IDF keeps it, and a model of 64 numbers trained for two minutes on 700
# products loses it. This is no verdict on SCALE: the demo is the smallest of its presets, and its input is pixels
# and word pieces. Two things follow. Never report a model without such a baseline: "twice as good as untrained" is
# true and says little. And if your shop is as small as this one, begin with public features (preset `pretrained`,
# `docs/findings.md`).
#
# ## Exercise 1: AP@5 as a function
#
# Write the average precision of one ranked list with the denominator "what fits". Run the cell, then the check below
# it. The solution is folded.


# %% tags=["exercise"]
def average_precision(rel_K, relevant, k):
    """Return AP@k of one ranked list, divided by what fits, min(k, relevant).

    rel_K: whether the item at each place is relevant (bool array, best first).
    relevant: number of relevant items in the whole gallery, at least 1.
    """
    raise NotImplementedError


# %% tags=["exercise-check"]
exercises.check_average_precision(average_precision)


# %% tags=["solution"]
def average_precision(rel_K, relevant, k):
    """Return AP@k of one ranked list, divided by min(k, relevant)."""
    hit_K = rel_K[:k]
    precision_K = hit_K.cumsum() / np.arange(1, len(hit_K) + 1)
    return precision_K[hit_K].sum() / min(k, relevant)


exercises.check_average_precision(average_precision)

# %% [markdown]
# ## Exercise 2: a metric by hand
#
# Relevant items: 3. The list has hits at ranks 2 and 4. Compute AP@5 by all three denominators on paper. Then:
# which denominator makes the score *fall* when a third hit is found at rank 5? Check with the package.

# %% tags=["solution"]
two, three = np.array([[0, 1, 0, 1, 0]], dtype=bool), np.array([[0, 1, 0, 1, 1]], dtype=bool)
for d in by_hand:
    before, after = (average_precision_at_k(rel, np.array([3]), 5, d)[0] for rel in (two, three))
    print(f"{d:17} {before:.2f} -> {after:.2f}")
later = np.array([[1, 0, 0, 0, 1]], dtype=bool)  # a perfect first place, and one more hit
before, after = (average_precision_at_k(r, np.array([3]), 5, "hits")[0] for r in (one_hit, later))
print(f"hits: one hit at rank 1 {before:.2f}, and a second at rank 5 {after:.2f}")
assert after < before  # finding more lowers the authors' score

# %% [markdown]
# In the exercise's list no denominator falls; but with a hit at rank 1 the last lines show the problem: divided
# by the hits found, **finding more lowers the score.**
#
# ## Exercise 3: how many queries?
#
# Someone claims a mAP@5 that is 0.02 better. How many queries does a *paired* comparison need so that an interval
# around 0.02 excludes 0? Use the spread of the differences `a_Q - b_Q`.

# %% tags=["solution"]
spread = (a_Q - b_Q).std()
needed = (1.96 * spread / 0.02) ** 2  # 95 % lie within 1.96 standard errors
print(f"{approx(needed, 0)} queries; we have {len(a_Q)}")
half = (paired.high - paired.low) / 2
error = spread / len(a_Q) ** 0.5
print(f"check: 1.96 standard errors {approx(1.96 * error, 3)}, bootstrap {approx(half, 3)}")
assert needed > len(a_Q)
assert abs(half - 1.96 * error) < 0.01

# %% [markdown]
# ## What to remember
#
# - AP@k sums the precision at the hits. Its denominator (all relevant, what fits, hits found) can decide which
#   system wins; with the hits found, missing nine of ten costs nothing.
# - The query is never in its own gallery. Report every metric with chance, the untrained model *and* a simple
#   baseline: the demo does not beat hand-made features.
# - The bootstrap resamples queries; compare systems on the same queries, paired. It does not cover the variation
#   between trainings.
# - Macro-F1 weights small classes as much as large ones; on a long tail it is low and noisy.
# - Purity rises with k, also for random clusters. Report k and the chance level.
# - Look at the worst query. A mean does not explain a failure.
#
# ## Five questions
#
# 1. All relevant items of a query are found, but at ranks 6 to 10. What is AP@5, by each denominator?
# 2. Why can mAP@5 divided by *all relevant* not reach 1 for a large category, and what does that do to a mean
#    over categories?
# 3. Recall@10 of one direction is 0.30 in a gallery of 33 products. Is that good?
# 4. Two intervals overlap. Does it follow that the systems do not differ? What do you compute?
# 5. Someone reports purity 0.9. Which two questions do you ask?

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. It is 0 by all relevant and by what fits: no hit is among the first five places. Divided by the hits found it is
#    0/0, which the package defines as 0.
# 2. At most five places can be hits, so its largest value is 5/R: below 1 for every category with more than five
#    relevant products. The mean over categories then falls with the sizes of the categories, whatever the model.
# 3. No: chance is 10/33 = 0.30.
# 4. No. Each interval contains the variation of the queries, which cancels in the difference on the same queries.
#    Compute the paired difference and its interval, as above for the picture: unpaired it is not decided, paired it is.
# 5. How many clusters, and what purity do random clusters of the same sizes have? With one cluster per product, it
#    is 1.
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures ap_denominators ap_two_systems bootstrap retrieval_sheet product
# scale figures retrieval_by_subset retrieval_by_direction long_tail_f1 purity downstream_tasks
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
