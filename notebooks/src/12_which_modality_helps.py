# %% [markdown]
# # 12 · Which modality helps?
#
# **The question.** A product has text, table, image, video and audio. Which of them helps to find it? If you could
# pay for one more modality in your shop, which one would you choose?
#
# You will build:
# - a search with each of the **31 subsets** (子集) of five modalities, from *one* trained model;
# - a fair comparison: the same queries, a **paired difference** (配对差值), and its interval;
# - the **retention curve** (保留曲线): the remaining quality when modalities are missing;
# - the **Shapley value** (沙普利值): one fair number per modality, with an interval over trainings that you write;
# - the difference between a modality that helps in *training* and one that helps in the *query*.
#
# Paper: section 5, retrieval with fewer modalities. Code: `scale/evaluation/retrieval.py`,
# `scale/studies/retention.py`.

# %%
import numpy as np
import pandas as pd
import torch
from scipy import stats

import scale
from scale import exercises
from scale.evaluation import ProductArrays, embed_dataset, subset_embedding, subset_retrievals
from scale.modalities import INDEX, MODALITIES
from scale.notebook import approx, demo_run, device, format_estimate, samples, setup
from scale.studies import shapley, subset_key

setup(seed=0)

# %% [markdown]
# ## "Help" means two things
#
# | | varied | fixed |
# |---|---|---|
# | help in the **query** | the modalities of the query | the trained model |
# | help in **training** | the modalities of the training products | the test |
#
# They need not agree. We begin with the query, because one trained model is enough for it.
#
# ## One vector from any subset
#
# Each encoder gives its own feature $f_m$. A query with the modalities $S$ becomes one vector: scale each feature to
# length 1, add, and scale the sum to length 1 again.
#
# $$e_S = \frac{\sum_{m \in S} \hat f_m}{\lVert \sum_{m \in S} \hat f_m \rVert}, \qquad \hat f = f / \lVert f \rVert$$
#
# By hand: the text's feature is (2, 0), the picture's (3, 4). Scaled to length 1 they are (1, 0) and (0.6, 0.8). The
# sum is (1.6, 0.8), of length 1.789. So the query is (0.894, 0.447): between the two.
#
# **Names.** Capital letters at the end of a name are the axes of the array: `features_NMD` has N products, M
# modalities and D numbers; `value_Q` has one value per query, `value_S` one per training (seed).

# %%
features_NMD = np.zeros((1, 5, 2), dtype=np.float32)
features_NMD[0, INDEX["text"]], features_NMD[0, INDEX["image"]] = (2, 0), (3, 4)
has_NM = np.array([[True, False, True, False, False]])
query_ND, asks_N = subset_embedding(features_NMD, has_NM, ("text", "image"))
np.testing.assert_allclose(query_ND[0], np.array([1.6, 0.8]) / np.hypot(1.6, 0.8), atol=1e-6)
print("query:", query_ND[0].round(3), "- has one of the two modalities:", asks_N[0])

# %% [markdown]
# So no subset needs a new training: run the five encoders once, then combine. We take the demo model and the test
# products that have **all five** modalities. Then every subset has the same queries; below you will see why that
# matters.

# %%
run = demo_run()
test = run.dataset(samples(), "test")
complete = test.subset(np.flatnonzero(test.present_NM.all(axis=1)))
pooled = embed_dataset(run.model, complete, device=device(), progress=False)
products = ProductArrays.of(complete, pooled)
print(
    f"{len(complete)} of {len(test)} test products are complete; features {pooled.pooled_NMD.shape}"
)

# %% [markdown]
# **The task.** A query product shows a subset of its modalities. The gallery contains all other products, with all
# of theirs. A product is *relevant* (相关) if it has the same category. The simplest figure is **mAP@1**: the share of
# queries whose first hit is relevant. By hand, for text and image:

# %%
query_ND, _ = subset_embedding(pooled.pooled_NMD, pooled.present_NM, ("text", "image"))
gallery_ND, _ = subset_embedding(pooled.pooled_NMD, pooled.present_NM, MODALITIES)
labels, hits = np.array(products.labels), []
for n in range(len(labels)):
    cosine_N = gallery_ND @ query_ND[n]
    cosine_N[n] = -2  # the query itself is never in its gallery
    if (labels == labels[n]).sum() > 1:  # its category has another product
        hits.append(labels[cosine_N.argmax()] == labels[n])
