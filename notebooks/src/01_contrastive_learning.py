# %% [markdown]
# # 01 · Contrastive learning
#
# **The question.** A model receives products: titles, tables, pictures, clips, sounds. There are no labels. How
# can it learn which title belongs to which picture?
#
# You will build the following, each on an input small enough to check by hand:
# - **pull and push** in the plane, one step at a time;
# - **InfoNCE**, the loss behind it: with a calculator, in six lines, and in the package;
# - its **temperature**, its **batch size**, and the problem of duplicates in a batch;
# - two measures of good features, **alignment** and **uniformity**, and a **collapse**, step by step;
# - the loss of one real batch, before and after training.
#
# Paper: section 4.3, the loss $L_{CL}$. Code: `scale/losses/contrastive.py`,
# `scale/training/health_checks.py`.

# %%
import math

import pandas as pd
import torch
from torch.nn.functional import cross_entropy, normalize

import scale
from scale import exercises
from scale.losses import pair_losses
from scale.notebook import approx, demo_run, samples, setup
from scale.training import alignment, uniformity

setup(seed=0)

# %% [markdown]
# ## The child, two cats and a dog
#
# A newborn sees two cats and a dog, and hears no name. But the child can *compare*: two of the three are alike.
# After many days it distinguishes cats from dogs without knowing either word.
#
# This is **contrastive learning** (对比学习). It needs no labels, only one piece of information: *which two belong
# together*. A shop gives us this for free. A title and a picture on the same product page belong together. A
# title and the picture of another product do not. Learning of this kind, from the data alone, is
# **self-supervised** (自监督).

# %%
scale.plot.contrastive_idea()

# %% [markdown]
# The idea: *pull* together what belongs together, *push* apart what does not. Two terms:
# - a **positive pair** (正样本对): title and picture of one product;
# - a **negative** (负样本) of a title: the picture of another product.
#
# ## Pull and push, one step at a time
#
# An **encoder** (编码器) turns a title, or a picture, into a vector: its **feature** (特征). We scale each feature
# to length 1, so that only its direction matters. With two numbers per feature, every feature is a point on a
# circle. The **cosine** (余弦) of two features is then their dot product: 1 in the same direction, 0 at a right
# angle, −1 when opposite.
#
# Three products have three titles and three pictures, all in the wrong places. Rows are titles, columns are
# pictures.
#
# **Names.** In all notebooks the capital letters at the end of a name are the axes of the array: `text_BD` has B
# rows, one per product of the batch, and D columns, the numbers of a feature. `cosine_BB` is a B × B table.

# %%
text_BD = scale.viz.on_circle([95.0, 230.0, 330.0])  # degrees on the circle
image_BD = scale.viz.on_circle([20.0, 300.0, 110.0])
cosine_BB = text_BD @ image_BD.T
torch.testing.assert_close(cosine_BB[0, 0].item(), math.cos(math.radians(95 - 20)))
cosine_BB.numpy().round(2)

# %% [markdown]
# True pairs are on the **diagonal** (对角线). Look at the first row. Title 1 has cosine 0.26 with its own picture,
# but 0.97 with picture 3, the wrong one.
#
# Now the force. Divide the cosines of a row by a number $t$, the **temperature** (温度), here 0.5. Take the
# **softmax**: each number becomes $e^{\text{it}}$, divided by the sum of the row. This gives shares $p_b$ that
# sum to 1. Let $z$ be the title, $v_b$ the pictures, and $v_1$ the title's own picture. The loss will be
# $-\log p_1$, and its gradient is short enough to write down:
#
# $$-\frac{\partial L}{\partial z} = \frac{1}{t} \Bigl( \underbrace{(1 - p_1)\, v_1}_{\text{pull}}
# - \underbrace{\sum_{b \neq 1} p_b\, v_b}_{\text{push}} \Bigr)$$
#
# We compute both sides: the formula, and PyTorch's own gradient.

# %%
temperature = 0.5
z_D = text_BD[0].clone().requires_grad_()
share_B = (image_BD @ z_D / temperature).softmax(0)
(-share_B[0].log()).backward()

