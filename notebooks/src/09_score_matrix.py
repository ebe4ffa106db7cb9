# %% [markdown]
# # 09 · The score matrix S′
#
# **The question.** A title, a table, a picture, a clip and a sound describe one product. Some of them agree,
# some do not, some are missing. In SCALE the model itself determines the weight of each pair of modalities, and
# of each single one. How is this weight computed, and does it do what one hopes?
#
# You will
# - build the **inter-modality score matrix** (模态间得分矩阵) S of one real product, by a double loop and by the
#   package, and from it the **modality matching scores** (模态匹配分数) S′ = S · softmax(S);
# - see what happens to both when a modality is missing;
# - compare the places where such a weight can act, and what each does to training;
# - compute the paper's total loss of a real batch, all fifteen terms, and compare it with the package's.
#
# Paper: section 4.3. Code: `scale/model/scores.py`, `scale/losses/weighting.py`, `scale/losses/total.py`.

# %%
from dataclasses import replace

import pandas as pd
import torch
from torch.nn.functional import cosine_similarity, cross_entropy, normalize, softmax

import scale
from scale import exercises
from scale.losses import mask_batch, pair_losses, scale_loss
from scale.model import inter_modality_scores
from scale.notebook import approx, demo_data, demo_run, device, html_table, samples, setup

setup(seed=0)

# %% [markdown]
# ## Small enough to check by hand
#
# A **feature** (特征) is the vector that an encoder computes for a modality. Take three modalities with features
# of two numbers. The **cosine** of two vectors is their dot product divided by both lengths: 1 when they point
# the same way, 0 when they are at a right angle.
#
# $$S_{ij} = \cos(f_i, f_j) = \frac{f_i \cdot f_j}{\lVert f_i\rVert\,\lVert f_j\rVert}$$
#
# The picture's vector below is (0.8, 0.6), of length 1. So its cosine with the text's (1, 0) is 0.8, and with
# the sound's (0, 1) it is 0.6. Text and sound are orthogonal.
#
# The capital letters at the end of a name are the axes of the tensor, here and in the package: `features_MD` has a
# row for each modality (M) and a column for each number of a feature (width D); `S_MM` is modalities by modalities.
# B is for the products of a batch, N for all products or positions, P for the ten pairs.

# %%
features_MD = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])  # text, image, audio
S_MM = torch.zeros(3, 3)
for i in range(3):
    for j in range(3):
        dot = features_MD[i] @ features_MD[j]
        S_MM[i, j] = dot / (features_MD[i].norm() * features_MD[j].norm())
S_MM

# %% [markdown]
# **Softmax** turns a row of numbers into shares that sum to 1: each number becomes $e^{S_{ij}}$, divided by
# the row's sum. S′ multiplies the score by its share, cell by cell:
#
# $$S'_{ij} = S_{ij} \cdot \frac{e^{S_{ij}}}{\sum_k e^{S_{ik}}}$$

# %%
share_MM = torch.exp(S_MM) / torch.exp(S_MM).sum(dim=1, keepdim=True)
weighted_MM = S_MM * share_MM
torch.testing.assert_close(share_MM, softmax(S_MM, dim=1))
assert share_MM.sum(dim=1).allclose(torch.ones(3))
weighted_MM

# %% [markdown]
# Read the first row: text has 0.46 with itself, 0.30 with the picture, and 0 with the sound, to which it is
# orthogonal. Note two things that we will need later. The diagonal is largest in the row that agrees *least*:
# 0.49 for the sound, 0.40 for the picture in the middle. And S′ is not symmetric: from picture to text it is
# 0.26, not 0.30.
#
# ## One real product
#
# Now the same with a product of the sample shop and the model that `make demo` trains (if there is none yet,
# the next cell trains it once, which takes one to two minutes).

# %%
run = demo_run()
test = run.dataset(samples(), "test")
row = int(test.present_NM.all(axis=1).argmax())  # the first product that lacks nothing
product = test.products[row]
scale.plot.product(product)

# %% [markdown]
# `embed` runs the five encoders and returns a feature for each modality. The double loop above, over five
# features of 64 numbers, is the whole computation of S. The package does it for a whole batch in one matrix
# product; the two must agree.

# %%
with torch.no_grad():
    output = run.model.embed(test.collate([row]).to(device()))
