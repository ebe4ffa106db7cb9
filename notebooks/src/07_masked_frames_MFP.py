# %% [markdown]
# # 07 · Masked frames: MFP
#
# **The question.** Take some frames out of a product's clip. Can a model put them back? And if it can:
# what has it learned? This notebook is about a trap: a task can be solved without learning what was
# intended.
#
# **Masked frame prediction** (掩码帧预测), MFP, is one of three regression tasks. The loss, the two models, and the
# three situations (with, without, another product's) are those of notebook 04, which explains them. New here:
# - a clip as a list of frame vectors, with some of them hidden;
# - the strongest baseline: **copying visible frames**;
# - a comparison that looks like a success of the other **modalities** (模态), and the control that refutes
#   it;
# - a training in which the clip has to use the picture.
#
# Paper: section 4.2. Code: `scale/losses/masked.py`, `scale/studies/context.py`.

# %%
import numpy as np
import pandas as pd
import torch

import scale
from scale.losses import masked_vector_loss
from scale.notebook import approx, approx_estimate, demo_data, demo_run, play, setup
from scale.studies import EVERYTHING, NOTHING, OTHER_PRODUCTS, gains, product_losses

setup(seed=0)

# %% [markdown]
# ## A clip as eight vectors
#
# A clip is a stack of pictures. Both models take eight **frames** (帧), evenly spaced over the clip (the
# paper: 12), and make one vector of each. Here is a clip of the shop. It plays:

# %%
demo, run = demo_run(), scale.notebook.masked_run()
train, demo_test, test = demo_data("train"), demo_data("test"), scale.notebook.masked_data("test")
row = int(test.present_NM.all(axis=1).argmax())  # the first product that lacks nothing
play(test.products[row], "video")

# %% [markdown]
# Each frame is fitted into 48 x 48 **pixels** (像素) and described by 756 numbers: 432 colours (means of 4 x
# 4 pixels) and 324 numbers for the directions of edges. It is the same description as for a region in
# notebook 04; a frame is one region. (The demo's frames have 24 x 24 pixels.) We compute the vector of the first
# frame and compare it with the stored one. In the names, T frames of H x W pixels and C colours; L vectors of F
# numbers.

# %%
from PIL import Image

frames_THWC = scale.data.load_video(test.products[row].video, 8)
first_HWC = scale.data.fit_image(Image.fromarray(frames_THWC[0]), 48)
first_F = scale.data.hog_features(first_HWC, 48)[0]
column = test.columns["video"]
stored_F = column.values[column.start_N[row]].astype(np.float32)  # stored as float16
np.testing.assert_allclose(first_F, stored_F, atol=2e-3)
print("frames", frames_THWC.shape, "-> vectors", (column.length_N[row].item(), len(first_F)))

# %% [markdown]
# ## Masking
#
# Half of the frames are hidden, chosen at random (the paper: 15 %). The top row shows real frames, the
# second row the model's input (only the colours can be drawn), the third row the hidden frames, hatched.
# The model gets a learned *mask token* there.

# %%
shown = scale.studies.reconstruct(run.model, test, "video", run.config.mask, [row])
scale.plot.mask_video([("", shown[0])], run.config.features, guesses=())

# %% [markdown]
# The loss is the mean squared error of notebook 04, over the numbers of each hidden frame and over the hidden
# frames. Two guesses for a clip of a lamp: frame 2 is hidden. The frames before and after it have brightness (0, 0)
# and (1, 1) at two points. The truth is (1, 0). Copying the frame before gives errors of 1 and 0: 1/2. The mean of
# both neighbours, (0.5, 0.5), gives 1/4.

# %%
before, after = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]])
truth = torch.tensor([[1.0, 0.0]])
for name, guess in (("the frame before", before), ("mean of both", (before + after) / 2)):
    by_hand = sum((p - t) ** 2 for p, t in zip(guess[0], truth[0], strict=True)) / 2
    torch.testing.assert_close(masked_vector_loss(guess, truth), by_hand)
    print(f"{name}: {by_hand:.2f}")

# %% [markdown]
# ## The baseline: copying
#
# Things in a clip move slowly, so the frame next to a hidden one is nearly the answer. How close is it?
# For all test clips we compare frames that are 1, 2, ... 7 positions apart. First slowly, for one clip and
# one distance:

# %%
clip_LF = test.collate([row]).tokens["video"].values[0]
total, count = 0.0, 0
for i in range(len(clip_LF) - 1):
    total += float(((clip_LF[i] - clip_LF[i + 1]) ** 2).mean())
    count += 1
loss_D = scale.studies.copy_losses(test.subset([row]), "video", 7)
assert abs(loss_D[0] - total / count) < 1e-5
print(f"neighbours differ by {total / count:.2f} in this clip")

# %% [markdown]
# And over all test clips. The dashed line is the error of the simplest prediction, the mean of all
# training frames.