p_B = share_B.detach()
pull_D = (1 - p_B[0]) * image_BD[0]
push_D = p_B[1] * image_BD[1] + p_B[2] * image_BD[2]
torch.testing.assert_close(-z_D.grad, (pull_D - push_D) / temperature)
print(f"pull of picture 1: {1 - p_B[0]:.2f}")
print(f"push of picture 2: {p_B[1]:.2f}, push of picture 3: {p_B[2]:.2f}")

# %% [markdown]
# The pull is as strong as all pushes together, and most of the push comes from the wrong picture that *looks*
# right. Picture 2 is far away and hardly counts. A nearby negative is a **hard negative** (难负样本).
#
# Now **one step**, for all six points. The loss classifies each title's picture (softmax along the row) and
# each picture's title (softmax along the column). Each point moves a little against its gradient and is then
# projected back onto the circle.

# %%
points_2BD = torch.stack([text_BD, image_BD]).requires_grad_()
z_BD, v_BD = normalize(points_2BD, dim=2)
logits_BB = z_BD @ v_BD.T / temperature
p_row_B, p_column_B = logits_BB.softmax(dim=1).diag(), logits_BB.softmax(dim=0).diag()
loss = -(p_row_B.log() + p_column_B.log()).mean() / 2
loss.backward()
after_2BD = normalize(points_2BD.detach() - 0.3 * points_2BD.grad, dim=2)
for b in range(3):
    before, after = cosine_BB[b, b], after_2BD[0, b] @ after_2BD[1, b]
    print(f"pair {b + 1}: cosine {before:.2f} -> {after:.2f}")

# %% [markdown]
# All three pairs have moved closer. The rest is repetition: `walk` takes sixty such steps, and its first step
# must equal ours.

# %%
path = scale.viz.walk(text_BD, image_BD, steps=60, rate=0.3, temperature=temperature)
torch.testing.assert_close(path.text_TBD[1], after_2BD[0])
torch.testing.assert_close(path.image_TBD[1], after_2BD[1])
table = pd.DataFrame({"step": [0, 1, 2, 5, 15, 60]})
table["loss"] = [round(path.loss_T[k].item(), 2) for k in table.step]
for b in range(3):
    own_T = (path.text_TBD[:, b] * path.image_TBD[:, b]).sum(1)
    table[f"cosine of pair {b + 1}"] = [round(own_T[k].item(), 2) for k in table.step]
assert (path.loss_T.diff() < 1e-6).all()
table

# %% [markdown]
# Each pair ends at cosine 1. The picture shows how: first the forces on title 1, then the path of all six
# points in the next step, then the same after it. The individual steps are below.

# %%
scale.plot.pull_and_push()

# %% [markdown]
# Each title meets its picture, and the three products end up as far apart as the circle permits. (Points are
# drawn inside and outside only to be visible: all of them are *on* the circle.) The angles between the three
# titles, after these 60 steps and after 200:

# %%
longer = scale.viz.walk(text_BD, image_BD, steps=200, rate=0.3, temperature=temperature)
for one, steps in ((path, 60), (longer, 200)):
    end_BB = one.text_TBD[-1] @ one.text_TBD[-1].T
    angle_P = torch.rad2deg(end_BB[[0, 0, 1], [1, 2, 2]].acos())
    print(f"{steps} steps:", ", ".join(f"{angle:.0f}°" for angle in angle_P))
assert (angle_P - 120).abs().max() < 0.5

# %% [markdown]
# ## InfoNCE by hand
#
# Now the loss itself. It has a long name, **InfoNCE** (van den Oord et al., 2018), and a simple meaning: it is
# a *multiple-choice question*. "Here is a title and B pictures. Which picture is its own?" The softmax share of
# the right answer is $p$. The loss is $-\log p$: 0 for a confident right answer, large for a confident wrong
# one.
#
# $$L_a = -\log \frac{e^{\cos(z_a, v_a)/t}}{\sum_{b} e^{\cos(z_a, v_b)/t}}$$
#
# Take this table of cosines and $t = 0.2$. Dividing by 0.2 gives whole numbers, so you need only a
# calculator and $e^0 = 1$, $e^1 = 2.718$, $e^2 = 7.389$, $e^3 = 20.086$, $e^4 = 54.598$.