f_MD = output.pooled_BMD[0].cpu()
S_MM = torch.tensor([[cosine_similarity(a, b, dim=0) for b in f_MD] for a in f_MD])
slow_MM = S_MM * softmax(S_MM, dim=1)
scores = inter_modality_scores(f_MD[None])
torch.testing.assert_close(scores.cosine_BMM[0], S_MM, atol=1e-5, rtol=0)
torch.testing.assert_close(scores.weighted_BMM[0], slow_MM, atol=1e-5, rtol=0)

# %% [markdown]
# For a product of any catalogue, `run.scores` does both steps at once.

# %%
torch.testing.assert_close(run.scores(product).weighted_BMM, scores.weighted_BMM, atol=1e-5, rtol=0)

# %% [markdown]
# The picture shows S, its softmax by row, and S′. The frames mark the cells that the loss uses. The **upper
# triangle** weights the ten contrastive losses (模态间损失, inter-modality), the **diagonal** the five masked losses
# (模态内损失, intra-modality):
#
# $$L = \sum_{i<j} L_{CL}(S'_{ij} \cdot \text{logit}_{ij}) + \sum_i L_{M_i}(S'_{ii} \cdot \text{logit}_i)$$

# %%
scale.plot.scores(scores)

# %% [markdown]
# Two things are visible here. The diagonal of S carries no information: every feature agrees with itself. And the diagonal
# of S′ depends only on the softmax's denominator, that is, on the *other* modalities.
#
# ## The meaning of the diagonal
#
# $S_{ii} = \cos(f_i, f_i) = 1$, for every modality of every product. So $S'_{ii}$ is only its softmax share.
# With four other modalities, all at cosine $c$ to it:
#
# $$S'_{ii} = \frac{e}{e + 4 e^{c}}$$
#
# If the others are orthogonal to it ($c = 0$), this is 0.405; if they agree ($c = 0.9$), 0.216.

# %%
for cosine in (0.0, 0.9):
    pooled_BMD = scale.viz.features_of_cosine(torch.tensor([cosine]))
    own = inter_modality_scores(pooled_BMD).weighted_BMM[0, 0, 0]
    formula = torch.e / (torch.e + 4 * torch.exp(torch.tensor(cosine)))
    torch.testing.assert_close(own, formula)
    print(f"cosine to the others {cosine}: own weight {own:.3f}")

# %% [markdown]
# So a modality that disagrees with all others gets the **largest** own weight. If a modality disagrees because
# it is wrong, the formula trusts it most. Does this happen in the trained model? Let us give the product
# another product's sound, and compare the sound's own weight before and after.

# %%
others = [k for k in range(len(test)) if test.present_NM[k].all() and k != row]
with torch.no_grad():
    other_BMD = run.model.embed(test.collate(others).to(device())).pooled_BMD.cpu()
mixed_BMD = f_MD.repeat(len(others), 1, 1)
mixed_BMD[:, 4] = other_BMD[:, 4]  # the sound of each other complete product
own_before = scores.weighted_BMM[0, 4, 4]
own_after = inter_modality_scores(mixed_BMD).weighted_BMM[:, 4, 4].mean()
print(f"own sound {approx(own_before)}, another product's sound {approx(own_after)} (mean)")
assert own_after > own_before

# %% [markdown]
# A wrong sound gets *more* weight than the right one. This is not a bug: it follows from the formula, and our
# study `weighting` finds the same over whole trainings (notebook 11). The off-diagonals behave as one hopes: agreement counts more.
#
# ## Missing modalities: `present`
#
# A product may lack a modality. Three facts must not be confused: a modality is **missing** (缺失), a position is
# **padding** (填充), a token is **masked** (掩码) for a pretext task. The scores need the first one, `present_BM`:
# rows and columns of missing modalities are 0, and the softmax runs over the present ones.
#
# Our product, as if it had no clip and no sound:

# %%
present_BM = torch.tensor([[True, True, True, False, False]])  # no video, no audio
right = inter_modality_scores(f_MD[None], present_BM)
assert not right.weighted_BMM[0, 3:].any()
assert right.softmax_BMM[0, :3].sum(dim=1).allclose(torch.ones(3))

# %% [markdown]
# Hatched cells are excluded: no score, no pair, no loss.

# %%
scale.plot.scores(right)

# %% [markdown]
# What if the flag is forgotten? With **zero imputation** (零插补) the missing clip and sound still pass through their
# encoders, as zeros, and produce features. Let us compute them.

