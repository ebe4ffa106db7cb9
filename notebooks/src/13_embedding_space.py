# %% [markdown]
# # 13 · The embedding space
#
# **The question.** A trained model turns every title, table, picture, clip and sound into a vector of 64 numbers:
# a point in a space of 64 dimensions. Papers show that space as a coloured map. Where do the points really lie,
# what does such a map show, and which of its features are artefacts?
#
# You will build, and check on numbers:
# - the **modality gap** (模态鸿沟): titles in one place, pictures in another, before and after training;
# - **alignment** (对齐性) and **uniformity** (均匀性), two numbers that describe the space without a map;
# - two kinds of map, **PCA** (主成分分析) and **UMAP**, by modality and by category;
# - a measure of a map's faithfulness, **trustworthiness** (可信度), and the neighbours that a map separates;
# - maps of points with known structure, and of noise: the artefacts of a map.
#
# Paper: the contrastive losses that bring the modalities together (section 4). Code: `scale/viz/embeddings.py`,
# `scale/viz/illustrations/space.py`. About 40 seconds, a third of it for compiling UMAP.

# %%
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import normalize

import scale
from scale.notebook import approx, demo_data, demo_run, device, play, samples, setup
from scale.viz import modality_gap, neighbour_ranks, trustworthiness, umap_coordinates

setup(seed=0)

# %% [markdown]
# ## Small enough to check by hand
#
# The cosine does not depend on the length of a vector. So we divide each vector by its length: every feature
# becomes a **unit vector** (单位向量), a point on the unit sphere. In two dimensions the sphere is a circle, and a
# point is an angle. Here are three products with a title and a picture each. The titles lie at 0, 20 and 40
# degrees, the pictures at 80, 100 and 120.
#
# **Names.** Capital letters at the end of a name are the axes of the array: `unit_NMD` has N products, M modalities
# and D numbers, `unit_PD` has P points of D numbers, `rank_NN` is a table of products by products.

# %%
degrees_NM = np.array([[0, 80], [20, 100], [40, 120]])  # one row per product: text, image
angle_NM = np.deg2rad(degrees_NM)
unit_NMD = np.stack([np.cos(angle_NM), np.sin(angle_NM)], axis=2)
mean_MD = unit_NMD.mean(axis=0)
print("mean of the titles  ", mean_MD[0].round(2), " length", np.linalg.norm(mean_MD[0]).round(2))
print("mean of the pictures", mean_MD[1].round(2), " length", np.linalg.norm(mean_MD[1]).round(2))
gap = np.linalg.norm(mean_MD[0] - mean_MD[1])
print("modality gap", gap.round(2))

# %% [markdown]
# The **modality gap** of two modalities is the distance of their two means. (The name is from Liang and
# others, "Mind the Gap", 2022.) Here it is 1.23. For orientation: two single points at a right angle are
# $\sqrt 2$ = 1.41 apart.
#
# A mean of unit vectors lies *inside* the circle. Its length measures how much the points agree: 1 if all are the
# same, 0 if they cancel out. Its square is exactly the mean cosine of all pairs of points (including each point
# with itself). So the gap is determined by cosines:
#
# $$\lVert \mu_a - \mu_b \rVert^2 \;=\; \underbrace{\overline{\cos}_{aa}}_{\text{within } a}
# + \underbrace{\overline{\cos}_{bb}}_{\text{within } b} - 2\,\underbrace{\overline{\cos}_{ab}}_{\text{between}}$$

# %%
titles_ND, pictures_ND = unit_NMD[:, 0], unit_NMD[:, 1]
within_titles = (titles_ND @ titles_ND.T).mean()
within_pictures = (pictures_ND @ pictures_ND.T).mean()
between = (titles_ND @ pictures_ND.T).mean()
print(f"within {within_titles:.2f} and {within_pictures:.2f}, between {between:.2f}")
np.testing.assert_allclose(gap**2, within_titles + within_pictures - 2 * between)

# %% [markdown]
# Remember: **a large gap means that features of one modality are more alike than features of two modalities.** It
# does not yet show whether a title is near *its own* picture.
#
# ## The shop, before and after training
#
# Now the 146 test products of the sample shop. We embed them twice: with the model that `make demo` trains, and
# with the same model before its first step (random weights). A product has up to five features; each present one
# becomes a point.