# %%
cosines = [[0.8, 0.2, 0.0], [0.4, 0.6, 0.2], [0.0, 0.2, 0.4]]
scale.plot.info_nce_table(cosines, temperature=0.2)

# %% [markdown]
# Row 1: $54.598 / (54.598 + 2.718 + 1) = 0.936$, and $-\log 0.936 = 0.066$. Please do row 2 yourself before
# you run the next cell.
#
# The rows answer "which picture belongs to this title?", the columns the reverse question. Each counts half.

# %%
logits = [[c / 0.2 for c in row] for row in cosines]
forth, back = [], []
for a in range(3):
    row_sum = sum(math.exp(logits[a][b]) for b in range(3))
    column_sum = sum(math.exp(logits[b][a]) for b in range(3))
    forth.append(-math.log(math.exp(logits[a][a]) / row_sum))
    back.append(-math.log(math.exp(logits[a][a]) / column_sum))
by_hand = [(f + b) / 2 for f, b in zip(forth, back, strict=True)]
columns = {"title → picture": forth, "picture → title": back, "mean": by_hand}
pd.DataFrame(columns, index=["product 1", "product 2", "product 3"]).round(2)

# %% [markdown]
# ## Exercise 1: InfoNCE in six lines
#
# Now as a function, for any batch. `cross_entropy` combines softmax and $-\log$, and the right answer of row $a$ is
# column $a$. Complete the next cell, run it, and run the check below it. If something is wrong, the check names the
# mistake. The solution is folded; the rest of the notebook uses its function.


# %% tags=["exercise"]
def info_nce(text_BD, image_BD, temperature):
    """Return loss_B, the InfoNCE loss of each product: the mean of both directions.

    text_BD, image_BD: features of any length; row a of both is product a.
    """
    raise NotImplementedError


# %% tags=["exercise-check"]
exercises.check_info_nce(info_nce)


# %% tags=["solution"]
def info_nce(text_BD, image_BD, temperature):
    """Return loss_B, the InfoNCE loss of each product: the mean of both directions."""
    logits_BB = normalize(text_BD, dim=1) @ normalize(image_BD, dim=1).T / temperature
    target_B = torch.arange(len(logits_BB))
    forth_B = cross_entropy(logits_BB, target_B, reduction="none")
    back_B = cross_entropy(logits_BB.T, target_B, reduction="none")
    return (forth_B + back_B) / 2


exercises.check_info_nce(info_nce)

# %% [markdown]
# Does it give the numbers that we computed by hand? For that we need features with exactly these cosines. A small
# trick: let the titles be the first three axes of a space, $(1,0,0)$ and so on. Then a picture's first three numbers
# *are* its cosines with the titles. A fourth number, on a separate axis for each picture, fills the length up to 1.

# %%
cosine_BB = torch.tensor(cosines)
rest_B = (1 - cosine_BB.square().sum(0)).sqrt()
titles_BD = torch.eye(3, 6)
pictures_BD = torch.cat([cosine_BB.T, torch.diag(rest_B)], dim=1)
torch.testing.assert_close(titles_BD @ pictures_BD.T, cosine_BB)

six_lines_B = info_nce(titles_BD, pictures_BD, temperature=0.2)
torch.testing.assert_close(six_lines_B, torch.tensor(by_hand))
six_lines_B.numpy().round(2)

# %% [markdown]
# ## In the package
#
# `scale.losses.info_nce` consists of the same lines; it returns the mean over the products.

# %%
package = scale.losses.info_nce(titles_BD, pictures_BD, temperature=0.2)
torch.testing.assert_close(package, six_lines_B.mean())
print(f"mean loss {package:.3f}")