# %%
model = run.model
zeros_MD = torch.stack(
    [model.poolers[m](model.encoders[m].impute_zeros()[0, 0]) for m in scale.MODALITIES]
)
imputed_MD = f_MD.clone()
imputed_MD[3:] = zeros_MD[3:].detach().cpu()  # video and audio of zeros
wrong = inter_modality_scores(imputed_MD[None])
print(f"cosine of the missing clip and the missing sound {approx(wrong.cosine_BMM[0, 3, 4])}")
print(f"their weight S': {approx(wrong.weighted_BMM[0, 3, 4])} without present, 0 with it")
print("largest real pair:", approx(right.weighted_BMM[0].triu(1).max()))
assert 0 < wrong.weighted_BMM[0, 3, 4] < right.weighted_BMM[0].triu(1).max()

# %% [markdown]
# Two encoders give two different vectors, so the pair of two missing modalities gets an ordinary weight, like a real
# pair. Nothing in S′ shows that there is nothing behind it. What is identical is *one* missing modality across
# products: every product without a sound has the **same** sound feature. A contrastive loss must then tell apart
# products whose features are equal: it cannot, and pulls their titles to one point (notebooks
# [11](11_modality_noise.ipynb) and [15](15_what_can_go_wrong.ipynb)). Hence `present`.
#
# ## Exercise 1: S′ of one product
#
# You have now all the parts: cosines, a softmax by row over the present modalities, and their product. Write the
# function, run it, then run the check below it. The solution is folded.


# %% tags=["exercise"]
def score_matrix(features_MD, present_M):
    """Return S' = S * softmax(S) of one product, S the cosines of its features.

    present_M: True where the product has the modality. The softmax runs along the row, over the
    present modalities; rows and columns of the others are 0.
    """
    raise NotImplementedError


# %% tags=["exercise-check"]
exercises.check_score_matrix(score_matrix)


# %% tags=["solution"]
def score_matrix(features_MD, present_M):
    """Return S' = S * softmax(S) of one product."""
    unit_MD = normalize(features_MD, dim=1)
    S_MM = unit_MD @ unit_MD.T
    both_MM = present_M[:, None] & present_M
    share_MM = S_MM.masked_fill(~both_MM, -torch.inf).softmax(dim=1)
    return (S_MM * share_MM).masked_fill(~both_MM, 0.0)


exercises.check_score_matrix(score_matrix)

# %% [markdown]
# ## Where the weight acts
#
# A weight can multiply the **logits** (the paper's formula), or the **loss**. These have different effects.
# InfoNCE is a softmax over logits $\cos / t$ with temperature $t$ = 0.07. A weight on the logits is an inverse
# temperature: 0.2 times the logits is a temperature of 0.35.

# %%
logits_C = torch.tensor([0.8, 0.3, 0.1]) / 0.07  # the true partner, and two others
for weight in (1.0, 0.2):
    loss = -softmax(weight * logits_C, dim=0)[0].log()
    warmer = -softmax(torch.tensor([0.8, 0.3, 0.1]) / (0.07 / weight), dim=0)[0].log()
    torch.testing.assert_close(loss, warmer)
    print(f"weight {weight}: loss {loss:.3f}, a temperature of {0.07 / weight:.2f}")

# %% [markdown]
# So "weights help" may only mean "another temperature helps". Therefore all our studies compare with uniform
# weights at the same mean scale, a **temperature-matched control**.
#
# There is a second problem. S′ has the sign of the cosine, and so has the logit. So their product is never negative:
# it is smallest at cosine 0 and rises on *both* sides, faster on the positive one. Take one pair, with the row (1, c)
# in S:

# %%
for c in (-0.8, -0.4, 0.0, 0.4, 0.8):
    weight = c * softmax(torch.tensor([1.0, c]), dim=0)[1]
    logit = c / 0.07
    print(f"cosine {c:+.1f}: S' {weight:+.2f}, logit {logit:+6.1f}, product {weight * logit:+5.2f}")

# %% [markdown]
# A pair whose random cosine starts *below* 0 gets a larger logit by becoming *more* opposite. And with the weight on
# the loss, if gradient flows into it, the model can lower its loss by lowering its weight.

# %%
scale.plot.weight_effects()

# %% [markdown]
# Left: the own weight, and the released code's version (a section below). Middle: the weighted logit falls towards
# 0 from both sides. Right: gradient descent on one pair. With the gradient stopped the pair comes together;
# with gradient flow the model takes the shortcut and makes the weight 0.

# %%
for flowing in (False, True):
    path = scale.viz.gradient_descent(flowing)
    print(f"gradient flows into the weight: {flowing}")
    print(
        f"  cosine {path['cosine'][0]:.2f} -> {path['cosine'][-1]:.2f}, "
        f"weight {path['weight'][0]:.2f} -> {path['weight'][-1]:.2f}"
    )