# %%
loss_D = scale.studies.copy_losses(test, "video", 7)
mean = scale.studies.mean_baseline_loss(test, "video")
print(f"distance 1: {loss_D[0]:.2f}, distance 7: {loss_D[-1]:.2f}, mean: {mean:.2f}")
assert loss_D[0] < 0.5 * mean
assert loss_D[0] < loss_D[-1]
scale.plot.copy_curve({"video": loss_D}, {"video": mean})

# %% [markdown]
# Copying the next frame has much less error than the mean of all training frames, because it shows the same product
# on the same background. **A masked task is easy if there is a good shortcut.** With 15 % of 12 frames hidden,
# nearly every hidden frame has two visible neighbours.
#
# ## The models against copying
#
# The same hidden frames, predicted by simple rules and by both models in the three situations. The losses of the
# two models cannot be compared directly, since their frames differ in size; the shares of the training mean's loss
# can.

# %%
names = {"mean": "mean of the training set", "visible": "mean of the visible frames",
         "nearest": "nearest visible frame", "none": "model, without the others",
         "other products": "model, with another product's",
         "all": "model, with the others"}  # fmt: skip
losses, table = {}, {}
for name, one, data in (("demo", demo, demo_test), ("longer training", run, test)):
    found = product_losses(one.model, data, "video", one.config.mask)
    losses[name] = found | scale.studies.baseline_losses(data, "video", one.config.mask)
    averaged = {key: np.nanmean(losses[name][key]) for key in names}
    table[f"{name}: loss"] = {names[k]: approx(v) for k, v in averaged.items()}
    shares = {names[k]: approx(v / averaged["mean"]) for k, v in averaged.items()}
    table[f"{name}: share"] = shares
pd.DataFrame(table)

# %% [markdown]
# Three observations.
#
# **Copying is better than both models**, although it is a rule without any learning. To copy, a model would have to
# pass the 189 or 756 numbers of a frame through vectors of 64.
#
# **The longer training leaves less of the error than the demo**: it reads more from the visible frames. With more
# layers, data and steps a model will find the neighbour too. Then it has learned to copy.
#
# **With the others the demo's loss is lower than without.** A success of the JCT? Look at the interval (置信区间):

# %%
own = gains(losses["demo"], "none")["all"]
print(f"demo: without - with: {approx_estimate(own)}, {own.n} products")
assert own.low > 0
left = {n: np.nanmean(found["all"]) / np.nanmean(found["mean"]) for n, found in losses.items()}
for found in losses.values():
    assert np.nanmean(found["nearest"]) < 0.7 * np.nanmean(found["all"])
assert demo.config.model.width == run.config.model.width == 64
assert left["longer training"] < left["demo"] < 0.6
print({name: approx(share) for name, share in left.items()}, "of the error are left")

# %% [markdown]
# The interval lies above 0. Many papers would stop here. Now the control: the same comparison, but with
# the title, table, picture and sound of **another product**.

# %%
wrong = gains(losses["demo"], "none")["other products"]
content = gains(losses["demo"], "other products")["all"]
print(f"demo: without - with another product's: {approx_estimate(wrong)}")
print(f"demo: another product's - own:          {approx_estimate(content)}")
assert wrong.low > 0
assert abs(content.value) < 0.02
wanted = {k: e for k, e in gains(losses["demo"]).items() if k in ("all", *scale.MODALITIES)}
wanted["other products"] = wrong
scale.plot.context_gain({"video": wanted})

# %% [markdown]
# **The finding.** Another product's modalities "help" as much as the product's own. So the content has no
# value here; what helped is the *presence* of any input, as in training. Read the first two bars together:
# the first alone would have been a wrong claim. The coloured bars (one other modality alone) show the
# same: with a title or a table present, the input again resembles that of training.
#
# And the longer training? The same control:

# %%
long = gains(losses["longer training"], "other products")["all"]
print(f"longer training: another product's - own: {approx_estimate(long)}, {long.n} products")
assert abs(long.value) < 0.03
without_P, with_P = (losses["longer training"][key] for key in ("none", "all"))
ranks = scale.studies.best_median_worst(without_P - with_P)
shown = scale.studies.reconstruct(run.model, test, "video", run.config.mask, ranks)
scale.plot.mask_video([("median", shown[1])], run.config.features)

# %% [markdown]
# That is the median product of all test clips, by the difference *without - with*, predicted by the longer
# training. The predicted frames show a shape of about the right size and brightness, and it moves with the thing. But
# it is blurred (notebook 04 explains this effect of the squared error), and the copy is sharp. Now the two extremes,
# the largest and the most negative difference:

# %%
extremes = [("best", shown[0]), ("worst", shown[2])]
scale.plot.mask_video(extremes, run.config.features, guesses=("with", "without", "nearest"))

# %% [markdown]
# ## When does the clip need the picture?
#
# When there is no frame left to copy. We repeat the small training of notebook 04 with the roles reversed: MFP
# alone, nearly all frames hidden, and the product's picture as second modality. Small pictures, randomly
# initialised, 60 steps, three seconds:

# %%
alone = scale.studies.train_masked(demo.config, train, "video", ("image",), rate=0.99, steps=60)
pairs = scale.studies.select_modalities(demo_test, ("image", "video"))
situations = {"none": NOTHING, "other products": OTHER_PRODUCTS, "all": EVERYTHING}
found = product_losses(alone, pairs, "video", scale.config.MaskConfig(rate=0.99), situations)
e = gains(found, "other products")["all"]
print({name: approx(loss_P.mean()) for name, loss_P in found.items()}, "mean:",
      approx(np.nanmean(losses["demo"]["mean"])))  # fmt: skip
print(f"another product's picture - its own: {approx_estimate(e)}, {e.n} products")
assert e.value > 0.03

# %% [markdown]
# Now it is the product's *own* picture that helps: with another product's the loss is higher, and
# the interval lies above 0. This comparison can be trusted: in both cases the model gets a picture, as in
# training. (Do not read more into it. The loss with the own picture is about that of the training mean: the clips
# of the training products are few. But the prediction depends on the right picture, and that was the question.)
#
# **The other modalities help to predict frames only if no visible frame is close enough to copy.** With 15 % of the
# frames hidden at random, MFP mostly trains copying. Later work made such tasks useful by hiding whole stretches of
# the clip, or more of it.
#
# ## Exercise: the mask ratio
#
# Hide 15 %, 50 %, 75 % and 99 % of the frames. How do the losses of copying and of the demo's model, and
# the value of the other modalities (own against another product's), change? At which ratio does copying
# lose its lead?

# %% tags=["solution"]
table = {}
for rate in (0.15, 0.5, 0.75, 0.99):
    config = scale.config.MaskConfig(rate=rate)
    swept = product_losses(demo.model, demo_test, "video", config, situations)
    copied = scale.studies.baseline_losses(demo_test, "video", config)["nearest"]
    table[rate] = {"copy": approx(np.nanmean(copied)), "model": approx(np.nanmean(swept["all"]))}
    table[rate]["other - own"] = approx_estimate(gains(swept, "other products")["all"])
pd.DataFrame(table).T.rename_axis("rate")
# Copying gets worse as the visible frames are farther away, and loses its lead only if hardly any
# is left.

# %% [markdown]
# ## Exercise: predict the difference
#
# Let a head predict the *difference* to the nearest visible frame instead of the frame. What is the loss
# of a head that always predicts 0? Compute it for the test clips with `mask_modality` and
# `nearest_visible`. What does that mean for a model that is trained this way?

# %% tags=["solution"]
(masked,) = scale.studies.mask_modality(test, "video", run.config.mask)
nearest_NF = scale.studies.nearest_visible(masked, "video")
difference_NF = masked.targets["video"] - nearest_NF
answer = masked_vector_loss(torch.zeros_like(difference_NF), difference_NF)
torch.testing.assert_close(answer, masked_vector_loss(nearest_NF, masked.targets["video"]))
print(f"always 0: {answer:.2f}")
# It is exactly the loss of copying: such a model starts at the loss of copying and only has to
# learn the motion.

# %% [markdown]
# ## What to remember
#
# - MFP hides frames of a clip and predicts their vectors by a mean squared error.
# - Always compare with copying visible frames. It is better than both models here; the longer training comes closer
#   than the demo.
# - "Better with the others than without" can be an effect of *presence*. Only a comparison with another
#   product's modalities shows whether the content helps. Here it does not.
# - If no frame is left to copy, the model learns to use the picture.
#
# ## Five questions
#
# 1. Why is copying a good prediction for a frame and a bad one for a region of a picture?
# 2. The loss is lower with the other modalities, and the interval excludes 0. Why is that not enough?
# 3. Suppose that the model reached the loss of copying. Would its features be better for retrieval then?
#    Give a reason for each answer.
# 4. You may choose which frames to hide, not only how many. Which choice makes copying hardest?
# 5. Under the policy `drop` no incomplete product is trained on. Which of the three situations is then
#    unfair?

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. Neighbouring frames show the same thing at nearly the same place. Neighbouring regions of a picture show
#    different parts: an edge, the background, another colour.
# 2. The loss may be lower because *something* is present, as in training. Here another product's modalities lower it
#    by the same amount. The content helps only if the product's own are better than another product's.
# 3. Yes: to copy, a model must represent what a frame shows. No: what distinguishes products is not needed; passing
#    numbers on is enough, and it would take capacity from the features. Only a measurement decides (notebook 14).
# 4. A contiguous stretch, e.g. the second half of the clip: most hidden frames then have no visible frame near them.
#    With half of the frames hidden at random, nearly every one has a neighbour.
# 5. *Without*: no training product lacked a modality, so such an input never occurred. *With* and *another
#    product's* stay fair.
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures mask_video copy_curve context_gain
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms:
# [glossary](../docs/glossary.md).