# %% [markdown]
# SCALE has five modalities (模态), so there are ten pairs, and many products lack some modalities. `pair_losses`
# computes all ten pairs at once. It takes `pooled_BMD` (B products, M = 5 modalities, D numbers) and
# `present_BM`, which marks the modalities that are present. Our toy has text and image only; the order is
# always text, table, image, video, audio.

# %%
pooled_BMD = torch.zeros(3, 5, 6)
pooled_BMD[:, 0], pooled_BMD[:, 2] = titles_BD, pictures_BD
present_BM = torch.tensor([[True, False, True, False, False]] * 3)
losses = pair_losses(pooled_BMD, present_BM, temperature=0.2)

text_image = scale.PAIRS.index((0, 2))
torch.testing.assert_close(losses.loss_BP[:, text_image], six_lines_B)
assert losses.valid_BP.sum() == 3  # the nine other pairs are out, for each product
print(f"mean loss of the pair text-image: {losses.mean_P()[text_image]:.3f}")

# %% [markdown]
# By hand, in six lines, in the package: the same numbers three times.
#
# ## Temperature
#
# The temperature divides the cosines before the softmax. Take one title. Its own picture has cosine 0.6, five
# others have 0.5, 0.3, 0.1, −0.1 and −0.3. Now only $t$ changes.

# %%
cosine_C = torch.tensor([0.6, 0.5, 0.3, 0.1, -0.1, -0.3])
rows = {}
for t in (0.02, 0.07, 0.2, 1.0):
    p_C = (cosine_C / t).softmax(0)
    push_C = p_C[1:] / p_C[1:].sum()  # each negative's part of the whole push
    rows[f"t = {t}"] = [round(p_C[0].item(), 2), *push_C.numpy().round(2)]
names = ["own picture's share", *(f"push on {c:.1f}" for c in cosine_C[1:])]
pd.DataFrame(rows, index=names).T

# %% [markdown]
# Why does the share measure the push? The gradient of the loss with respect to the cosine of a negative is
# $p_b / t$ (the formula from the circle again). We check this first; then comes the picture.

# %%
leaf_C = cosine_C.clone().requires_grad_()
loss = cross_entropy((leaf_C / 0.07)[None], torch.tensor([0]))
(slope_C,) = torch.autograd.grad(loss, leaf_C)
share_C = (cosine_C / 0.07).softmax(0)
torch.testing.assert_close(slope_C[1:], share_C[1:] / 0.07)
torch.testing.assert_close(slope_C[0], (share_C[0] - 1) / 0.07)
assert 0.93 < share_C[1] / share_C[1:].sum() < 0.95
scale.plot.temperature()

# %% [markdown]
# Read it from right to left. At $t$ = 1 all negatives are pushed about equally, the easy ones too. At 0.07 the
# hardest one gets 94 % of the push, at 0.02 all of it (0.99). With a low temperature only the most similar products
# count, which is dangerous if one of them is not really a negative (see below). Wang and Liu (CVPR 2021) study this
# trade-off. SCALE's released code trains with 0.07, and this is the package's default:

# %%
temperature = scale.config.LossConfig().temperature
assert temperature == 0.07
temperature

# %% [markdown]
# ## Exercise 2: the smallest loss
#
# How small can the loss get? For a perfect model, the title's own picture has cosine 1 and all 63 others have
# −1. Compute the loss for $t$ = 1 and for $t$ = 0.07. What follows for training with $t$ = 1?

# %% tags=["solution"]
for t in (1.0, 0.07):
    print(f"t = {t}: smallest loss {math.log(1 + 63 * math.exp(-2 / t)):.3f}")
# With t = 1 even a perfect model has a loss of 2.25, and log 64 = 4.16 is pure guessing. Cosines
# lie in [-1, 1], so the logits are too small for a confident softmax. Dividing by t scales them up.
assert math.log(1 + 63 * math.exp(-2)) > 2