assert (
    scale.viz.gradient_descent(True)["weight"][-1]
    < 0.01
    < scale.viz.gradient_descent(False)["weight"][-1]
)

# %% [markdown]
# ## The paper's equation, computed
#
# Now the whole loss, on real numbers: the first 64 training products and the demo's model. We put the weight on the
# loss, where it is a factor:
#
# $$L = \sum_{i<j} S'_{ij}\, L_{CL}(i, j) + \sum_i S'_{ii}\, L_{M_i}$$
#
# First 15 % of the tokens are hidden (notebooks 04 to 08), then the model runs once.

# %%
train = demo_data("train")
pieces = scale.losses.WordPieces.of(train.tokenizer)
batch, loss_config = train.collate(range(64)), run.config.loss
masked = mask_batch(batch, run.config.mask, pieces, (0, 0), loss_config.tasks).to(device())
with torch.no_grad():
    output = model(masked.batch, masked.hidden)
present_BM, content_id_BM = output.present_BM, masked.batch.content_id_BM
S_BMM = inter_modality_scores(output.pooled_BMD, present_BM).weighted_BMM
print(f"{len(S_BMM)} products, S' of each: {tuple(S_BMM.shape[1:])}")

# %% [markdown]
# **Ten contrastive terms.** `pair_losses` returns InfoNCE (notebook 01) of each product and pair. Each product has its
# own S′, so a term is the mean of S′ times the loss over the products that have both modalities.

# %%
terms = {}
pairs = pair_losses(output.pooled_BMD, present_BM, 0.07, content_id_BM=content_id_BM)
for p, (i, j) in enumerate(scale.PAIRS):
    has_B = present_BM[:, i] & present_BM[:, j]
    weight_B, loss_B = S_BMM[has_B, i, j], pairs.loss_BP[has_B, p]
    name = f"{scale.MODALITIES[i]}-{scale.MODALITIES[j]}"
    terms[name] = [loss_B.mean(), weight_B.mean(), (weight_B * loss_B).mean()]
print(len(terms), "terms")

# %% [markdown]
# **Five masked terms.** Word pieces have the cross-entropy, vectors the squared error, at each hidden position. The
# weight of a position is S′ᵢᵢ of its product.

# %%
for m, (modality, task) in enumerate(zip(scale.MODALITIES, scale.TASKS, strict=True)):
    predicted, target = output.predictions[modality], masked.targets[modality]
    if modality in ("text", "table"):
        loss_N = cross_entropy(predicted, target, reduction="none")
    else:
        loss_N = (predicted - target).square().mean(dim=1)
    weight_N = S_BMM[masked.rows(modality), m, m]
    terms[task] = [loss_N.mean(), weight_N.mean(), (weight_N * loss_N).mean()]
table = pd.DataFrame(terms, ["loss", "S'", "mean of S' x loss"]).T.map(float)
html_table(table.map(lambda value: approx(value, 3)))

# %% [markdown]
# The sum of the last column is the total loss. The package must agree (`weight_mean_one=False`: S′ as it is).

# %%
by_hand = sum(term for _, _, term in terms.values())
as_described = replace(loss_config, weight_on="loss", weight_mean_one=False)
package = scale_loss(output, masked, as_described)
torch.testing.assert_close(by_hand, package.total)
ten, five = (table["mean of S' x loss"].iloc[part].sum() for part in (slice(10), slice(10, 15)))
print(f"ten contrastive {approx(ten, 3)} + five masked {approx(five, 3)} = {approx(by_hand, 3)}")

# %% [markdown]
# The picture shows that sum, each term at the place of its weight in S′. The weights in it are means weighted by the
# loss, so that the numbers of a cell can be multiplied.

# %%
shown = scale.viz.run_terms(run, train)
torch.testing.assert_close(shown.total, float(by_hand), atol=1e-4, rtol=1e-4)
scale.plot.total_loss(shown)

# %% [markdown]
# In the table the mean of the products is *smaller* than the product of the means, in all ten pairs. A product whose
# title and picture are far apart has a large loss **and** a small weight: S′ gives least weight to the pairs that have
# most to learn. That is right for wrong pairs, and wrong for difficult ones.

# %%
product_of_means = table["loss"] * table["S'"]
smaller = table["mean of S' x loss"] < product_of_means
means, mean = product_of_means["text-image"], shown.term_MM[0, 2]
print(f"text-image: product of means {approx(means, 3)}, mean of products {approx(mean, 3)}")
print(f"smaller in {smaller[:10].sum()} of 10 pairs")
assert smaller[:10].all()