found = subset_retrievals(products, "full", ks=(1, 5))
np.testing.assert_allclose(np.mean(hits), np.nanmean(found["text+image"].values["mAP@1"]))
print(f"{len(hits)} queries have a right answer; mAP@1 {approx(np.mean(hits))}")

# %% [markdown]
# `found` already contains all 31 subsets: 5 + 10 + 10 + 5 + 1 = 2⁵ − 1. From here on we use **mAP@5**, which uses
# the first five ranks (notebook 14 explains it). We keep its value for *every query*, because we need the single
# values later. The 32nd subset is the empty one: a query without modalities has the result of chance.

# %%
ALL, EMPTY = scale.modalities.subset_name(MODALITIES), ""
values = {subset: one.values["mAP@5"] for subset, one in found.items()}
values[EMPTY] = found[ALL].chance["mAP@5"]  # expected value under a random order
asked_N = ~np.isnan(values[ALL])
values = {subset: value_N[asked_N] for subset, value_N in values.items()}  # value_Q by subset
v = {subset: value_Q.mean() for subset, value_Q in values.items()}
assert len(v) == 32
pd.Series({s or "(nothing)": approx(v[s]) for s in (EMPTY, *MODALITIES, ALL)}, name="mAP@5")

# %% [markdown]
# All of them in one picture, with intervals over the queries (bootstrap, see below). Filled dots under a bar mark
# the modalities of the query. For comparison: the same model before training (diamonds), and chance (line).

# %%
untrained = scale.model.ScaleModel(run.config.model, run.config.missing)
raw = ProductArrays.of(complete, embed_dataset(untrained, complete, progress=False))
before = {s: one.values["mAP@5"] for s, one in subset_retrievals(raw, "full", ks=(5,)).items()}
chance = {"value": v[EMPTY], "low": None, "high": None, "n": len(complete)}
tree = {"chance": {s: {"mAP@5": chance} for s in found}}
for kind, by_subset in (("trained", values), ("untrained", before)):
    intervals = scale.evaluation.estimates({s: by_subset[s] for s in found})
    tree[kind] = {s: {"mAP@5": one.to_dict()} for s, one in intervals.items()}
scale.plot.retrieval_bars(tree, metric="mAP@5")

# %% [markdown]
# Three observations. More modalities give better results, on average. But the gain diminishes: the step from one to
# two is larger than that from four to five. And the whiskers are long: 37 queries are few.

# %%
by_size = [np.mean([v[s] for s in found if s.count("+") == others]) for others in range(5)]
print("mean mAP@5 with 1 to 5 modalities:", ", ".join(approx(value) for value in by_size))
gains = np.diff([v[EMPTY], *by_size])
assert gains[0] > gains[1] > gains[4]
assert by_size[4] > by_size[0] + 0.1

# %% [markdown]
# These means hide the single subsets. One dot per subset, drawn with seaborn: the best and the worst single modality
# lie far apart; with four modalities the dots lie closer together.

# %%
import matplotlib.pyplot as plt
import seaborn as sns

shown = [subset.count("+") + 1 for subset in found]
figure, axes = plt.subplots(figsize=(5, 2.8), layout="constrained")
sns.stripplot(x=shown, y=[v[subset] for subset in found], jitter=0.15, ax=axes)
axes.set(xlabel="modalities of the query", ylabel="mAP@5")
spread = [np.ptp([v[s] for s in found if s.count("+") == others]) for others in range(5)]
assert spread[0] > spread[3]
sns.despine(figure)

# %% [markdown]
# ## A valid comparison needs the same queries
#
# Now look at **all** test products, not only the complete ones. The queries of a subset are the products that have
# at least one of its modalities.

# %%
everybody = ProductArrays.of(test, embed_dataset(run.model, test, device=device(), progress=False))
wide = subset_retrievals(everybody, "full", ks=(5,))
table = pd.DataFrame(index=list(MODALITIES))
table["queries"] = [len(wide[m].rows_Q) for m in MODALITIES]
table["mAP@5"] = [approx(np.nanmean(wide[m].values["mAP@5"])) for m in MODALITIES]
table["chance"] = [f"{np.nanmean(wide[m].chance['mAP@5']):.3f}" for m in MODALITIES]
table

# %% [markdown]
# There are 143 text queries and 78 video queries: *different* products. Gaps in a shop are not random (notebook 02).
# Let us query with the **table alone**, once for the products that have a clip, once for those that have none. The
# clip is never used. Do you expect a difference?