# %% [markdown]
# ## Batch size
#
# A **batch** (批次) of B products gives each title one positive and B − 1 negatives. More negatives make the
# question harder. How hard? A model that gives every picture the same cosine can only guess. Then every share is
# 1/B, and the loss is **log B**. Remember this number: it is the cost of guessing.

# %%
for B in (2, 64, 1024):
    same_BD = torch.ones(B, 4)  # every feature the same
    torch.testing.assert_close(info_nce(same_BD, same_BD, 0.07).mean().item(), math.log(B))
    print(f"B = {B}: guessing costs log B = {math.log(B):.2f}")

# %% [markdown]
# Does every training start at log B? Only if the untrained features are all alike. If they point in different,
# random directions, the model guesses *with confidence*, and that costs more. Below, 64 titles and 64 pictures
# have random directions in D dimensions. The wider their cosines are spread, the larger the loss.

# %%
torch.manual_seed(0)
for D in (4, 64, 1024):
    text_BD, image_BD = torch.randn(2, 64, D)
    spread = (normalize(text_BD, dim=1) @ normalize(image_BD, dim=1).T).std()
    loss = info_nce(text_BD, image_BD, 0.07).mean()
    print(f"D = {D}: cosines 0 ± {spread:.2f}, loss {loss:.2f}, log B = {math.log(64):.2f}")
    assert loss > math.log(64) + 0.05

# %% [markdown]
# So a training starts at log B or above. (At the end of this notebook you will see an untrained model very close to
# log B; notebook 10 compares the first losses of a training with the sum of the ten log B.)
#
# There is a second reason for large batches. How much information do title and picture share? This is their
# **mutual information** (互信息) $I$, measured in *nats*. InfoNCE gives a lower bound on it (van den Oord et al.,
# 2018), on average over batches:
#
# $$I \;\ge\; \log B - L$$
#
# The right side can never be more than log B, since $L \ge 0$. So a small batch cannot prove much, however good
# the model is. As an example we take two views with *known* mutual information (3 nats: Gaussian numbers with a
# chosen correlation), and the best possible model for them, given by a formula, without training.

# %%
for B in (4, 32, 256):
    L = scale.viz.best_loss(B)
    print(f"B = {B}: log B = {math.log(B):.2f}, L = {L:.2f}, log B - L = {math.log(B) - L:.2f}")
    assert math.log(B) - L < min(math.log(B), 3)
scale.plot.batch_size()

# %% [markdown]
# Left: the loss grows with B although the model is perfect, so losses at different batch sizes must not be
# compared. Right: with B = 4 the bound is only about 1.2 nats, with B = 256 nearly all 3.
#
# ## False negatives: duplicates in a batch
#
# A shop lists the same kettle twice, under two numbers. Now the batch contains two products with the same
# picture, and InfoNCE treats each as a wrong answer for the other. It is not wrong. Such a pair is a **false
# negative** (假负样本). First, the cost when the two are *exactly* the same: no model can choose between them.

# %%
pair_BD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]])  # 1 and 2 are twins
loss_B = info_nce(pair_BD, pair_BD, temperature=0.07)
print("loss of each product:", *(f"{abs(x):.2f}" for x in loss_B.tolist()))
print(f"log 2 = {math.log(2):.2f}")
assert (loss_B[:2] > math.log(2) - 1e-3).all()
assert (loss_B[2:] < 0.01).all()

# %% [markdown]
# The twins' loss is log 2, and no training can lower it. If the twins differ a little (another photograph, one
# more word), it gets worse: then a model *can* lower the loss, by pushing two pictures of one thing apart. Here
# this happens with four products on the circle, of which 1 and 2 are twins. `content_id_BM` numbers the
# contents; products with equal numbers are not negatives of each other.

# %%
counted, left_out = scale.viz.twin_walks()
for name, found in (("counted as negatives", counted), ("left out", left_out)):
    cosine_T = (found.image_TBD[:, 0] * found.image_TBD[:, 1]).sum(1)
    print(f"twins {name}: cosine of their pictures {cosine_T[0]:.2f} -> {cosine_T[-1]:.2f}")