# %% [markdown]
# ### Why the upper triangle?
#
# $L_{CL}(i, j)$ contains both directions, title to picture and picture to title. So there is one loss for each pair,
# and it needs one weight; adding the lower triangle would count every pair twice. But S′ is not symmetric: $S'_{ij}$
# and $S'_{ji}$ have the same numerator $S_{ij} e^{S_{ij}}$, divided by the sum of row $i$ or of row $j$. The upper
# triangle takes the row of the modality that comes *first* in the list: the text's row in four pairs, the sound's row
# in none. How much does this choice matter?

# %%
left, right_of = zip(*scale.PAIRS, strict=True)
lower_BMM = S_BMM.transpose(1, 2)
triangles = {"upper": S_BMM, "lower": lower_BMM, "mean of both": (S_BMM + lower_BMM) / 2}
found = {name: pairs.mean_P(s_BMM[:, left, right_of]) for name, s_BMM in triangles.items()}
for name, term_P in found.items():
    print(f"{name}: ten contrastive terms {approx(term_P.sum(), 3)}")
change_P = found["lower"] / found["upper"] - 1
print(f"single pairs: {approx(100 * change_P.min(), 0)} to {approx(100 * change_P.max(), 0)} %")
assert abs(found["lower"].sum() / found["upper"].sum() - 1) < 0.05

# %% [markdown]
# Little in the sum, up to a tenth in a pair: with another order of the modalities, it would be another loss. The mean
# of both triangles would not depend on the order. The paper does not discuss it.
#
# ### Four places for the weight
#
# The same batch, with the weight in other places. **Mean one** divides the weights of the pairs by their mean, and
# those of the masked losses by theirs.

# %%
places = {
    "no weights": {"weight_on": "none"},
    "on the loss": {"weight_on": "loss", "weight_mean_one": False},
    "on the loss, mean one": {"weight_on": "loss", "weight_mean_one": True},
    "on the logits (paper)": {"weight_on": "logits", "weight_mean_one": False},
}
rows = {}
for name, changes in places.items():
    losses = scale_loss(output, masked, replace(loss_config, **changes)).losses
    contrast, total = float(losses["contrastive"]), float(sum(losses.values()))
    rows[name] = [approx(contrast), approx(total - contrast), approx(contrast / total)]
html_table(pd.DataFrame(rows, ["ten contrastive", "five masked", "share of the ten"]).T)

# %% [markdown]
# S′ as it is does more than to redistribute: pairs have weights near 0.1, the diagonal near 0.35, so the contrastive
# losses fall from half of the total to a quarter. Mean one restores the balance, and only the differences between
# products and pairs remain. On the logits, the small weights are a high temperature, and the loss is far larger.
#
# ### Clamp, mean one, detach: each switched off
#
# The package has three safeguards. **Clamp** (非负截断): a negative S′ becomes 0. **Mean one** (均值归一). **Detach**
# (梯度截断): the weight is a constant for the gradient. To see what each does, we descend on the features themselves,
# without an encoder: 30 steps of gradient descent on the contrastive losses, from the features of the *untrained* model.


# %%
def descend(clamp=True, mean_one=True, detach=True, steps=30, rate=2.0):
    f_BMD = start_BMD.clone()
    for _ in range(steps):
        f_BMD.requires_grad_()
        pairs = pair_losses(f_BMD, present_BM, 0.07, content_id_BM=content_id_BM)
        w_BP = inter_modality_scores(f_BMD, present_BM).weighted_BMM[:, left, right_of]
        w_BP = w_BP.clamp(min=0) if clamp else w_BP
        w_BP = w_BP / w_BP[pairs.valid_BP].mean() if mean_one else w_BP
        w_BP = w_BP.detach() if detach else w_BP
        (slope_BMD,) = torch.autograd.grad(pairs.mean_P(w_BP).sum(), f_BMD)
        f_BMD = (f_BMD - rate * slope_BMD).detach()
    return f_BMD


# %% [markdown]
# Six runs of it: all safeguards, and one or two switched off.

# %%
with torch.no_grad():
    untrained = run.untrained().eval().to(device())
    start_BMD = normalize(untrained(masked.batch, masked.hidden).pooled_BMD, dim=-1)
ends = {"before": start_BMD, "all three": descend(), "no mean one": descend(mean_one=False)}
ends["no mean one, no clamp"] = descend(mean_one=False, clamp=False)
ends["no mean one, no detach"] = descend(mean_one=False, detach=False)
ends["no detach"] = descend(detach=False)
print(*ends, sep="\n")