# %%
value_NS = np.full((len(test), len(MODALITIES)), np.nan)  # NaN where a product is not a query
for s, m in enumerate(MODALITIES):
    value_NS[wide[m].rows_Q, s] = wide[m].values["mAP@5"]
clip_N = test.present_NM[:, INDEX["video"]]
by_table_N = value_NS[:, INDEX["table"]]
with_clip, without = np.nanmean(by_table_N[clip_N]), np.nanmean(by_table_N[~clip_N])
print(f"queried by the table: products with a clip {approx(with_clip)}, without {approx(without)}")
assert with_clip > without + 0.05

# %% [markdown]
# Products with a clip are **easier**, even if the clip is not used. So the row "video" of the table above is biased:
# its queries are easy products. A fair comparison uses the products that have **both**, and the difference query by
# query:
#
# $$d_q = \text{AP}_q(\text{video}) - \text{AP}_q(\text{table})$$

# %%
video_N, table_N = value_NS[:, INDEX["video"]], value_NS[:, INDEX["table"]]
unfair = np.nanmean(video_N) - np.nanmean(table_N)
difference_Q = (video_N - table_N)[~np.isnan(video_N - table_N)]
fair = difference_Q.mean()
print(
    f"row minus row: {approx(unfair)}; on the {len(difference_Q)} products of both: {approx(fair)}"
)
assert fair < unfair - 0.02
assert fair < 0.02

# %% [markdown]
# Video's lead is gone. The apparent advantage of video was a comparison of different products.
#
# How certain is this? **Bootstrap** (自助法): draw as many queries as there are, with replacement, 1,000 times, and
# take the range of the middle 95 % of the means. The package does exactly this.

# %%
draws_RQ = np.random.default_rng(0).integers(0, len(difference_Q), (1000, len(difference_Q)))
mean_R = difference_Q[draws_RQ].mean(axis=1)
low, high = np.percentile(mean_R, [2.5, 97.5])
package = scale.evaluation.paired_difference(video_N, table_N)
np.testing.assert_allclose([low, high], [package.low, package.high], atol=1e-9)
print(f"video - table: {approx(package.value)}, 95 % [{approx(low)}, {approx(high)}]")
assert low < 0 < high

# %% [markdown]
# The interval contains 0: so few queries do not decide which of the two is better. Why pair at all? An easy query is
# easy for both, and that part cancels in the difference (notebook 11 shows it with five seeds). From here on we use
# the complete products.
#
# ## The retention curve
#
# How much quality remains if the query lacks modalities? For $k$ missing ones, take the mean over all subsets with
# $5-k$, and divide by the value of all five:
#
# $$\text{kept}_k = \frac{1}{\binom{5}{k}} \sum_{|S| = 5-k} \frac{v(S)}{v(\text{all})}$$

# %%
by_hand = [by_size[4 - k] / v[ALL] for k in range(5)]
figures = {f"mAP@5 {subset}": v[subset] for subset in found}
np.testing.assert_allclose(scale.studies.retained_shares(figures), by_hand)
pd.Series({k: approx(100 * share, 0) + " %" for k, share in enumerate(by_hand)}, name="kept")

# %% [markdown]
# Is this specific to one model? The study `modalities` trained five models (preset `micro`, smaller than the demo's
# `tiny`) and measured all subsets. The picture shows their mean and the demo's curve.

# %%
folder = samples().folder.parent / "figures" / "studies"
study = scale.studies.STUDIES["modalities"](False)
records = scale.studies.load_finished(study, samples().folder, folder)
(curve,) = scale.studies.retention_curves(study, records).values()
count = len(values[ALL])
live = [scale.evaluation.Estimate(share, None, None, count) for share in by_hand]
print("study, kept:", ", ".join(f"{one.value:.0%}" for one in curve.values()))
assert curve[1].low > 0.85
assert curve[4].high < 0.65
scale.plot.retention_curve({"5 × micro": curve, "1 × tiny": dict(enumerate(live))})