assert (counted.image_TBD[-1, 0] @ counted.image_TBD[-1, 1]).abs() < 0.05
scale.plot.false_negatives()

# %% [markdown]
# Counted as negatives, the twins end at a right angle, as far apart as any two neighbours on the circle. If
# they are excluded, they stay together, and products 3 and 4 have more room. The setting is
# `loss.ignore_duplicates = True`; the demo uses it. We check its effect on the four features from above.

# %%
pooled_BMD, present_BM = scale.viz.as_products(pair_BD, pair_BD)
content_id_BM = torch.tensor([0, 0, 1, 2])[:, None].expand(-1, 5)
left_out = pair_losses(pooled_BMD, present_BM, content_id_BM=content_id_BM)
single = info_nce(pair_BD[1:], pair_BD[1:], 0.07)[0]  # the same batch without product 1
torch.testing.assert_close(left_out.loss_BP[0, text_image], single)
print(
    f"loss of a twin: {loss_B[0]:.2f} counted, {left_out.loss_BP[0, text_image].abs():.2f} left out"
)

# %% [markdown]
# ## Exercise 3: more negatives
#
# `pair_losses` has an option `negatives="both"`: besides the other products' *pictures*, the other products'
# *titles* are negatives of a title (as in the released code). How many negatives does an anchor have then, in a
# batch of B? What is the loss of a model that has learned nothing? Check it for B = 64.

# %% tags=["solution"]
pooled_BMD, present_BM = scale.viz.as_products(torch.ones(64, 4), torch.ones(64, 4))
both = pair_losses(pooled_BMD, present_BM, negatives="both").loss_BP[:, text_image].mean()
torch.testing.assert_close(both.item(), math.log(2 * 64 - 1))
print(
    f"1 right answer among {2 * 64 - 1}: loss {both:.2f} = log 127, not log 64 = {math.log(64):.2f}"
)
# 2B - 2 negatives: B - 1 pictures and B - 1 titles. Compare losses only with the same negatives.

# %% [markdown]
# ## Alignment and uniformity
#
# The loss combines two goals: true pairs should be close, and different products far apart. Wang and Isola
# (2020) measure them separately.
#
# - **Alignment** (对齐性): mean squared distance of true pairs, $E\,\lVert z_a - v_a\rVert^2$. 0 is
#   perfect. It equals $2 - 2\cos$, so 2 means unrelated.
# - **Uniformity** (均匀性): $\log E\, e^{-2 \lVert x - y\rVert^2}$ over *different* products $x$, $y$ of one
#   modality. 0 means that all features are the same. The lower, the more evenly they are spread.
#
# First with slow loops, on the end point of our walk; then with the package, which must agree.

# %%
text_BD, image_BD = path.text_TBD[-1], path.image_TBD[-1]
slow_alignment = sum((text_BD[a] - image_BD[a]).square().sum() for a in range(3)) / 3
spread = []
for x_BD in (text_BD, image_BD):
    near = [math.exp(-2 * (x_BD[a] - x_BD[b]).square().sum()) for a in range(3) for b in range(a)]
    spread.append(math.log(sum(near) / 3))
features = scale.viz.as_products(text_BD, image_BD)
torch.testing.assert_close(alignment(*features), slow_alignment.item())
torch.testing.assert_close(uniformity(*features), sum(spread) / 2, atol=1e-6, rtol=0)
print(f"after 60 steps: alignment {slow_alignment:.2f}, uniformity {sum(spread) / 2:.2f}")

# %% [markdown]
# Three points at 120 degrees have squared distance 3, so uniformity is $-2 \cdot 3 = -6$, the best value for
# three points. We are nearly there. Many points cannot be so far apart. A thousand in random directions:

# %%
for D in (2, 3, 512):
    points_BD = normalize(torch.randn(1000, D), dim=1)
    found = uniformity(*scale.viz.as_products(points_BD, points_BD))
    print(f"{D} dimensions: uniformity {found:.2f}")
assert -4.1 < found < -3.9