# %% [markdown]
# The columns: cosines of the true pairs (mean, lowest, share below 0), their mean S′, and the loss without weights.

# %%
rows = {}
for name, f_BMD in ends.items():
    scores = inter_modality_scores(f_BMD, present_BM)
    c_X = scores.cosine_BMM[:, left, right_of][pairs.valid_BP]
    w_X = scores.weighted_BMM[:, left, right_of][pairs.valid_BP]
    plain = pair_losses(f_BMD, present_BM, 0.07, content_id_BM=content_id_BM).mean_P().sum()
    rows[name] = [c_X.mean(), c_X.min(), (c_X < 0).float().mean(), w_X.mean(), plain]
columns = ["mean cosine", "lowest", "share below 0", "mean S'", "loss"]
effect = pd.DataFrame(rows, columns).T.map(float)
html_table(effect.map(approx))

# %% [markdown]
# - **All three**: the pairs come together. But a tenth of them had a cosine below 0 at the start, hence weight 0 and no
#   gradient of their own, and they are still there at the end. That is why the package trains with uniform weights for
#   the first tenth of the steps.
# - **No mean one**: the same direction, but S′ is about 0.01 at the start, so the steps are a hundred times smaller and
#   little happens. (AdamW divides by the size of the gradient; there not the step is lost, but the balance with the
#   masked losses.)
# - **No clamp** (and no mean one: the mean of weights of both signs means nothing). A negative weight turns the loss
#   round, and the pair is pushed to the *opposite* side, down to -1, while the loss rises.
# - **No detach**: gradient descent now lowers the weights too. With mean one they cannot all fall, but those of the
#   difficult pairs can. Without mean one *all* cosines go below 0: all weights are 0, and the weighted loss with them,
#   while the real loss has risen. This is the collapse of the picture above, with real products.

# %%
assert effect.loc["all three", "mean cosine"] > effect.loc["before", "mean cosine"] + 0.5
assert effect.loc["no mean one, no clamp", "lowest"] < -0.9
assert effect.loc["no mean one", "loss"] > effect.loc["all three", "loss"]
assert effect.loc["no detach", "loss"] > effect.loc["all three", "loss"]
assert effect.loc["no mean one, no detach", "share below 0"] > 0.95
print("only detached weights that are not negative pull the pairs together")

# %% [markdown]
# ## The authors' extra normalisation
#
# The released code additionally divides each row of S · softmax(S) by its norm. The softmax's denominator is
# the same for the whole row, so it cancels:
#
# $$G_{ij} = \frac{S_{ij}\, e^{S_{ij}}}{\sqrt{\sum_k S_{ik}^2\, e^{2 S_{ik}}}}$$
#
# Then $G_{ii}$ ranges from $1/\sqrt 5$ = 0.447 (all agree) to 1 (all orthogonal): the orange curve above.

# %%
released = inter_modality_scores(f_MD[None], row_normalise=True).weighted_BMM[0]
product_MM = S_MM * torch.exp(S_MM)  # no softmax anywhere
G_MM = product_MM / product_MM.norm(dim=1, keepdim=True)
torch.testing.assert_close(released, G_MM, atol=1e-5, rtol=0)

# %% [markdown]
# ## S′ over training
#
# At the start the features are random and S′ is meaningless. The run has logged its mean at every validation.

# %%
scale.plot.scores_over_time(run)

# %% [markdown]
# The pair weights rise as the contrastive loss pulls the modalities of a product together, and the own weights
# fall for that very reason. They rise without being used: the demo trains with uniform weights
# (`loss.weight_on = "none"`), which is our default because no study of ours found S′ to be better. The order of
# the pairs is a by-product of InfoNCE. Notebook 11 presents those studies.
#
# ## Agreement compared with other products
#
# S compares a product's modalities with each other only. Is a cosine of 0.5 high or low? That depends on what *other*
# products reach. The **agreement** (一致性) $r_{ij}$ is the share of other products $b$ whose cosine with this product
# is lower than its own, mean of both directions. For a wrong pair it is 1/2 on average, for a right one larger. All
# test products were unknown to the model, which matters: a model memorises its training pairs, wrong ones too
# (notebook 11). We exchange the sounds of all products and compare S and r before and after.