# %%
run, test = demo_run(), demo_data("test")
models = {"untrained": run.untrained(), "trained": run.model}
embedded = {
    stage: scale.evaluation.embed_dataset(model, test, device=device(), progress=False)
    for stage, model in models.items()
}
stages = {stage: scale.viz.Points.of(features) for stage, features in embedded.items()}
present_NM = embedded["trained"].present_NM
pd.DataFrame([present_NM.sum(axis=0)], columns=scale.MODALITIES, index=["points"])

# %% [markdown]
# The gap of all five modalities is the mean over their ten pairs. A loop computes it; the package must return the
# same.


# %%
def slow_gap(unit_PD, modality_P):
    means = [unit_PD[modality_P == m].mean(axis=0) for m in scale.MODALITIES]
    pairs = [(a, b) for i, a in enumerate(means) for b in means[i + 1 :]]
    return np.mean([np.linalg.norm(a - b) for a, b in pairs])


for points in stages.values():
    slow = slow_gap(points.unit_PD, points.modality_P)
    np.testing.assert_allclose(modality_gap(points), slow, rtol=1e-5)

# %% [markdown]
# In addition we compute its cosines, in three kinds: points of the **same modality** (of different products),
# points of **different modalities** (of different products), and, the target of training, different modalities of
# **one product**.

# %%
rows = {}
for stage, points in stages.items():
    kinds = {kind: cosine_P.mean() for kind, cosine_P in scale.viz.cosine_kinds(points).items()}
    rows[stage] = {"gap": modality_gap(points), **kinds}
numbers = pd.DataFrame(rows).T
numbers.map(approx)

# %% [markdown]
# The following must hold on any machine:

# %%
before, after = numbers.loc["untrained"], numbers.loc["trained"]
assert before["gap"] > 1.2  # five bundles, nearly at right angles
assert before["within"] > 0.9  # and narrow ones
assert abs(before["same"] - before["between"]) < 0.02  # its own picture is no nearer than any other
assert after["gap"] < 0.5 * before["gap"]  # training closes most of the gap, not all of it
assert after["same"] > after["between"] + 0.1  # its own picture is nearer now
assert after["within"] > after["between"]  # things of one modality still agree a little more

# %% [markdown]
# Read the first row. Before training, two titles of *different* products have a cosine near 1. Why? A network
# with random weights has nearly the same output for every input: each encoder maps all its points into one narrow
# **cone** (锥), and five encoders with five random initialisations have five cones. The gap is not the result of
# training. It exists before the first step and is unrelated to products: a title is as far from its own picture
# as from any other.
#
# Training opens the cones and brings them together, but not fully. CLIP shows the same. Contrastive learning
# (对比学习) only requires the own picture to be closer than *other pictures*, not closer than other titles.
#
# ## A first map: PCA
#
# **PCA** rotates the points so that the direction of largest variance lies along the first axis and that of the
# second largest along the second, and drops the other 62 directions. It is one line of linear algebra, the
# singular value decomposition (奇异值分解). A distance on the map is never larger than the true one: PCA can hide
# distances, but not invent them.

# %%
x_PD = stages["trained"].unit_PD.astype(float)
centred_PD = x_PD - x_PD.mean(axis=0)
U_PD, size_D, V_DD = np.linalg.svd(centred_PD, full_matrices=False)
xy_P2 = centred_PD @ V_DD[:2].T  # coordinates along the two longest directions
share = (size_D[:2] ** 2).sum() / (size_D**2).sum()
package_P2, package_share = scale.viz.principal_axes(x_PD)
np.testing.assert_allclose(np.abs(xy_P2), np.abs(package_P2), atol=1e-8)  # signs are free
np.testing.assert_allclose(share, package_share)
print(f"two of 64 directions hold {approx(100 * share, 0)} % of the spread")

# %% [markdown]
# The maps below share one scale. On the right are the cosines, by kind.

# %%
scale.plot.modality_gap_figure(stages)

# %% [markdown]
# Before training, a feature contains hardly more than its modality, and all points coincide in
# five spots; after training the five clouds overlap, and the blue cosines, of one product, have moved to the
# right. (Above, clips and sounds seem to be in one place. They are not: their gap lies along directions that this
# map has dropped. PCA hides distances.)
#
# ## Two numbers instead of a map
#
# Wang and Isola (2020) describe a contrastive space by two numbers. **Alignment** is the mean squared distance of
# points that belong together (here: two modalities of one product); smaller is better. **Uniformity** measures
# how evenly the points cover the sphere: 0 if all are in one point, about $-4$ if they are spread evenly.
#
# $$\text{alignment} = \overline{\lVert z_i - z_j \rVert^2} \qquad
# \text{uniformity} = \log \overline{\exp(-2\,\lVert x - y \rVert^2)}$$
#
# By hand for one pair of modalities, and against the package for all of them:

