# %% [markdown]
# # 04 · Masked regions: MRP
#
# **The question.** Cover half of a product's picture. Can a model predict the covered half? And does it
# predict better if it also gets the title, the table, the clip and the sound?
#
# This is the first of five **pretext tasks** (代理任务): tasks made from the data alone, without labels. For
# pictures it is **masked region prediction** (掩码区域预测), MRP. You will build:
# - a picture as a list of vectors, and a mask over some of them;
# - the loss of MRP, by hand and by the package, and why it is not a classification;
# - a test of the value of the other **modalities** (模态), on the same hidden regions;
# - the reason why a model hardly uses them here, and a small training in which a model does.
#
# Notebooks 07 (frames) and 08 (sounds) are about the same kind of task. What they share is explained here.
#
# Paper: section 4.2. Code: `scale/losses/masking.py`, `scale/losses/masked.py`,
# `scale/studies/context.py`.

# %%
import numpy as np
import pandas as pd
import torch

import scale
from scale.losses import masked_vector_loss
from scale.notebook import approx, approx_estimate, demo_data, demo_run, setup
from scale.studies import EVERYTHING, NOTHING, OTHER_PRODUCTS, gains, product_losses

setup(seed=0)

# %% [markdown]
# ## Two models
#
# The **demo** is the model of the other notebooks: 450 steps, six losses, small pictures. Predicting hidden
# content takes longer to learn. So this repository also contains a model for notebooks 04 to 08, called the
# **longer training** here: the same kind of model with finer pictures, trained on the five masked losses alone,
# for more steps and on more descriptions (`python -m tools.masked_model`; its folder lists the details). No
# product of the test split was used for either.

# %%
demo, run = demo_run(), scale.notebook.masked_run()
train, demo_test, test = demo_data("train"), demo_data("test"), scale.notebook.masked_data("test")
rows = {}
for name, one in (("demo", demo), ("longer training", run)):
    features = one.config.features
    regions = (features.image_size // features.patch_size) ** 2
    rows[name] = {
        "steps": one.config.train.steps,
        "losses": len(one.config.loss.tasks),
        "picture": f"{features.image_size} x {features.image_size}",
        "regions": f"{regions} of {features.patch_size} x {features.patch_size}",
        "weights": sum(weight.numel() for weight in one.model.parameters()),
    }
pd.DataFrame(rows).T

# %% [markdown]
# ## A picture as sixty-four vectors
#
# A Transformer reads a sequence of vectors, so a picture must become one. It is fitted into a square of 128 x
# 128 **pixels** (像素) and cut into 64 **regions** (区域) of 16 x 16, row by row. (The paper uses 36 boxes from an
# object detector. The idea is the same: a list of regions, with one vector each.)
#
# The capital letters at the end of a name are the axes of an array, here and in all notebooks: `pixels_HWC` has
# height, width and three colours; `regions_LHWC` is a list of L such squares; `features_LF` has L vectors of F
# numbers.

# %%
row = int(test.present_NM.all(axis=1).argmax())  # the first product that lacks nothing
pixels_HWC = scale.data.fit_image(scale.data.load_image(test.products[row].image), 128)
corners = [(y, x) for y in range(0, 128, 16) for x in range(0, 128, 16)]
regions_LHWC = np.stack([pixels_HWC[y : y + 16, x : x + 16] for y, x in corners])
print("picture", pixels_HWC.shape, "regions", regions_LHWC.shape)

# %% [markdown]
# A region is described by 84 numbers: 48 **colours** (means of 4 x 4 pixels, -1 is black and 1 is white) and 36
# numbers for the directions of edges (`scale/data/features.py`). The first three numbers are the colour of the
# top left corner. We compute them ourselves:

# %%
features_LF = scale.data.hog_features(pixels_HWC, 16)
corner = regions_LHWC[0][:4, :4].reshape(-1, 3).mean(axis=0) / 127.5 - 1
np.testing.assert_allclose(features_LF[0, :3], corner, rtol=1e-5)
print("features:", features_LF.shape, "red, green, blue of the corner:", corner.round(2))

# %% [markdown]
# ## Masking
#
# `mask_batch` chooses regions at random and hides them, here half of them (the paper: 15 %). It replaces each
# hidden vector by zeros, marks its position in `hidden_RL` (R pictures of L regions), and keeps the true vectors
# as the **target** (目标), `target_NF` (N hidden regions of F numbers). The encoder replaces the marked positions by
# a learned *mask token*, so hidden, black and absent remain three different things.

# %%
pieces = scale.losses.WordPieces.of(run.tokenizer)
batch = test.collate([row])
masked = scale.losses.mask_batch(batch, run.config.mask, pieces, seed=(0, 1), tasks=("MRP",))
hidden_RL, target_NF = masked.hidden["image"], masked.targets["image"]
assert not masked.batch.tokens["image"].values[hidden_RL].any()  # zeros
torch.testing.assert_close(target_NF, batch.tokens["image"].values[hidden_RL])
print("hidden:", int(hidden_RL.sum()), "of", hidden_RL.numel(), "target:", tuple(target_NF.shape))

# %% [markdown]
# Left: the picture. Middle: the model's input (only the colours can be drawn; the edges cannot). Right:
# the hatched regions are hidden, and the model must predict them.

# %%
shown = scale.studies.reconstruct(run.model, test, "image", run.config.mask, [row])
scale.plot.mask_image([("", shown[0])], run.config.features, guesses=())

# %% [markdown]
# ## The loss, by hand
#
# The prediction is a vector $p$, the truth a vector $t$. How wrong is it? Take the difference of each
# number, square it, and take the mean: over the F numbers of a vector, then over the N hidden regions.
#
# $$L_{MRP} = \frac{1}{N} \sum_{n=1}^{N} \frac{1}{F} \sum_{f=1}^{F} (p_{nf} - t_{nf})^2$$
#
# Two hidden regions, three numbers each. Check it mentally: the first row has one error of 1, so 1/3. The
# second has errors 0, 2 and 1, so (0 + 4 + 1)/3 = 5/3. The mean of both is 1. The frames of notebook 07 and the
# sounds of notebook 08 have exactly this loss.

# %%
predicted_NF = torch.tensor([[1.0, 0.0, 0.0], [0.5, 2.0, 1.0]])
truth_NF = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, 2.0]])
total = 0.0
for p_F, t_F in zip(predicted_NF, truth_NF, strict=True):
    total += sum((p - t) ** 2 for p, t in zip(p_F, t_F, strict=True)) / len(p_F)