# %% [markdown]
# Neither measure is meaningful alone. Four arrangements of eight products:

# %%
scale.plot.alignment_uniformity()

# %% [markdown]
# Only the last is useful. The second has perfect alignment, but a title there finds *every* picture equally
# well: that is the subject of the next section.
#
# ## Collapse, step by step
#
# What if we only pull? Then there is a shortcut to loss 0: the encoders ignore their input and always return
# the same feature. This is **collapse** (坍缩). We train two tiny encoders on 64 products whose "title" and
# "picture" are the same eight random numbers with independent noise: once with pull only, once with InfoNCE.

# %%
pull_only = scale.viz.train_towers(push=False, steps=200)
pull_and_push_too = scale.viz.train_towers(push=True, steps=200)
rows = {}
for name, found in (("pull only", pull_only), ("pull and push", pull_and_push_too)):
    features = scale.viz.as_products(found.text_TBD[-1], found.image_TBD[-1])
    rows[name] = {
        "alignment": approx(alignment(*features)),
        "uniformity": approx(uniformity(*features)),
    }
pd.DataFrame(rows).T

# %% [markdown]
# By alignment alone, the run without negatives is better. The picture shows why this is misleading.

# %%
scale.plot.collapse(walks=(pull_only, pull_and_push_too))

# %% [markdown]
# Above, all products slide together into one point. Below, the push keeps them apart. The curve is the mean
# cosine between *different* products. The package monitors it in every training and warns above 0.98:

# %%
collapsed = scale.viz.as_products(pull_only.text_TBD[-1], pull_only.image_TBD[-1])
healthy = scale.viz.as_products(pull_and_push_too.text_TBD[-1], pull_and_push_too.image_TBD[-1])
print(scale.training.collapse_warning(*collapsed).split(" in ")[0], "...")
assert min(scale.training.mean_cosine(*collapsed).values()) > 0.98
assert max(scale.training.mean_cosine(*healthy).values()) < 0.5
assert scale.training.collapse_warning(*healthy) is None

# %% [markdown]
# Some methods work without negatives (BYOL, SimSiam). They prevent collapse by other means, such as a stopped
# gradient on one side. SCALE uses negatives.
#
# ## Exercise 4: push only
#
# And *push only*? Take the eight titles and pictures of "spread, not aligned" above and compute both measures.
# Is uniformity alone a good goal? What would retrieval (检索) find?

# %% tags=["solution"]
for key, text_BD, image_BD in scale.viz.arrangements()[2:]:
    hits = ((text_BD @ image_BD.T).argmax(1) == torch.arange(8)).sum().item()
    found = uniformity(*scale.viz.as_products(text_BD, image_BD))
    print(f"{key.split('_')[1]}: uniformity {found:.2f}, own picture found {hits} of 8 times")
# Both are equally uniform, but retrieval works only for the aligned one. Neither measure is enough
# alone.

# %% [markdown]
# ## One real batch
#
# Now the sample shop: 32 products with title and picture, first with random weights, then with the weights that
# `make demo` trained (if there are none yet, the next cell trains the model once, one to two minutes). Third,
# 32 products that the trained model has *never seen*.

# %%
run = demo_run()
seen, unseen = run.dataset(samples(), "train"), run.dataset(samples(), "test")
tables = scale.viz.tables_of(run, seen, unseen)
names = ("untrained", "trained, seen products", "trained, new products")
print(f"{len(seen)} training products, {len(unseen)} new ones")
rows = {}
for name, found in zip(names, tables, strict=True):
    own, count = found.cosine_BB.diag().mean(), len(found.cosine_BB)
    other = (found.cosine_BB.sum() - found.cosine_BB.diag().sum()) / (count * (count - 1))
    numbers = {"own picture": approx(own), "others": approx(other), "loss": approx(found.loss)}
    rows[name] = numbers | {"log B": round(math.log(count), 2)}
pd.DataFrame(rows).T

# %% [markdown]
# The first two columns are the mean cosines on and off the diagonal. The picture shows the full matrices.