# %% [markdown]
# In the study, 93 % remains with one modality missing, and about half with four. Quality falls slowly because the
# other modalities compensate. (A line that starts at 100 % hides the absolute value. Always report that too.)
#
# ## One fair number per modality
#
# Which modality is the most valuable? There are three simple answers, and none of them is fair:
#
# - **alone**: $v(\{m\})$. But this includes information that the others contain, too.
# - **last**: $v(\text{all}) - v(\text{all without } m)$. But if two are redundant, both look worthless.
# - **in a fixed order**: its gain after those before it. But the order is arbitrary.
#
# By hand, two modalities: the empty query has 0.05 (chance), text 0.25, image 0.30, both 0.40.
#
# | | text first | image first | mean |
# |---|---|---|---|
# | text adds | 0.25 − 0.05 = 0.20 | 0.40 − 0.30 = 0.10 | **0.15** |
# | image adds | 0.40 − 0.25 = 0.15 | 0.30 − 0.05 = 0.25 | **0.20** |
#
# The mean over the orders is the **Shapley value** $\phi_m$. Note: 0.15 + 0.20 = 0.35 = 0.40 − 0.05. The values
# always sum to the total gain over the empty query. With five modalities there are 5! = 120 orders:

# %%
from itertools import permutations

total = dict.fromkeys(MODALITIES, 0.0)
for order in permutations(MODALITIES):
    for place, m in enumerate(order):
        total[m] += v[subset_key(order[: place + 1])] - v[subset_key(order[:place])]
phi = {m: total[m] / 120 for m in MODALITIES}
np.testing.assert_allclose(sum(phi.values()), v[ALL] - v[EMPTY])
for m, value in shapley(v).items():
    np.testing.assert_allclose(value, phi[m])

# %% [markdown]
# The package does not enumerate the 120 orders. Many of them share a step: text after {image, video} is the same
# whether image or video came first. So it uses the 16 distinct steps of each modality, each weighted by the number
# of orders that contain it:
#
# $$\phi_m = \sum_{S \not\ni m} \frac{|S|!\,(4-|S|)!}{5!} \big(v(S \cup m) - v(S)\big)$$

# %%
from math import factorial

for m in MODALITIES:
    value = 0.0
    for before in ((), *(s for s in scale.modalities.SUBSETS if m not in s)):
        if m not in before:
            share = factorial(len(before)) * factorial(4 - len(before)) / factorial(5)
            value += share * (v[subset_key((*before, m))] - v[subset_key(before)])
    np.testing.assert_allclose(value, phi[m])

# %% [markdown]
# One more property makes it practical: $\phi$ is a weighted sum of values $v$. So we can compute it for *each query*
# and bootstrap over the queries, as before.

# %%
steps = scale.studies.marginal_contributions(values)  # by modality and number of others: value_Q
flat = {(m, k): step_Q for m in MODALITIES for k, step_Q in enumerate(steps[m])}
intervals = scale.evaluation.estimates(flat)
lines = {m: [intervals[m, k] for k in range(5)] for m in MODALITIES}
shares = scale.evaluation.estimates(shapley(values))
assert all(abs(shares[m].value - phi[m]) < 1e-9 for m in MODALITIES)
scale.plot.shapley_figure(lines, shares, (v[EMPTY], v[ALL]))

# %% [markdown]
# **Left**: the gain of a modality when 0, 1, 2, 3 or 4 others are already present. The first one adds most,
# whichever it is. After that, they are partly redundant. **Right**: the mean of each line. The whiskers are long: 37
# queries and one model support the claim that the table helps, but not that image is worse than text.

# %%
assert all(lines[m][0].value > 2 * shares[m].value for m in MODALITIES)
assert all(lines[m][4].value < 0.1 for m in MODALITIES)
assert shares["table"].low > 0 > shares["image"].low - shares["text"].high
table = pd.DataFrame(index=list(MODALITIES))
table["alone, less chance"] = [approx(lines[m][0].value) for m in MODALITIES]
table["Shapley"] = [approx(shares[m].value) for m in MODALITIES]
table["last"] = [approx(lines[m][4].value) for m in MODALITIES]
table

# %% [markdown]
# One model gives three answers. "Alone" is more than twice as large as "Shapley", and "last" is below 0.1 for all. So
# a statement like "modality X adds +0.02" is incomplete: **after which others?**
#
# ## Exercise 1: an interval over trainings
#
# Another training, with another seed, gives other numbers. If $S$ trainings have the mean $\bar x$ and the standard
# deviation $s$ (divided by $S - 1$), the 95 % **t interval** (t 置信区间) of the mean is
#
# $$\bar x \pm t_{0.975,\,S-1} \cdot \frac{s}{\sqrt S}$$
#
# The factor $t$ is a quantile of Student's t distribution with $S - 1$ degrees of freedom. It is larger
# than the 1.96 of the normal distribution, because $s$ itself is estimated from few values:

# %%
factors = {S: stats.t.ppf(0.975, S - 1) for S in (2, 3, 5, 20, 1000)}
print("  ".join(f"S = {S}: {t:.2f}" for S, t in factors.items()))
assert factors[5] > 2.7

# %% [markdown]
# Complete the function, run it, and run the check below it. If something is wrong, the check names the mistake. The
# solution is folded.


# %% tags=["exercise"]
def t_interval(value_S):
    """Return (low, high), the 95 % interval of the mean of a figure over S trainings.

    value_S: one value per training (array). stats.t.ppf(q, df) is the quantile of Student's t.
    """
    raise NotImplementedError


# %% tags=["exercise-check"]
exercises.check_t_interval(t_interval)


# %% tags=["solution"]
def t_interval(value_S):
    """Return (low, high), the 95 % interval of the mean over S trainings."""
    S = len(value_S)
    half = stats.t.ppf(0.975, S - 1) * value_S.std(ddof=1) / S**0.5
    return value_S.mean() - half, value_S.mean() + half


exercises.check_t_interval(t_interval)

# %% [markdown]
# The study has five trainings. Its queries are the complete products of the validation and test splits that share
# their category with another one. Its Shapley values, with your intervals (the package's are the same):

# %%
five = [r.figures["complete"] for r in records if r.factors == {"modalities": ALL}]
games = [{s: figures[f"mAP@5 {s}"] for s in found} for figures in five]
games = [game | {EMPTY: figures["chance mAP@5"]} for game, figures in zip(games, five, strict=True)]
value_S = {m: np.array([shapley(game)[m] for game in games]) for m in MODALITIES}
in_study = {m: scale.studies.seed_interval(value_S[m]) for m in MODALITIES}
for m, one in in_study.items():
    low, high = t_interval(value_S[m])
    np.testing.assert_allclose([low, high], [one.low, one.high], atol=1e-9)
    print(f"{m:6}{one.value:.3f} [{low:.3f}, {high:.3f}]")
assert all(one.low > 0.04 for one in in_study.values())
assert in_study["table"].low > max(in_study[m].value for m in MODALITIES if m != "table")

# %% [markdown]
# The same as a picture, with the gain after 0, 1, 2, 3 and 4 others.

# %%
all_lines = [scale.studies.marginal_contributions(game) for game in games]
lines = {
    m: [scale.studies.seed_interval(np.array([one[m][k] for one in all_lines])) for k in range(5)]
    for m in MODALITIES
}
ends = [np.mean([game[subset] for game in games]) for subset in (EMPTY, ALL)]
held_out = [p for p in samples() if p.split in ("val", "test") and len(p.present) == 5]
kinds = [p.category for p in held_out]
print(sum(kinds.count(kind) > 1 for kind in kinds), "queries")
scale.plot.shapley_figure(lines, in_study, ends, trainings=5)

# %% [markdown]
# Other models (smaller ones) and other queries (validation products too). Here all five help, by 0.07 to 0.11, and
# the **table** is first: brand, material and size are informative about the category. And again the lines fall.
#
# ## Help in training
#
# Now the other question. The same study also trained models with **only** text; text and table; and so on, in the
# fixed order, five seeds each. Each model is queried with all of its modalities.

# %%
outcomes = scale.studies.summarise(study, records).outcomes
claims = [o for o in outcomes if o.comparison.test == "held out"]
table = pd.DataFrame(index=[o.comparison.claim for o in claims])
table["difference, over seeds"] = [format_estimate(o.seeds) for o in claims]
table["over products"] = [format_estimate(o.products) for o in claims]
table["over categories"] = [format_estimate(o.categories) for o in claims]
table["verdict"] = [o.verdict for o in claims]
table

# %% [markdown]
# Audio, the last one, adds +0.140! The others add 0.041 or less. Is audio the best modality? **No.** It is the last in
# *our* order, and other things change with it. Count the pairs of modalities, and so the contrastive losses:

# %%
for count in range(1, 6):
    print(f"{count} modalities: {count * (count - 1) // 2} contrastive losses")

# %% [markdown]
# - With text alone there is **no pair**, so no contrastive loss at all: the model only fills in masked words.
# - The fifth modality adds four losses to the six existing ones. All encoders learn more in the same 120 steps.
# - And some products have a sound but no clip:

# %%
clip_N, sound_N = test.present_NM[:, INDEX["video"]], test.present_NM[:, INDEX["audio"]]
print((sound_N & ~clip_N).sum(), "of the", len(test), "test products")

# %% [markdown]
# So "trained with audio" differs from "queried with audio". We can separate the two: query the model of *five* with
# the first one, two, three, four modalities only.


# %%
def of_study(trained_with, metric):
    """The figure on all held-out products, over the seeds."""
    runs = [r for r in records if r.factors == {"modalities": trained_with}]
    return scale.studies.seed_interval(np.array([r.figures["held out"][metric] for r in runs]))


prefixes = [scale.modalities.subset_name(MODALITIES[:count]) for count in range(1, 6)]
trained = [of_study(prefix, "mAP@5") for prefix in prefixes]
queried = [of_study(ALL, f"mAP@5 {prefix}") for prefix in prefixes]
for name, a, b in zip(prefixes, trained, queried, strict=True):
    print(f"trained on {name} {a.value:.3f}; on all five, queried with it {b.value:.3f}")
assert all(b.value > 1.4 * a.value for a, b in zip(trained[:4], queried[:4], strict=True))
scale.plot.added_modalities(trained, queried)

# %% [markdown]
# The upper line is the model that was **trained** on all five. Queried with text alone it reaches 0.101; the model
# trained on text alone 0.042. Queried with everything except sound: 0.196 against 0.095. So most of the gain from
# audio arises in **training**: the other encoders become better. In the query it adds 0.04.
#
# ### One caveat
#
# The two lines differ in a second way. The gallery of the upper line contains all five modalities, that of the lower
# line only those of the model. A better gallery helps any query. How much? With the demo model we can search both
# galleries with the same subset:

# %%
same = subset_retrievals(products, "same", ks=(5,))
table = pd.DataFrame(index=prefixes)
table["gallery shows the same"] = [np.nanmean(same[s].values["mAP@5"]) for s in prefixes]
table["gallery shows all five"] = [v[s] for s in prefixes]
assert (table.iloc[-1].diff().abs().max()) < 1e-9  # with all five they are one and the same
table.map(approx)

# %% [markdown]
# So the effect can have either sign. We trained the study's models for text and for all five once more (seeds 0 to
# 2; `docs/findings.md`) and queried with text. These are the recorded mAP@5:

# %%
text_model, five_with_texts, five_with_all = 0.041, 0.076, 0.097  # the last two: their galleries
print(f"whole effect: a factor of {five_with_all / text_model:.1f}")
print(f"training, same gallery: {five_with_texts / text_model:.1f}")
print(f"gallery: {five_with_all / five_with_texts:.1f}")
assert five_with_texts / text_model > five_with_all / five_with_texts

# %% [markdown]
# Most of the effect is due to training, the rest to the gallery.
#
# ### The joint transformer has no part in this
#
# All numbers of this notebook combine features of the encoders; a missing modality is left out, not imputed. Noise in
# place of the whole JCT therefore changes none of them. Embeddings after the JCT exist too (`features="fused"`), and
# the study `fused` compares them with these (docs/findings.md).

# %%
import copy

noisy = copy.deepcopy(run.model).cpu()
torch.manual_seed(0)
with torch.no_grad():
    for weight in noisy.jct.parameters():
        weight.normal_()
trained, asked = run.model.cpu(), ("text", "image")
for features in ("encoder", "fused"):
    settings = {"subset": asked, "progress": False, "features": features}
    found = [embed_dataset(m, complete, **settings) for m in (trained, noisy)]
    one_ND, other_ND = (embeddings.product(asked).emb_ND for embeddings in found)
    moved = np.abs(one_ND - other_ND).max()
    print(f"{features}: moved by noise in the JCT: {moved > 1e-6}")
    assert (moved > 1e-6) == (features == "fused")

# %% [markdown]
# ## Other shops
#
# The same two lines as numbers, for all catalogues on which the study has been run. (The table grows as more studies
# are run.)

# %% tags=["nbval-ignore-output"]
# not compared: the study is still being run on further catalogues
rows = {}
for path in sorted(folder.glob("modalities-*.parquet")):
    there = [
        (r.factors["modalities"], r.figures["held out"]) for r in scale.studies.read_records(path)
    ]
    for prefix in prefixes:
        alone = [figures["mAP@5"] for name, figures in there if name == prefix]
        asked = [figures[f"mAP@5 {prefix}"] for name, figures in there if name == ALL]
        means = [f"{np.mean(one):.3f}" if one else "-" for one in (alone, asked)]
        rows[path.stem.removeprefix("modalities-"), prefix] = means