by_hand = total / len(predicted_NF)
torch.testing.assert_close(masked_vector_loss(predicted_NF, truth_NF), by_hand)
print(f"loss {by_hand:.2f}")

# %% [markdown]
# ## Why a regression
#
# A hidden *word* is one of about two thousand word pieces, so the question is "which one?", and the loss is
# cross-entropy (notebook 05). A hidden region is 84 real numbers. There is no list to choose from, so
# the question is "how close?": a **regression** (回归).
#
# That choice has a price. Suppose that a hidden colour is white (1) or black (0), equally often, and
# nothing in the input determines which. What should the model predict? Try every value from 0 to 1:

# %%
answers = torch.linspace(0, 1, 11)
error = torch.stack([((a - torch.tensor([0.0, 1.0])) ** 2).mean() for a in answers])
best = answers[error.argmin()]
print(f"best answer {best:.1f}, its error {error.min():.2f}; error of answering 0: {error[0]:.2f}")
assert abs(best - 0.5) < 1e-6

# %% [markdown]
# Grey, the **mean** of the possible values, although no true region is grey. So predictions trained with
# a squared error look *blurred* (模糊): blur is uncertainty. If another modality distinguishes black from
# white, the blur can disappear. Does it?
#
# ## With, without, another product's
#
# In the paper, the loss of a pretext task is $-\log P(t_{masked} \mid t_{visible}, M_{others})$: the
# prediction may use the rest of the picture *and* all other modalities, through the **joint
# co-transformer** (联合协同 Transformer, JCT). To measure their value, the model predicts the *same* hidden regions
# in three situations:
#
# | situation | input of the model besides the visible regions |
# |---|---|
# | **with** | the product's own title, table, clip, sound |
# | **without** | nothing: they are marked absent in `present_BM` |
# | **another product's** | title, table, clip and sound of *another* product |
#
# Is "without" fair? Both models were trained with **zero imputation** (零插补): for an absent modality, the JCT
# gets its encoder's output for zeros. This occurs in training, because many products of the shop lack a
# modality. But no training product lacks four of five at once (the next cell counts), so the loss may rise just
# because the input is unusual. (With the policy `skip` there would be no tokens at all; with `drop` no training
# product would have lacked a modality, and "without" would not be fair.) The third situation has no such flaw:
# the number of tokens is the usual one, only the product is the wrong one. **The difference between own and
# another product's modalities measures the value of their content.** Notebooks 07 and 08 use the same three.