# %%
scale.plot.batch_table(tables)

# %% [markdown]
# Three observations:
# 1. **Untrained**: all cosines are nearly the same. No diagonal. The loss is very near log B: pure guessing.
# 2. **Trained, seen products**: the diagonal stands out, and the loss is far below log B.
# 3. **Trained, new products**: the diagonal can hardly be seen, and the loss is *above* log B. The model is
#    confident and often wrong: it has memorised its 502 training products. At $t$ = 0.07 a confident mistake is
#    expensive. log B is the cost of guessing, not an upper bound.
#
# Has it learned nothing about new products? It has: averaged over *all* new products, a title's own picture is
# closer than the others. The difference is small, but before training there is none at all.

# %%
untrained, on_seen, on_new = tables
assert abs(untrained.loss - math.log(32)) < 0.15
assert on_seen.loss < math.log(32) - 1
assert on_seen.hits > 12
assert on_new.loss > math.log(32)
gaps = []
for model in (run.untrained().eval(), run.model):
    cosine_BB = scale.viz.table_of(model, unseen, count=len(unseen)).cosine_BB
    gaps.append(cosine_BB.diag().mean() - cosine_BB.mean())
    nearer = round(gaps[-1].item(), 2) + 0.0
    print(f"{len(cosine_BB)} new products: own picture nearer by {approx(nearer)}")
assert abs(gaps[0]) < 0.01
assert gaps[1] > 0.03

# %% [markdown]
# So the model *has* learned to find a picture by a title without any labels, best for products it was trained
# on. More products improve this; notebook 14 measures it properly, with intervals.
#
# ## What to remember
#
# - Contrastive learning needs only pairs that belong together, such as the title and the picture of a product.
# - InfoNCE is a multiple-choice question with B answers, in both directions. Guessing costs log B; an untrained
#   model with random cosines has a larger loss.
# - The pull is $1 - p$, the push on each negative is its share $p_b$: hard negatives get most of it,
#   increasingly so at low temperature.
# - Two products with equal content are false negatives: exclude them (`loss.ignore_duplicates`).
# - Alignment without uniformity is collapse. Monitor the mean cosine of different products.
#
# ## Five questions
#
# 1. Why is the loss of a model with the same feature for every product exactly log B?
# 2. In the 3 × 3 table, which cosine would you change to make the loss of title 2 smallest, and which of the
#    *other* losses would change too?
# 3. A friend reports a loss of 2.1 with B = 64, you have 3.0 with B = 1,024. Whose model is better? Why is this
#    a trap?
# 4. You lower the temperature from 0.2 to 0.02, and your catalogue contains many near-duplicates. What do you
#    expect?
# 5. A training reports alignment 0.00 after 100 steps. Is this good news? What do you check next?

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. All logits of a row are equal, so softmax gives every picture the share 1/B, and $-\log(1/B) = \log B$. The
#    temperature makes no difference.
# 2. Its own cosine, 0.6: a higher value lowers the loss of title 2 the most (its pull equals the sum of both pushes),
#    and with it the loss of picture 2, whose column contains the same cell. No other row or column does. Lowering the
#    0.4 would change the loss of picture 1 instead.
# 3. The loss grows with B, so the two cannot be compared. Compare with guessing: 4.16 − 2.1 = 2.06 and 6.93 − 3.0 =
#    3.93, in favour of your model. But both are lower bounds of the mutual information, so even that is no proof.
#    Measure retrieval in the same gallery.
# 4. Nearly the whole push goes to the most similar negatives, and these are now the near-duplicates: what is alike is
#    pushed apart. `loss.ignore_duplicates` excludes only exact copies. Use a higher temperature, or remove
#    near-duplicates from the batch.
# 5. Probably not: it is what a collapse looks like. Check the uniformity (near 0?) and the mean cosine of different
#    products (above 0.98?).
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures contrastive_idea pull_and_push info_nce_table temperature batch_size
# scale figures false_negatives alignment_uniformity collapse batch_table
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