# %%
pooled_NMD = torch.from_numpy(embedded["trained"].pooled_NMD)
present_NM = torch.from_numpy(embedded["trained"].present_NM)
only = torch.zeros_like(present_NM)
only[:, [0, 2]] = present_NM[:, [0, 2]]  # text and image
both_N = only[:, 0] & only[:, 2]
z_NMD = normalize(pooled_NMD[both_N], dim=-1)
by_hand = (z_NMD[:, 0] - z_NMD[:, 2]).square().sum(-1).mean().item()
np.testing.assert_allclose(scale.training.alignment(pooled_NMD, only), by_hand, rtol=1e-5)
cosine = (z_NMD[:, 0] * z_NMD[:, 2]).sum(-1).mean().item()
np.testing.assert_allclose(
    by_hand, 2 - 2 * cosine, rtol=1e-5
)  # alignment is a function of the cosine

# %% [markdown]
# And uniformity, by a double loop over the titles:

# %%
titles_ND = normalize(pooled_NMD[present_NM[:, 0], 0], dim=-1)
terms = [
    torch.exp(-2 * (titles_ND[i] - titles_ND[j]).square().sum())
    for i in range(len(titles_ND))
    for j in range(i)
]
by_hand = torch.stack(terms).mean().log().item()
only = torch.zeros_like(present_NM)
only[:, 0] = present_NM[:, 0]
assert abs(scale.training.uniformity(pooled_NMD, only) - by_hand) < 1e-3

# %% [markdown]
# ## Over training
#
# The demo keeps only its last and its best checkpoint. So we train here, live, for 50 steps, with the contrastive
# losses alone: ten lines, all of them known from notebook 01. At four steps we embed the test products.

# %%
model, train = run.untrained().to(device()).train(), demo_data("train")
optimizer, history = torch.optim.AdamW(model.parameters(), lr=1e-3), {0: embedded["untrained"]}
for step in range(50):
    rows = scale.training.batch_indices(len(train), 64, seed=0, step=step)
    output = model.embed(train.collate(rows).to(device()))
    loss = scale.losses.pair_losses(output.pooled_BMD, output.present_BM).mean_P().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step + 1 in (20, 30, 50):
        history[step + 1] = scale.evaluation.embed_dataset(
            model, test, device=device(), progress=False
        )
history[run.config.train.steps] = embedded["trained"]  # the demo: all steps, all six losses

# %% [markdown]
# Maps (PCA, one scale) and, below, the gap and the three kinds of cosine. The last column is the demo.

# %%
snapshots = {step: scale.viz.Points.of(features) for step, features in history.items()}
scale.plot.gap_over_training(snapshots, last=run.config.train.steps)

# %% [markdown]
# At first nothing seems to happen (20 steps), then the cones open and move onto each other within a few steps.
# The gap falls because the cosines *within* a modality fall: different products must become different.

# %%
rows = {}
for step, features in history.items():
    pooled_NMD, present_NM = map(torch.from_numpy, (features.pooled_NMD, features.present_NM))
    aligned, even = (
        scale.training.alignment(pooled_NMD, present_NM),
        scale.training.uniformity(pooled_NMD, present_NM),
    )
    rows[step] = {"alignment": aligned, "uniformity": even}
over_time = pd.DataFrame(rows).T
assert over_time.alignment[50] < over_time.alignment[0] - 0.2
assert over_time.alignment.iloc[-1] > over_time.alignment[50] + 0.05
assert over_time.uniformity.iloc[-1] < over_time.uniformity[50] - 0.5
gaps = [modality_gap(points) for points in snapshots.values()]
assert gaps[-1] < gaps[-2] < 0.9 * gaps[0]
over_time.map(approx)

# %% [markdown]
# The two numbers pull against each other. In the first 50 steps the modalities come together (alignment falls).
# After that the model spreads the products over the sphere (uniformity falls strongly), and on the unseen *test*
# products alignment gets worse again. That is not a problem: retrieval only requires the own picture to be closer
# than the others, and spreading moves the others away.
#
# ## UMAP: a map made of neighbours
#
# PCA shows a quarter of the variance. **UMAP** gives up distances and only preserves neighbours. In short: for
# each point, find its 15 nearest neighbours in the space. Place all points in the plane. Let neighbours attract
# and random other points repel each other, for a few hundred rounds. The map shows the final positions; the axes
# have no meaning and no unit. (The first call compiles UMAP's inner loop, which takes about ten seconds.)