# %%
missing_P = 5 - train.present_NM.sum(axis=1)
print({int(k): int((missing_P == k).sum()) for k in np.unique(missing_P)}, "products lack so many")
assert missing_P.max() < 4
loss = product_losses(run.model, test, "image", run.config.mask)
ranks = scale.studies.best_median_worst(loss["none"] - loss["all"])
shown = scale.studies.reconstruct(run.model, test, "image", run.config.mask, ranks)
ranked = list(zip(("best", "median", "worst"), shown, strict=True))
scale.plot.mask_image(ranked, run.config.features)

# %% [markdown]
# The three products are chosen by a rule, not by eye: the largest, the median and the most negative
# difference of the loss without and with the others. The first two columns are the picture and its features, the
# third is the input. The predicted regions continue the edges and surfaces around them: one recognises the
# product. They are blurred where several continuations are possible. And the columns *with* and *without* hardly
# differ.
#
# ## Measured over the test split
#
# One picture proves nothing. Here is the mean over all test products with a picture, with two simple
# baselines: the **mean of the training set** and the **mean of the product's visible regions**. A model
# that does not beat them has learned nothing. The demo has other regions, so its losses cannot be compared
# directly; each column is therefore also given as a share of the loss of the training mean.

# %%
names = {
    "mean": "mean of the training set",
    "visible": "mean of the visible regions",
    "none": "model, without the others",
    "other products": "model, with another product's",
    "all": "model, with the others",
}
losses, table = {}, {}
for name, one, data in (("demo", demo, demo_test), ("longer training", run, test)):
    found = product_losses(one.model, data, "image", one.config.mask)
    losses[name] = found | scale.studies.baseline_losses(data, "image", one.config.mask)
    mean = {key: np.nanmean(losses[name][key]) for key in names}
    table[f"{name}: loss"] = {names[k]: approx(v) for k, v in mean.items()}
    table[f"{name}: share"] = {names[k]: approx(v / mean["mean"]) for k, v in mean.items()}
pd.DataFrame(table)

# %% [markdown]
# Both models are better than both baselines: they have learned which regions go together in a picture. The
# longer training leaves a smaller share of the error, although its regions are smaller. But its loss *with*,
# *without* and with *another product's* modalities is nearly the same. Are the remaining differences due to
# chance? We take the difference product by product and estimate how much it would vary with other test products:
# a 95 % **interval** (置信区间) by bootstrap. If it contains 0, no difference has been shown.

# %%
for name, found in losses.items():
    e = {key: gains(found, key)["all"] for key in ("none", "other products")}
    print(f"{name}: without - with {approx_estimate(e['none'])}", end="; ")
    print(
        f"another product's - with {approx_estimate(e['other products'])}; {e['none'].n} products"
    )
    assert max(abs(one.value) for one in e.values()) < 0.03  # of a loss of 0.3 to 0.5
share = {n: np.nanmean(found["all"]) / np.nanmean(found["mean"]) for n, found in losses.items()}
assert share["longer training"] < share["demo"] < 0.85
wanted = {k: e for k, e in gains(losses["longer training"]).items() if k not in names or k == "all"}
wanted["other products"] = gains(losses["longer training"])["other products"]
scale.plot.context_gain({"image": wanted})

# %% [markdown]
# **The finding.** For pictures, neither model gains anything worth mentioning from the content of the other
# modalities: with all of them or with one alone (the coloured bars), the difference is a few hundredths of the
# loss at most. (A coloured bar may lie just outside 0. It has no control: notebook 07 shows why that is not yet a
# gain.) A negative result is a result. But it is a result about *this training*, so let us find the reason.
#
# ## Which parts learn from this loss?
#
# Can the other modalities learn to help at all? Only if the **gradient** (梯度) of the MRP loss reaches
# their encoders. We compute its norm in each part of the demo's model, and compare it with the gradient of the
# contrastive loss and of MRP as in the *released code*, where the head reads the picture's own encoder
# and not the JCT.

# %%
masked = scale.losses.mask_batch(
    train.collate(range(64)), demo.config.mask, pieces.of(demo.tokenizer), (0, 0), scale.TASKS
)
model = demo.model.cpu()
output = model(masked.batch, masked.hidden)
losses_of = scale.losses.scale_loss(output, masked, demo.config.loss).losses
encoded_ND = output.encoded["image"][:, 1:][masked.hidden["image"]]  # [CLS] is at position 0
released = masked_vector_loss(model.heads["image"](encoded_ND), masked.targets["image"])
compared = {"MRP": losses_of["MRP"], "MRP, released": released}
compared |= {"contrastive": losses_of["contrastive"], "all six losses": sum(losses_of.values())}