# %%
found = scale.evaluation.embed_dataset(run.model, test, device=device(), progress=False)
pooled_NMD, present_NM = torch.from_numpy(found.pooled_NMD), torch.from_numpy(found.present_NM)
content_NM = torch.from_numpy(test.content_id_NM)
has_N = present_NM[:, 4].nonzero().squeeze(1)
wrong_NMD = pooled_NMD.clone()
wrong_NMD[has_N, 4] = pooled_NMD[has_N.roll(1), 4]  # the sound of the product before
sounds = [p for p, pair in enumerate(scale.PAIRS) if 4 in pair]
for name, features_NMD in (("right", pooled_NMD), ("wrong", wrong_NMD)):
    r_NP = scale.training.pair_percentiles(features_NMD, present_NM, content_NM)[:, sounds]
    S_N4 = inter_modality_scores(features_NMD, present_NM).cosine_BMM[has_N, 4, :4]
    print(f"{name} sound: S {approx(S_N4[S_N4 != 0].mean())}, r {approx(r_NP.nanmean())}")
assert abs(r_NP.nanmean() - 0.5) < 0.1

# %% [markdown]
# S falls as well, but from where to where depends on the pair and the model; r of a wrong pair is 1/2 whatever the
# model. The panel below shows it under the weights.
#
# ### Weights from it
#
# `loss.weight_by = "agreement"` turns r into weights on the loss. Every training product is judged by models that
# were trained on *other* products (cross-fitting, 交叉拟合; notebook 11 does it). Here the demo's model judges the test
# products. Every second sound is taken from another product. Which weights find these pairs?

# %%
half_NMD, wrong_N = pooled_NMD.clone(), has_N[::2]
half_NMD[wrong_N, 4] = pooled_NMD[wrong_N.roll(1), 4]
r_NP = scale.training.pair_percentiles(half_NMD, present_NM, content_NM)
w_NP = scale.training.agreement_weights(r_NP, present_NM).pair_BP[:, sounds]
S_NP = inter_modality_scores(half_NMD, present_NM).weighted_BMM[:, :4, 4]
valid_NP = present_NM[:, :4] & present_NM[:, 4:]
true_NP = ~torch.isin(torch.arange(len(test)), wrong_N)[:, None].expand_as(valid_NP)
auc = {}
for name, weight_NP in (("S'", S_NP), ("from r", w_NP)):
    auc[name] = scale.studies.auc(weight_NP[valid_NP].numpy(), true_NP[valid_NP].numpy())
    print(f"{name}: a right pair weighs more than a wrong one with probability {approx(auc[name])}")
assert min(auc.values()) > 0.55

# %% [markdown]
# S′ finds them as well as r does. So not the formula matters here but **who judges**: this model had never seen these
# products. In training, S′ comes from the model that is being trained on the very pair, and a small model memorises
# a wrong pair like a right one; notebook 11 measures how little of its judgement is left.
#
# Whole trainings with such weights are in the study `agreement` (preset `pretrained`; clean products, or 10 to 50 % of
# each modality from other products). Difference to uniform weights in Recall@10, mean over seeds:

# %%
folder = samples().folder.parent / "figures" / "studies"
study = scale.studies.STUDIES["agreement"](False)
gain = {}
for shop in ("data_samples", "esky5", "wesnoth5"):
    there = scale.studies.load_finished(study, folder / shop, folder, "pretrained")
    for o in scale.studies.summarise(study, there).outcomes:
        better, plain = o.comparison.better, o.comparison.worse["weighting"] == "uniform"
        if plain and o.comparison.metric == "Recall@10" and "regime" in better:
            gain.setdefault((better["regime"], better["weighting"]), {})[shop] = o.seeds.value
gains = pd.DataFrame(gain).T.loc[["clean", "mismatch"]]
gains = gains[gains.index.isin(["S'", "posterior", "agreement", "oracle"], level=1)]
html_table(gains.map(lambda value: approx(value, 3)))

# %% [markdown]
# With wrong contents, agreement gains on two of three catalogues, several times as much as S′, and nothing on the
# third; the oracle, which knows the truth, shows how much is left. On clean products it costs at most 0.004. What is
# decided and what is not, with all intervals: `docs/findings.md`.

# %%
assert (gains.loc["mismatch"].loc["agreement", ["data_samples", "wesnoth5"]] > 0.03).all()
assert (gains.loc["mismatch"].loc["S'"] < 0.02).all()
assert gains.loc["clean"].loc["agreement"].min() > -0.005
mean = gains.loc["mismatch"].loc["agreement"].mean()
print("agreement, mismatched contents, mean of three catalogues:", approx(mean, 3))

# %% [markdown]
# ## Try it yourself
#
# Seven products, with every change computed in advance, so the panel works without a kernel too. Switch the sound off;
# blur the picture; take the title from another product; then look at S′, at the weights, and at the nearest products.