# %%
maps = {stage: umap_coordinates(points.unit_PD) for stage, points in stages.items()}
scale.plot.modality_maps(maps, stages["trained"].modality_P)

# %% [markdown]
# Untrained: five islands, one per modality, the gap in its purest form. Trained: titles, tables, clips and sounds
# look well mixed, and the pictures form a separate region. PCA above did not show that. Which map is right? The
# space itself answers this, not a map: of the 10 nearest points of a point, in all 64 dimensions, how many are of
# its own modality? By chance it would be about 20 %.


# %%
def own_share(points, k=10):
    """Per modality: share of the k nearest points, in 64 dimensions, that are of the same one."""
    rank_PP = neighbour_ranks(points.unit_PD)
    near_PP = (rank_PP >= 1) & (rank_PP <= k)
    same_PP = points.modality_P[:, None] == points.modality_P
    share_P = (near_PP & same_PP).sum(axis=1) / k
    return {m: share_P[points.modality_P == m].mean() for m in scale.MODALITIES}


shares = pd.DataFrame({stage: own_share(points) for stage, points in stages.items()}).T
shares.map(approx)

# %% [markdown]
# Neither is. The pictures are indeed separated most, as UMAP shows. But **no modality is mixed with the others**:
# far more than 20 % of the nearest neighbours of a title are titles. The means have come together, so the gap is
# small; the nearest neighbours have not. (Look at the histogram again: the violet cosines, of one modality, have
# the longer tail on the right, and neighbours come from the tail.) The gap describes means, not neighbours, and a
# two-dimensional map shows points as mixed that are not.

# %%
assert (shares.loc["untrained"] > 0.99).all()
assert (shares.loc["trained"] > 0.3).all()
assert shares.loc["trained"].mean() < 0.9
assert shares.loc["trained"].idxmax() == "image"

# %% [markdown]
# This has a practical consequence. **If all modalities are in one search index, most results are of the query's
# own modality**: before training a title finds only titles. If you search one modality at a time, e.g. pictures
# by a title, this does not matter. Why not?
#
# ## Retrieval in spite of the gap
#
# Move *all* pictures by the same vector $c$. The score of a title $q$ with a picture $g$ becomes
# $q \cdot (g + c) = q \cdot g + q \cdot c$. The second part is the same for every picture, so **the order of the
# pictures does not change**, however large $c$ is. Let us make a very large gap and check.

# %%
U_NMD = normalize(torch.from_numpy(embedded["trained"].pooled_NMD), dim=-1).numpy()
has_N = embedded["trained"].present_NM[:, [0, 2]].all(axis=1)  # a title and a picture
query_QD, gallery_GD = U_NMD[has_N, 0], U_NMD[has_N, 2]
far_D = np.full(64, 2.0, dtype=np.float32)
order_QG = (query_QD @ gallery_GD.T).argsort(axis=1)
moved_QG = (query_QD @ (gallery_GD + far_D).T).argsort(axis=1)
agree = (order_QG == moved_QG).mean()
print(f"the pictures moved by {np.linalg.norm(far_D):.0f}; places that stay the same: {agree:.1%}")
assert agree > 0.99  # all but float rounding between equal scores

# %% [markdown]
# So a sound can find a picture even if sounds and pictures are far apart. For each test product that has both,
# the sound is the query, and its own picture is searched among all pictures:

# %%
has_N = embedded["trained"].present_NM[:, [2, 4]].all(axis=1)
rows_N = np.flatnonzero(has_N)
found = {}
for stage, features in embedded.items():
    U_NMD = normalize(torch.from_numpy(features.pooled_NMD), dim=-1).numpy()
    score_QG = U_NMD[rows_N, 4] @ U_NMD[rows_N, 2].T
    found[stage] = 1 + (score_QG > np.diag(score_QG)[:, None]).sum(axis=1)  # rank of its own
count = len(rows_N)
recall = {stage: (rank_Q <= 10).mean() for stage, rank_Q in found.items()}
print(f"Recall@10: untrained {approx(recall['untrained'])}, trained {approx(recall['trained'])}")
print(f"by chance: 10 of {count} = {10 / count:.2f}")
assert recall["trained"] > 10 / count + 0.05 > recall["untrained"]

# %% [markdown]
# Listen to a query that works. This sound was the model's only input:

# %%
best = rows_N[found["trained"].argmin()]
play(test.products[best], "audio")

# %% [markdown]
# The five pictures that it finds among all pictures of the test split. A green frame marks the product's own
# picture.

# %%
score_G = U_NMD[rows_N, 2] @ U_NMD[best, 4]
top = score_G.argsort()[::-1][:5]
results = [(test.products[rows_N[g]], float(score_G[g])) for g in top]
hits = [rows_N[g] == best for g in top]
assert any(hits)
scale.plot.retrieval_sheet([test.products[best]], [results], [hits], query_subset=("audio",))

# %% [markdown]
# ## By category
#
# For a map of *products* we combine the features of a product into one vector (the mean of its unit vectors, made
# a unit vector again) and colour it by category. No category was used in training.

# %%
shop = samples()
products = {"untrained": embedded["untrained"].product(), "trained": run.embed(shop, split="test")}
product_maps = {stage: umap_coordinates(found.emb_ND) for stage, found in products.items()}
category_N = np.array([product.category for product in test.products])
scale.plot.embedding_map(product_maps["trained"], list(category_N))

# %% [markdown]
# Mugs are close to mugs and bowls, backpacks to suitcases, stools to chairs. Now the same products before
# training. There are clearly separated islands:

# %%
has_NM = embedded["untrained"].present_NM
names = {(0, 0): "neither", (1, 0): "clip", (0, 1): "sound", (1, 1): "clip and sound"}
pattern_N = [names[int(clip), int(sound)] for clip, sound in has_NM[:, 3:]]
scale.plot.embedding_map(product_maps["untrained"], pattern_N)

# %% [markdown]
# A trap: the islands are not categories. They are **patterns of missing modalities**: here coloured by whether a
# product has a clip and a sound. The mean of a product without a sound contains nothing of the sound's cone, so
# it lies elsewhere. Before you name an island, colour the map by every trivial property that you have. In
# numbers, in the space: how many of a product's 5 nearest share its category, or its pattern?

# %%
groups = {"same category": category_N, "same pattern": np.array(pattern_N)}
rows = {}
for stage, vectors in products.items():
    rank_NN = neighbour_ranks(vectors.emb_ND)
    near_NN = (rank_NN >= 1) & (rank_NN <= 5)
    share = {name: (g[:, None] == g)[near_NN].mean() for name, g in groups.items()}
    rows[stage] = share
kept = pd.DataFrame(rows).T
assert kept.loc["untrained", "same pattern"] > 0.9 > kept.loc["trained", "same pattern"]
assert kept.loc["trained", "same category"] > 1.5 * kept.loc["untrained", "same category"]
kept.map(approx)

# %% [markdown]
# ## How honest is a map?
#
# 64 dimensions do not fit into a plane, so every map has errors. There are two kinds. A tiny case: eight points
# on a ring, put onto a line. **Cut** the ring and unroll it: the two ends were neighbours and are now maximally
# far apart (a neighbourhood is *torn*). **Flatten** it by projecting from the side: front and back coincide
# (*false* neighbours).

# %%
angle_N = np.deg2rad([5, 45, 99, 136, 193, 225, 284, 323])  # not quite even: no ties
ring_N2 = np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)
cut_N1 = angle_N[:, None]  # unrolled
flat_N1 = ring_N2[:, :1]  # seen from the side: only x is left
ring_NN, cut_NN, flat_NN = map(neighbour_ranks, (ring_N2, cut_N1, flat_N1))
ranks = {"ring": ring_NN, "cut": cut_NN, "flat": flat_NN}
pairs = [(0, 7), (2, 6)]
pd.DataFrame({f"{b} from {a}": {n: r[a, b] for n, r in ranks.items()} for a, b in pairs}).T

# %% [markdown]
# A number in that table is a **rank**: 1 is the nearest of the seven others. Point 7 is a close neighbour of
# point 0 on the ring, but the last on the cut line: torn. Point 6 is far from point 2, on the other side of the
# ring, but the nearest on the flat line: false. **Trustworthiness** (可信度; Venna and Kaski, 2001) counts the false
# neighbours: for every point that is among the $k$ nearest on the map ($U_i$) but not in the space, it adds the
# excess of its true rank, $r_{ij} - k$. The sum is divided by its largest possible value and subtracted from 1:
#
# $$T(k) = 1 - \frac{2}{N k (2N - 3k - 1)} \sum_i \sum_{j \in U_i} \max(0,\; r_{ij} - k)$$
#
# Swapping map and space counts the torn neighbours instead: **continuity** (连续性).