# %% [markdown]
# `torch.autograd.grad` gives the gradient of a loss with respect to each parameter; its norm is the
# square root of the sum of all squares.

# %%
parts = {m: model.encoders[m] for m in scale.MODALITIES} | {"JCT": model.jct}


def length(loss, part):
    found = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True, allow_unused=True)
    return sum(float(g.square().sum()) for g in found if g is not None) ** 0.5


size = {n: {p: length(value, part) for p, part in parts.items()} for n, value in compared.items()}
assert min(size["MRP"].values()) > 0
assert all(size["MRP, released"][p] == 0 for p in size["MRP"] if p != "image")
assert size["contrastive"]["JCT"] == 0
pd.DataFrame(size).map(lambda x: approx(x, 3) if x else "0").T

# %% [markdown]
# Read it row by row.
# - **MRP** reaches everything: the JCT, and through it every other encoder. The other modalities *can*
#   learn to help.
# - **MRP as released** reaches the picture's encoder only. The JCT learns nothing from it, and no other
#   modality can ever help. Nothing fails, no error is raised; only this table shows it.
# - **The contrastive loss** does not touch the JCT, and in the encoders it is many times larger than MRP.
#   So it determines most of what the demo's encoders learn. The longer training has no contrastive loss.

# %%
ratio = size["contrastive"]["text"] / size["MRP"]["text"]
print(f"text encoder: the contrastive gradient is {approx(ratio, 0)} times that of MRP")
assert ratio > 10

# %% [markdown]
# ## A training in which the clip must help
#
# The longer training has no contrastive loss, and still its pictures do not need the others: half of the regions
# are visible, and the best information about a hidden region is the region beside it. So take that away: no other
# loss, only picture and clip (which show the same product), and *nearly all* regions hidden. The clip is then the
# only source of information. We use the demo's small pictures, randomly initialised weights and 100 steps, about
# five seconds:

# %%
alone = scale.studies.train_masked(demo.config, train, "image", ("video",), rate=0.99, steps=100)
pairs = scale.studies.select_modalities(demo_test, ("image", "video"))
situations = {"none": NOTHING, "other products": OTHER_PRODUCTS, "all": EVERYTHING}
found = product_losses(alone, pairs, "image", scale.config.MaskConfig(rate=0.99), situations)
e = gains(found, "other products")["all"]
print({name: approx(loss_P.mean()) for name, loss_P in found.items()})
print(f"another product's clip - its own: {approx_estimate(e)}, {e.n} products")
assert e.value > 0.03

# %% [markdown]
# Now the product's *own* clip reduces the loss by a good part, and the interval lies above 0. Without any
# clip the prediction is even worse; but no training product of this model lacked its clip, so that
# comparison is not fair, and we do not count it.

# %%
ranks = scale.studies.best_median_worst(found["other products"] - found["all"])
shown = scale.studies.reconstruct(alone, pairs, "image", scale.config.MaskConfig(rate=0.99), ranks,
                    {"with": EVERYTHING, "other products": OTHER_PRODUCTS})  # fmt: skip
ranked = list(zip(("best", "median", "worst"), shown, strict=True))
scale.plot.mask_image(ranked, demo.config.features, guesses=("with", "other products", "mean"))

# %% [markdown]
# The three products again, with the demo's coarse colours: hardly anything of the picture is left. With the
# product's own clip the prediction has about the right brightness and size; the colours are still grey after a
# hundred steps. With another product's clip the prediction resembles that clip.
#
# **The JCT can transfer information from the clip to the picture. Whether it learns to do so depends on
# the other losses, and on whether there is an easier way.** While half of the picture is visible there is an
# easier way: its own neighbouring regions. The second exercise examines one more reason, that in the demo the clip
# is half hidden too.
#
# ## Exercise: the mask ratio
#
# Hide 15 %, 50 %, 90 % and 99 % of the regions of the test pictures and let the longer-trained model predict them.
# How do the loss and the value of the other modalities (own against another product's) change? Write down
# your expectation before you run it.

