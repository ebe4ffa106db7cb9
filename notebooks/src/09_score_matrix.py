# %% [markdown]
# # 09 · The score matrix S′
#
# **The question.** A title, a table, a picture, a clip and a sound describe one product. Some of them agree,
# some do not, some are missing. In SCALE the model itself determines the weight of each pair of modalities, and
# of each single one. How is this weight computed, and does it do what one hopes?
#
# You will build, on one real product:
# - the **inter-modality score matrix** (模态间得分矩阵) S, by a double loop and by the package;
# - the **modality matching scores** (模态匹配分数) S′ = S · softmax(S);
# - what happens to both when a modality is missing;
# - three places where such a weight can act, and what each does to training.
#
# Paper: section 4.3. Code: `scale/model/scores.py`, `scale/losses/weighting.py`. About 10 seconds.

# %%
import torch
from torch.nn.functional import cosine_similarity, softmax

import scale
from scale.model import inter_modality_scores
from scale.notebook import approx, demo_run, device, samples, setup

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
# In one sentence: the diagonal of S carries no information (every feature agrees with itself), and the diagonal
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
# studies find the same over whole trainings (`docs/findings.md`: damaged sounds 0.33 → 0.39, mean of five
# trainings). The off-diagonals behave as one hopes: agreement counts more.
#
# ## Missing modalities: `present`
#
# A product may lack a modality. Three facts must not be confused: a modality is **missing** (缺失), a position is
# **padding** (填充), a token is **masked** (掩码) for a pretext task. The scores need the first one, `present_BM`:
# rows and columns of missing modalities are 0, and the softmax runs over the present ones.
#
# What if it is forgotten? With **zero imputation** (零插补) the missing clip and sound still pass through their
# encoders, as zeros, and produce features. These two features are the same for *every* product that lacks a
# clip and a sound.

# %%
present_BM = torch.tensor([[True, True, True, False, False]])  # no video, no audio
right = inter_modality_scores(f_MD[None], present_BM)
assert not right.weighted_BMM[0, 3:].any()
assert right.softmax_BMM[0, :3].sum(dim=1).allclose(torch.ones(3))

# %% [markdown]
# Without the flag, two missing modalities look like this:

# %%
imputed_MD = f_MD.clone()
imputed_MD[3:] = torch.ones(64)  # any constant, like an encoder's output for zeros
wrong = inter_modality_scores(imputed_MD[None])
flagged, forgotten = (found.weighted_BMM[0, 3, 4] for found in (right, wrong))
print("weight of the pair video-audio, both missing:")
print(f"  with present {flagged:.2f}, without it {forgotten:.2f}")
assert forgotten > 0.2

# %% [markdown]
# The same product, drawn as if it had no clip and no sound.

# %%
scale.plot.scores(right)

# %% [markdown]
# Without `present`, two missing modalities agree perfectly and get one of the largest weights of all. With it
# they are excluded (hatched): no score, no pair, no loss.
#
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
# There is a second problem. S′ has the sign of the cosine, and so has the logit. Their product is even: a pair
# whose random cosine starts *below* 0 gets a larger logit by becoming *more* opposite. And with the weight on
# the loss, if gradient flows into it, the model can lower its loss by lowering its weight.

# %%
scale.plot.weight_effects()

# %% [markdown]
# Left: the own weight, and the released code's version (next section). Middle: the weighted logit falls towards
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
# is lower than its own, mean of both directions. For a wrong pair it is 1/2 on average, for a right one near 1. All
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
# ## Try it yourself
#
# The panel below runs the model after every change. Switch the sound off; blur the picture; take the title from
# another product; then look at S′, at the bars (the mark shows the unchanged product) and at the five nearest
# products. It needs a running kernel: run the cell. (Without one you see the S′ of the unchanged product.)

# %%
scale.explore.ScoreExplorer(scale.explore.ExplorerSource(run, test), product=test.ids[row])

# %% [markdown]
# In one sentence: a modality that disagrees gets *more* own weight and less weight in its pairs, whatever the
# reason.
#
# %% [markdown]
# ## Exercise
#
# How does S′ of a pair depend on the agreement with a third modality? Take three modalities. Text and image
# have cosine 0.6. The sound has cosine $c$ to both. Compute $S'_{\text{text,image}}$ for $c$ = 0, 0.3, 0.6 and
# describe the result in one sentence. (You do not need features with these cosines: start from S.)

# %% tags=["solution"]
for c in (0.0, 0.3, 0.6):
    S_MM = torch.tensor([[1.0, 0.6, c], [0.6, 1.0, c], [c, c, 1.0]])
    print(f"c = {c}: S' of text and image {(S_MM * softmax(S_MM, dim=1))[0, 1]:.3f}")
# The more the sound agrees, the less is left for the pair: each softmax row sums to one.

# %% [markdown]
# ## What to remember
#
# - S is the table of cosines between a product's modalities; S′ = S · softmax(S) by row.
# - S_ii is always 1, so the diagonal of S′ only measures how little the *others* agree: it is largest for the
#   modality that agrees least.
# - Missing modalities must be excluded from the scores by `present`; zeros without the flag agree perfectly
#   with each other.
# - A weight on the logits is a temperature and can push a pair apart; a weight on the loss needs its gradient
#   stopped.
#
# ## Five questions
#
# 1. Why is S symmetric and S′ not?
# 2. A product has only two modalities, with cosine 0.5. What are the four cells of S′?
# 3. Why does every comparison of weighted logits need a temperature-matched control?
# 4. What would go wrong if S′ of missing modalities were kept and the weight acted on the loss?
# 5. The released code normalises each row again. Which part of the formula no longer matters, and what are the
#    smallest and the largest possible values on the diagonal?
#
# ## Pictures for your slides
#
# ```
# scale figures product scores scores_over_time weight_effects
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