# %%
from sklearn.manifold import trustworthiness as sklearn_trustworthiness


def slow_trustworthiness(rank_NN, map_rank_NN, k):
    count, penalty = len(rank_NN), 0
    for i in range(count):
        for j in range(count):
            if i != j and map_rank_NN[i, j] <= k:
                penalty += max(0, rank_NN[i, j] - k)
    return 1 - 2 * penalty / (count * k * (2 * count - 3 * k - 1))


# %% [markdown]
# The slow loop, the package and scikit-learn must agree, here for both lines and $k$ = 2:

# %%
for name, line_N1, line_NN in (("cut", cut_N1, cut_NN), ("flat", flat_N1, flat_NN)):
    trust = slow_trustworthiness(ring_NN, line_NN, 2)
    np.testing.assert_allclose(trustworthiness(ring_NN, line_NN, 2), trust)
    np.testing.assert_allclose(sklearn_trustworthiness(ring_N2, line_N1, n_neighbors=2), trust)
    whole = trustworthiness(line_NN, ring_NN, 2)
    print(f"{name}: trustworthiness {trust:.2f}, continuity {whole:.2f}")

# %% [markdown]
# Now the map of our products, UMAP against PCA, five neighbours:

# %%
emb_ND = products["trained"].emb_ND
rank_NN = neighbour_ranks(emb_ND)
both_maps = {"UMAP": product_maps["trained"], "PCA": scale.viz.principal_axes(emb_ND)[0]}
rows = {}
for name, xy_N2 in both_maps.items():
    map_rank_NN = neighbour_ranks(xy_N2)
    trust = trustworthiness(rank_NN, map_rank_NN, 5)
    whole = trustworthiness(map_rank_NN, rank_NN, 5)
    near_NN = (rank_NN >= 1) & (rank_NN <= 5)
    share = (map_rank_NN[near_NN] <= 5).mean()
    rows[name] = {"trustworthiness": trust, "continuity": whole, "of 5 nearest kept": share}
np.testing.assert_allclose(trust, sklearn_trustworthiness(emb_ND, xy_N2, n_neighbors=5), atol=1e-6)
honest = pd.DataFrame(rows).T
assert (honest.loc["UMAP"] > honest.loc["PCA"]).all()
honest.map(approx)

# %% [markdown]
# Both measures look high for UMAP. Still, the map keeps only about half of a product's five nearest neighbours.
# Remember the last column when you are tempted to interpret single points. Which neighbours are torn?

# %%
scale.plot.projection_errors(product_maps["trained"], rank_NN)

# %% [markdown]
# Left: each product is connected to its nearest one in the 64 dimensions. Most lines are short; the orange ones
# cross the map: these nearest neighbours are torn. Right: one product, with its five nearest in the space and on
# the map. In 64 dimensions a point has neighbours in many directions, which cannot all be kept in a plane. The
# same product as pictures: first row by the space, second row by the map (a green frame marks the same category).

# %%
row = scale.viz.largest_projection_error(rank_NN, neighbour_ranks(product_maps["trained"]))
product, results, hits = test.products[row], [], []
for ranks_NN in (rank_NN, neighbour_ranks(product_maps["trained"])):
    near = ranks_NN[row].argsort()[1:6]
    results.append([(test.products[j], float(emb_ND[row] @ emb_ND[j])) for j in near])
    hits.append([test.products[j].category == product.category for j in near])
scale.plot.retrieval_sheet([product, product], results, hits)

# %% [markdown]
# Compare the cosines under the two rows: the map's neighbours are farther away than the true ones.
#
# ## The artefacts of a map
#
# **The same data, another seed.** UMAP starts from an initial layout and uses random repulsion. Here are the maps
# of seeds 0 and 1, with the six largest categories in colour.

# %%
seeds = {0: product_maps["trained"], 1: umap_coordinates(emb_ND, seed=1)}
scale.plot.seed_maps(seeds, category_N)

# %% [markdown]
# The two maps are bent differently: compare the bottles and the lamps. Left and right, above and below have no
# meaning. What about distances? We compare the *distances between categories* by rank correlation (Spearman, 秩相关:
# 1 is the same order, 0 no relation): map against map, and each map against the space.