# %% tags=["solution"]
table = {}
for rate in (0.15, 0.5, 0.9, 0.99):
    swept = product_losses(run.model, test, "image", scale.config.MaskConfig(rate=rate), situations)
    table[rate] = {name: approx(np.nanmean(loss_P)) for name, loss_P in swept.items()}
    table[rate]["other - own"] = approx_estimate(gains(swept, "other products")["all"])
pd.DataFrame(table).T.rename_axis("rate")
# The task gets harder, but the others do not help: in training, half of the regions were visible,
# and the model never learned to use the others.

# %% [markdown]
# ## Exercise: the ratio, or the other task?
#
# Two of the differences between the demo and the small training are the mask ratio and that in the demo
# the clip is half hidden too, by its own task MFP. Train again with the demo's ratio 0.5, once with MRP
# alone and once together with MFP (`further=("MFP",)`). How much does the clip help then?

# %% tags=["solution"]
for further in ((), ("MFP",)):
    model = scale.studies.train_masked(demo.config, train, "image", ("video",), 0.5, 100, further)
    halves = product_losses(model, pairs, "image", scale.config.MaskConfig(rate=0.5), situations)
    e_half = gains(halves, "other products")["all"]
    print(f"MRP {' '.join(further) or 'alone'}: another product's - own: {approx_estimate(e_half)}")
    assert e_half.value < e.value / 2
# Both. With half of the picture left to guess from, the clip is worth a few hundredths at most
# (another seed gives another number, and the interval may hold 0). With half of the frames hidden
# too, nothing measurable is left.

# %% [markdown]
# ## Exercise: a weight on the prediction
#
# The released code multiplies the *prediction* by the weight S′ (notebook 09) before the square:
# $(w p - t)^2$. Find the best $p$ for $t$ = 2 and $w$ = 0.25 by gradient descent, with the weight on the
# prediction and with the weight on the loss. Use `masked_vector_loss(p, t, w, weight_on=...)`.

# %% tags=["solution"]
target_NF, weight_N = torch.tensor([[2.0]]), torch.tensor([0.25])
for where in ("prediction", "loss"):
    p_NF = torch.zeros(1, 1, requires_grad=True)
    optimizer = torch.optim.SGD([p_NF], lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        masked_vector_loss(p_NF, target_NF, weight_N, weight_on=where).backward()
        optimizer.step()
    print(f"weight on the {where}: the best prediction is {p_NF.item():.2f}, the truth 2")
# On the prediction the optimum moves to t / w = 8. A weight belongs on the loss.

# %% [markdown]
# ## What to remember
#
# - MRP hides regions of a picture and predicts their input vectors; the loss is a mean squared error.
# - Under a squared error the best prediction under uncertainty is the mean: a blur.
# - To measure the value of the other modalities, compare on the *same* hidden positions, and with
#   *another product's* modalities, not only with none.
# - A longer training completes pictures well, from the visible regions. It gains nothing worth mentioning from the
#   other modalities, and neither does the demo. A model trained without an easier way does.
# - A masked loss must reach the JCT and the other encoders. In the released code it does not, and no
#   error is raised.
#
# ## Five questions
#
# 1. Why can a hidden word be predicted with cross-entropy and a hidden region not?
# 2. Three kinds of "nothing there" must be distinguished: hidden, padded, absent. Where is each
#    represented in the code?
# 3. A model's loss is lower with the other modalities than without. Name a reason that has nothing to do
#    with their content. Which control detects it?
# 4. In the released code, which parts of the model can never help to predict a hidden region, and why?
# 5. You hide 99 % of the regions during training. What becomes easier to show, and what do you lose?

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. A word piece is one of a finite list, so each candidate can get a probability. A region is a point in a
#    continuous space of 84 numbers: there is no list, so the loss measures the distance.
# 2. Hidden: `hidden_RL` of the masked batch, and the encoder's mask token. Padded: `padding_RL` of the tokens, and
#    the attention mask. Absent: `present_BM` of the batch; the product has no row among the R rows of that modality.
# 3. The *presence* of any input: in training most products had a title, so an input without one is unusual and the
#    prediction gets worse. The control is another product's modalities: equally present, wrong content.
# 4. The JCT and the encoders of the four other modalities: the head reads the picture's encoder, so the gradient
#    of MRP in all of them is exactly 0 (the row "MRP, released" of the table).
# 5. It becomes easy to show that the clip is used, because nothing else is left. You lose what MRP teaches about
#    pictures: which regions go together. And the situation is far from any later use, where pictures are whole.
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures mask_image context_gain
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms:
# [glossary](../docs/glossary.md).