names = ["trained with these only", "trained with five, queried by these"]
pd.DataFrame.from_dict(rows, orient="index", columns=names)

# %% [markdown]
# ## Exercise 2: the value of the empty query
#
# Someone sets $v(\text{nothing}) = 0$ instead of chance. How does each Shapley value change? Answer first, then
# compute.

# %% tags=["solution"]
from_zero = shapley(v | {EMPTY: 0.0})
for m in MODALITIES:
    np.testing.assert_allclose(from_zero[m] - phi[m], v[EMPTY] / 5)
print(f"each grows by a fifth of chance, {v[EMPTY] / 5:.3f}: chance would be counted as merit")

# %% [markdown]
# ## Exercise 3: are two modalities redundant?
#
# The **interaction** (交互) of two modalities is $v(ij) - v(i) - v(j) + v(\text{nothing})$. Above 0 they are
# complementary, below 0 redundant. Compute all ten. Why are nearly all of them below 0? Give an example of a pair
# above 0.

# %% tags=["solution"]
table = pd.DataFrame("", index=list(MODALITIES), columns=list(MODALITIES))
found_pairs = []
for i, a in enumerate(MODALITIES):
    for b in MODALITIES[i + 1 :]:
        found_pairs.append(v[f"{a}+{b}"] - v[a] - v[b] + v[EMPTY])
        table.loc[a, b] = approx(found_pairs[-1])
assert np.mean(found_pairs) < -0.05
table
# Both identify the category, which counts only once. Above 0: they identify it only together,
# as a brand (text) and a shape (image) might.

# %% [markdown]
# ## Exercise 4: another order
#
# Add the modalities to the query in the order audio, video, image, table, text. What does each add now, and what in
# our order? Which of the five changes most? Do both columns have the same sum?

# %% tags=["solution"]
columns = {}
for name, order in (("our order", MODALITIES), ("reversed", MODALITIES[::-1])):
    columns[name] = {
        m: v[subset_key(order[: place + 1])] - v[subset_key(order[:place])]
        for place, m in enumerate(order)
    }
table = pd.DataFrame(columns)
np.testing.assert_allclose(table.sum(), v[ALL] - v[EMPTY])
assert table.loc["audio", "reversed"] > table.loc["audio", "our order"] + 0.1
table.map(approx)

# %% [markdown]
# ## What to remember
#
# - One model serves all 31 subsets: features are computed once and combined.
# - Compare subsets on the **same queries**, by paired differences. Different subsets have different query products.
# - One missing modality costs little, because modalities are redundant: the curve falls slowly.
# - The first modality adds most, the last least, whichever it is. The Shapley value is the mean over all orders; the
#   values sum to "all less nothing".
# - Few trainings need Student's t: with five, the factor is 2.78, not 1.96.
# - A modality can help in training but hardly in the query. The order of adding is not a ranking.
# - These embeddings read the encoders only. What the joint transformer adds is another question (study `fused`).
#
# ## Five questions
#
# 1. Why is no new training needed for another query subset?
# 2. Video alone reaches a higher mAP@5 than text alone, over all products. Which two reasons can there be?
# 3. Two modalities contain exactly the same information. What are their values "alone", "last" and Shapley?
# 4. Why is the model of text alone so weak, and what does a second modality add besides its content?
# 5. You may buy one more modality for your shop. Which numbers of this notebook would you use, and which not?

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. The five encoders compute a feature for each modality, independently of the others. The vector of a subset is
#    their normalised sum: it needs no parameters.
# 2. Its queries are other products, those with a clip, and these are easier even for the table; or the clip really
#    contains more about the category than the title does. The difference on the products that have both decides.
# 3. "Alone" both have the same value. "Last" both have nearly 0, since the other one is already there. Shapley
#    values are equal too, and share what the two contribute together.
# 4. It has no pair, so no contrastive loss trains it. A second modality adds a contrastive loss, which trains the
#    text encoder as well.
# 5. Use the gain of each candidate *after the modalities that you already have*, on the same queries, with intervals
#    over products and over trainings, and from models trained with and without it. Do not use "alone", the rows with
#    different queries, or the place in a fixed order. The Shapley value averages over sets that you do not have.
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures subset_bars retention shapley added_modalities
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