# %%
large = [c for c in np.unique(category_N) if (category_N == c).sum() >= 5]
places = {"space": emb_ND, "seed 0": seeds[0], "seed 1": seeds[1]}
distances = {}
for name, x_ND in places.items():
    centre_CD = np.stack([x_ND[category_N == c].mean(axis=0) for c in large])
    pair = np.triu_indices(len(large), k=1)
    distances[name] = np.linalg.norm(centre_CD[:, None] - centre_CD, axis=2)[pair]
table = pd.DataFrame(distances).corr(method="spearman")
assert table.loc["space", ["seed 0", "seed 1"]].max() < 0.95
table.map(approx)

# %% [markdown]
# The two maps agree with each other more than either does with the space. Agreement of two runs proves nothing:
# both begin with the same layout (UMAP computes it from the data) and share its errors.

# %% [markdown]
#
# **Distances, densities, and spurious islands.** For the next picture the truth is known. Three groups on a
# sphere: two narrow ones, close together (20 degrees), and one that is six times as wide and far away (100
# degrees). And 400 random vectors in 64 dimensions, without any structure.

# %%
truth_N3, group_N = scale.viz.three_groups()
truth_map_N2 = umap_coordinates(truth_N3)
noise_ND = np.random.default_rng(0).normal(size=(400, 64))
noise_maps = {k: umap_coordinates(noise_ND, neighbours=k) for k in (3, 15)}
scale.plot.projection_artefacts(truth_N3, group_N, truth_map_N2, noise_maps)

# %% [markdown]
# The wide group is drawn no wider than the narrow ones, and the two near groups are as far apart as the far
# one. In numbers:


# %%
def spread_and_distance(x_ND):
    centre = [x_ND[group_N == g].mean(axis=0) for g in range(3)]
    width = [np.linalg.norm(x_ND[group_N == g] - centre[g], axis=1).mean() for g in range(3)]
    far, near = (np.linalg.norm(centre[0] - centre[g]) for g in (2, 1))
    return width[2] / width[0], far / near


(true_width, true_far), (map_width, map_far) = map(spread_and_distance, (truth_N3, truth_map_N2))
print(f"wide group / narrow group:       truth {true_width:.1f}, map {approx(map_width, 1)}")
print(f"far distance / near distance:    truth {true_far:.1f}, map {approx(map_far, 1)}")
assert min(true_width, true_far) > 4
assert max(map_width, map_far) < 2

# %% [markdown]
# And the noise: with 3 neighbours UMAP draws threads, clumps and holes; with 15 an even disc. Only a setting has
# changed, and neither structure is in the data. So: **a map suggests questions. The answers come from the
# space**: cosines, ranks, retrieval, as in notebook 14.
#
# ## Explore the map
#
# The same map with pictures. Point at a product to see it; click on it for its ten nearest in the *space*, joined by
# lines. A dashed line is torn: the neighbour is not among the ten nearest on the map. This panel needs no kernel
# (on GitHub it is a picture). It begins with a bowl; how many of the bowl's lines are torn?

# %%
source = scale.explore.ExplorerSource(run, test)
explorer = scale.explore.static_map(source, product="p0012")
points = {point["id"]: point for point in explorer.data["points"]}
torn = {name: sum(far for _, _, far in point["near"]) for name, point in points.items()}
print(
    f"torn: {approx(torn['p0012'], 0)} of the bowl's 10 neighbours, mean of all products", end=" "
)
print(approx(np.mean(list(torn.values())), 1))
assert torn["p0012"] > np.mean(list(torn.values()))

# %% [markdown]
# The map:

# %% tags=["nbval-ignore-output"]
# not compared: pictures and near neighbours may differ between processors
explorer

# %% [markdown]
# Most of this bowl's ten nearest products are torn away: mugs, a candle and other bowls lie in several places of the
# map. Neighbours on the map are a hint, neighbours in the space are the model's answer.
#
# With a kernel the panel below does more: another projection, one point per modality, the untrained model's map next
# to it, a search, and a lasso for a table of products. Run the cell to see it.

# %% tags=["nbval-ignore-output"]
# not compared: another processor may order near neighbours differently
from IPython.display import display

display(scale.explore.EmbeddingExplorer(source, product="p0012"), exclude=["image/png"])

# %% [markdown]
# ## Exercise 1: close the gap by hand
#
# Subtract from each point the mean of its modality and make it a unit vector again. What are the gap and the
# share of own modality among the 10 nearest now? Is a picture found better by its sound (Recall@10)? Predict
# before you compute: which of these *must* change, and which need not?