# %% tags=["nbval-ignore-output"]
# not compared: contains numbers and pictures of a training
source = scale.explore.ExplorerSource(run, test)
scale.explore.static_scores(source, products=7, strengths=2)

# %% [markdown]
# With a running kernel (run the cell), the next panel does the same for *every* product and any strength: it runs the
# model after each change. The marks at the bars show the unchanged product.

# %%
scale.explore.ScoreExplorer(source, product=test.ids[row])

# %% [markdown]
# Whatever you do, you will find the same: a modality that disagrees gets *more* own weight and less weight in its pairs,
# for whatever reason it disagrees.
#
# ## Exercise 2: a third modality
#
# How does S′ of a pair depend on the agreement with a third modality? Take three modalities. Text and image have
# cosine 0.6. The sound has cosine $c$ to both. Compute $S'_{\text{text,image}}$ for $c$ = -0.2, 0, 0.3, 0.6. (No features
# are needed: start from S. Not every $c$ is possible: at -0.9, S would have a negative eigenvalue. Why can a matrix
# of cosines not have one?) Then take two modalities only, with cosine 0.5, and write down all four cells of S′.

# %% tags=["solution"]
for c in (-0.2, 0.0, 0.3, 0.6, -0.9):
    S_MM = torch.tensor([[1.0, 0.6, c], [0.6, 1.0, c], [c, c, 1.0]])
    lowest = torch.linalg.eigvalsh(S_MM)[0]
    weight = (S_MM * softmax(S_MM, dim=1))[0, 1]
    print(f"c = {c:+.1f}: S' of text and image {weight:.3f}, smallest eigenvalue {lowest:+.2f}")
# The more the sound agrees, the less is left for the pair: each softmax row sums to one.
# S = Z Z^T with unit vectors as rows of Z, so x^T S x = |Z^T x|^2 is never negative.
S_MM = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
print("two modalities:", (S_MM * softmax(S_MM, dim=1)).tolist())

# %% [markdown]
# ## What to remember
#
# - S is the table of cosines between a product's modalities; S′ = S · softmax(S) by row.
# - S_ii is always 1, so the diagonal of S′ only measures how little the *others* agree: it is largest for the
#   modality that agrees least.
# - Missing modalities must be excluded from the scores by `present`: the features of zeros have ordinary weights, and
#   are the same for all products that lack the modality.
# - The total loss is a sum of fifteen terms, means of S′ times a loss. It uses the upper triangle, so it depends on the
#   order of the modalities, a little.
# - A weight on the logits is a temperature and can push a pair apart; a weight on the loss must not be negative
#   (clamp), must not change the scale (mean one), and needs its gradient stopped (detach).
# - S′ gives the smallest weights to the largest losses: to wrong pairs, and to difficult ones.
#
# ## Five questions
#
# 1. Why is S symmetric and S′ not?
# 2. A product has only two modalities, with cosine 0.5. What are the four cells of S′?
# 3. Why does every comparison of weighted logits need a temperature-matched control?
# 4. What would go wrong if S′ of missing modalities were kept and the weight acted on the loss?
# 5. The released code normalises each row again. Which part of the formula no longer matters, and what are the
#    smallest and the largest possible values on the diagonal?

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. S_ij and S_ji are the same cosine. S′ divides $S_{ij} e^{S_{ij}}$ by the sum of row $i$, and $S_{ji} e^{S_{ji}}$ by
#    that of row $j$, and the two rows sum to different numbers, because the two modalities agree differently with the
#    others.
# 2. The row of S is (1, 0.5), its softmax (0.622, 0.378), so S′ is 0.622 on the diagonal and 0.189 beside it, twice
#    (solution of exercise 2). With two modalities, S′ is symmetric.
# 3. A weight on the logits divides the temperature by itself: 0.2 turns 0.07 into 0.35. A difference to uniform weights
#    can therefore come from the other temperature alone. The control has uniform weights of the same mean, so only the
#    differences between pairs remain.
# 4. The pair of two missing modalities would get an ordinary weight (0.08 here, a real pair at most 0.11) and a loss that
#    cannot fall, because all products without the modality have the same feature. Its gradient pulls unrelated
#    products together.
# 5. The softmax's denominator: it is the same for all cells of a row and cancels. The diagonal then lies between
#    $1/\sqrt 5$ = 0.447 (all five agree) and 1 (orthogonal to all others).
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures product scores score_path total_loss scores_over_time weight_effects
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