# %% tags=["solution"]
points = stages["trained"]
mean_by = points.means()
moved_PD = points.unit_PD - np.stack([mean_by[m] for m in points.modality_P])
moved_PD /= np.linalg.norm(moved_PD, axis=1, keepdims=True)
moved = scale.viz.Points(moved_PD, points.modality_P, points.row_P)
print(f"gap {approx(modality_gap(points))} -> {approx(modality_gap(moved))}")
own = np.mean(list(own_share(points).values())), np.mean(list(own_share(moved).values()))
print(f"own share {approx(own[0])} -> {approx(own[1])}")
asked_P = np.isin(moved.row_P, rows_N)
asks, answers = (moved.unit_PD[asked_P & (moved.modality_P == m)] for m in ("audio", "image"))
score_QG = asks @ answers.T  # both in the order of the products
recall_moved = ((score_QG > np.diag(score_QG)[:, None]).sum(axis=1) < 10).mean()
print(f"Recall@10 sound to picture {approx(recall['trained'])} -> {approx(recall_moved)}")
assert abs(recall_moved - recall["trained"]) < 0.15

# %% [markdown]
# The gap must vanish. Retrieval in one direction hardly changes: the shift is the same for all pictures. And the
# nearest points are *still* mostly of the own modality: the gap was not the reason for the separation.
#
# ## Exercise 2: how many neighbours?
#
# Map the products with 4, 15 and 60 neighbours. Which map keeps the 5 nearest best? Which keeps the distances
# between categories best? Can one map have both?

# %% tags=["solution"]
rows = {}
for neighbours in (4, 15, 60):
    xy_N2 = umap_coordinates(emb_ND, neighbours=neighbours)
    trust = trustworthiness(rank_NN, neighbour_ranks(xy_N2), 5)
    centre_C2 = np.stack([xy_N2[category_N == c].mean(axis=0) for c in large])
    map_distance = np.linalg.norm(centre_C2[:, None] - centre_C2, axis=2)[pair]
    order = pd.Series(map_distance).corr(pd.Series(distances["space"]), method="spearman")
    rows[neighbours] = {"trustworthiness": trust, "distances of categories": order}
table = pd.DataFrame(rows).T
assert table.iloc[0, 1] < table.iloc[2, 1] < 0.95
table.map(approx)

# %% [markdown]
# All three keep close neighbours about equally well. Large distances improve with more neighbours, but are never
# right.
#
# ## What to remember
#
# - The modality gap is the distance of the modalities' means; its square is cosine within plus cosine within
#   minus twice cosine between. It exists before training, because each random encoder has its own cone.
# - Training closes most of it, but the nearest neighbours are still mostly of one modality. This does not affect
#   search in one direction (pictures by sound), but it does affect one index for all modalities.
# - Alignment: points that belong together are close. Uniformity: the whole sphere is used. A good space needs
#   both.
# - PCA never exaggerates distances but hides most of them; UMAP keeps neighbours, but its distances, densities
#   and, with few neighbours, clumps can be artefacts. Trustworthiness and continuity measure how far to trust a
#   map.
# - An island can be a missing modality. Colour by trivial properties first.
#
# ## Five questions
#
# 1. All titles are one and the same point, all pictures are another, at a right angle. What is the gap? And
#    if they are opposite?
# 2. Why does shifting all pictures by one vector not change which picture a title finds? What does it change?
# 3. Uniformity is 0. What has happened, and what is the mean cosine of different products?
# 4. A colleague's UMAP shows category A twice as far from B as from C. What do you compute before you believe
#    it?
# 5. A map puts two groups that are far apart on top of each other. Which falls, trustworthiness or continuity?
#    And if it cuts one group into two islands?

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. By the formula of the first section, the squared gap is 1 + 1 − 2 · 0 = 2, so the gap is √2 = 1.41. If they are
#    opposite, it is 1 + 1 + 2 = 4, so the gap is 2, the largest possible.
# 2. The cosine with a title changes by the same amount for every picture, so their order stays the same (nearly, if
#    the pictures are made unit vectors again: exercise 1). It changes the gap, the cosines themselves, and every list
#    in which pictures compete with other modalities.
# 3. All squared distances are 0: the features have collapsed into one point, and the mean cosine is 1.
# 4. The distances of the category means (or mean cosines) in the space, and the same for another seed. In the table
#    of rank correlations above, two maps agree with each other more than with the space.
# 5. On top of each other: the map has false neighbours, so trustworthiness falls. Two islands: true neighbours are
#    torn, so continuity falls.
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures modality_gap umap_modality umap_category map_tears umap_seeds map_made_up
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
