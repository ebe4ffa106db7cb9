# %% [markdown]
# # 08 · Masked audio: MAM
#
# **The question.** Cut pieces out of the sound that a product makes. What does a model need to fill the
# gaps: the rest of the sound, or information about the thing itself?
#
# **Masked audio modelling** (掩码音频建模), MAM, is the last of the five pretext tasks. You will build:
# - a sound as a picture of pitches over time, the **log-mel spectrogram** (对数梅尔谱), one step at a time;
# - a mask over its time frames, and the loss, by hand and by the package;
# - a fair comparison of the model with copying, with and without the other **modalities** (模态);
# - a training in which the model has to use another modality to predict the sound.
#
# Paper: section 4.2. Code: `scale/data/features.py`, `scale/losses/masked.py`,
# `scale/studies/context.py`. About 25 seconds.

# %%
import numpy as np
import pandas as pd
import torch

import scale
from scale.notebook import approx, approx_estimate, demo_data, demo_run, play, setup
from scale.studies import EVERYTHING, NOTHING, OTHER_PRODUCTS, gains, product_losses

setup(seed=0)

# %% [markdown]
# ## A sound
#
# A microphone measures air pressure many times a second; here 16,000 times. A **tone** (音调) of 500 Hz
# goes up and down 500 times a second. We make one, and one of 2,000 Hz after it. Listen:

# %%
from IPython.display import Audio

rate = 16_000
time_S = np.arange(rate) / rate  # one second
low_S, high_S = (0.5 * np.sin(2 * np.pi * hertz * time_S) for hertz in (500, 2000))
tones_S = np.concatenate([low_S, high_S]).astype(np.float32)
Audio(tones_S, rate=rate, normalize=False)

# %% [markdown]
# Two seconds are 32,000 numbers, and hardly any of them is meaningful alone. We hear **which pitches sound
# when**. So we cut the sound into short **windows** (窗), here 32 in two seconds, and measure how much of
# every frequency each window contains. This is the **Fourier transform** (傅里叶变换). For one window of each
# tone, its largest value is at the frequency of the tone:

# %%
run = demo_run()
config = run.config.features
hop = scale.data.hop_length(config)  # samples from one window to the next
window_S = np.hanning(2 * hop + 1)[:-1]  # soft ends, as long as two hops
for name, start in (("first second", 5 * hop), ("last second", 25 * hop)):
    power_K = np.abs(np.fft.rfft(tones_S[start : start + 2 * hop] * window_S)) ** 2
    print(f"{name}: loudest at {power_K.argmax() * rate / (2 * hop):.0f} Hz")

# %% [markdown]
# ## Mel and log
#
# Two more steps follow, both modelled on human hearing.
# - **Mel** (梅尔): to our ears the step from 200 to 400 Hz is roughly as large as that from 2,000 to 4,000
#   Hz. So frequencies are grouped into 40 *bands*, narrow for low pitches and wide for high ones.
# - **Log** (对数): ten times the power sounds "a step" louder, not ten times. So we take $10 \log_{10}$ of
#   the power, in decibels (分贝, dB), and rescale it: silence (-100 dB) becomes -1, and 0 dB becomes 1.
#
# We compute one time frame by hand: window, Fourier transform, square, bands, log. The package's `log_mel`
# does it for all.

# %%
from transformers.audio_utils import mel_filter_bank

place, size = 5, 1 << (2 * hop - 1).bit_length()  # a power of two, zeros behind the window
cut_S = tones_S[(place - 1) * hop : (place + 1) * hop]  # centred on the hop
spectrum_K = np.fft.rfft(cut_S * window_S / window_S.sum(), n=size)
bands_KF = mel_filter_bank(size // 2 + 1, 40, 20.0, rate / 2, rate, mel_scale="slaney")
power_F = (np.abs(spectrum_K) ** 2) @ bands_KF
by_hand_F = 1 + 2 * np.maximum(10 * np.log10(np.maximum(power_F, 1e-10)), -100) / 100
mel_LF = scale.data.log_mel(tones_S, config)
np.testing.assert_allclose(by_hand_F, mel_LF[place], atol=1e-4)
print("log-mel", mel_LF.shape, "loudest band:", mel_LF[5].argmax(), "and", mel_LF[25].argmax())

# %% [markdown]
# So two seconds of sound are now a sequence of 32 vectors of 40 numbers: **one vector per time frame**,
# which is one token. The order of the axes matters: the released code uses the 80 *mel bands* as tokens and
# the time steps as their features (axes swapped), so its "time frames" are pitches and no moment can be
# hidden; it runs without an error (notebook 15).
#
# ## A product's sound
#
# In the sample shop, a sound is a knock on the product. Listen to one:

# %%
train, test = demo_data("train"), demo_data("test")
row = int(test.present_NM.all(axis=1).argmax())  # the first product that lacks nothing
play(test.products[row], "audio")

# %% [markdown]
# And the same as log-mel: time from left to right, pitch upwards, bright is loud. A knock is a bright
# column (all pitches at once); then a few lines remain and fade: the pitches at which the thing rings. A
# bell has long lines, a cushion has none. Below, half of the time frames are hidden, as in the demo (the
# paper: 15 %). The model gets a learned *mask token* there.

# %%
shown = scale.studies.reconstruct(run.model, test, "audio", run.config.mask, [row])
scale.plot.mask_audio([("", shown[0])], config, guesses=())

# %% [markdown]
# ## The loss, on two frames
#
# A time frame is a vector of real numbers, so the task is a **regression** (回归), as for regions and
# frames:
#
# $$L_{MAM} = \frac{1}{N} \sum_{n} \frac{1}{F} \sum_{f} (p_{nf} - t_{nf})^2$$
#
# The numbers are *standardised* first: for each band, minus its mean over the training sounds, divided by
# its spread. So a band that is always loud does not count more, and "predict the mean" is the vector 0. Two
# frames, two bands. Mentally: errors 1, 1 give 1; errors 0, 2 give 2; the mean is 1.5.

# %%
predicted_NF = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
truth_NF = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
by_hand = torch.stack(
    [((p - t) ** 2).mean() for p, t in zip(predicted_NF, truth_NF, strict=True)]
).mean()
torch.testing.assert_close(scale.losses.masked_vector_loss(predicted_NF, truth_NF), by_hand)
print(f"loss {by_hand:.2f}")

# %% [markdown]
# ## Baselines without a model
#
# A ringing line continues, so the frame next to a hidden one is informative. A knock is sudden, so its
# neighbour is not. The picture shows the error of copying the frame that is *d* frames away; the dashed
# line is the simplest prediction, the mean of all training frames.

# %%
shown_modalities = {"video": 7, "audio": 16}
losses = {m: scale.studies.copy_losses(test, m, most) for m, most in shown_modalities.items()}
means = {m: scale.studies.mean_baseline_loss(test, m) for m in shown_modalities}
for m in shown_modalities:
    print(f"{m}: the next frame leaves {losses[m][0] / means[m]:.2f} of the mean's error")
assert losses["audio"][0] / means["audio"] > 2 * losses["video"][0] / means["video"]
scale.plot.copy_curve(losses, means)

# %% [markdown]
# A sound is harder to copy than a clip (notebook 07). That is good news for MAM: there is something left
# to learn.
#
# ## With and without the other modalities
#
# Now the demo's model predicts the same hidden frames in three situations: *with* the product's own title,
# table, picture and clip; *without* them (marked absent in `present_BM`); with those of *another product*.
# The demo's policy for absent modalities is **zero imputation** (零插补), so *without* them the JCT gets the
# encoders' output for zeros, as for every incomplete product in training. But four absent modalities at
# once never occurred in training, so the fair control is another product: the usual number of tokens, from
# the wrong product (notebook 07 shows how misleading the first comparison alone can be).

# %%
loss = product_losses(run.model, test, "audio", run.config.mask)
loss |= scale.studies.baseline_losses(test, "audio", run.config.mask)
names = {
    "mean": "mean of the training set",
    "visible": "mean of the visible frames",
    "nearest": "nearest visible frame",
    "none": "model, without the others",
    "other products": "model, with another product's",
    "all": "model, with the others",
}
pd.DataFrame({"loss": {title: approx(np.nanmean(loss[name])) for name, title in names.items()}})

# %% [markdown]
# The model has less than half of the error of the mean: it has learned that sounds continue. Copying the
# nearest visible frame is still slightly better. And the other modalities?

# %%
against = {
    "without": gains(loss, "none")["all"],
    "another product's": gains(loss, "other products")["all"],
}
for name, e in against.items():
    print(f"{name} - with: {approx_estimate(e)}, {e.n} products")
assert max(abs(e.value) for e in against.values()) < 0.03  # of a loss of about 0.45
assert np.nanmean(loss["all"]) < 0.6 * np.nanmean(loss["mean"])
wanted = {
    name: e
    for name, e in gains(loss).items()
    if name in ("all", "other products", *scale.MODALITIES)
}
scale.plot.context_gain({"audio": wanted})

# %% [markdown]
# **The finding.** The other modalities reduce the loss by a few hundredths at most, and another product's
# do so as well as the product's own: the content is not used. The coloured bars show one other modality
# alone. (If one of them excludes 0, compare it with the hatched bar before you believe it.)
#
# Single products, by rule: the largest, the median and the most negative difference *without - with*. The
# marks below a picture show the hidden frames.

# %%
rows = scale.studies.best_median_worst(loss["none"] - loss["all"])
shown = scale.studies.reconstruct(run.model, test, "audio", run.config.mask, rows)
scale.plot.mask_audio(list(zip(("best", "median", "worst"), shown, strict=True)), config)

# %% [markdown]
# Look at a gap of several frames. The model continues the lines but lets them fade into a blur, since the
# best prediction under a squared error is the mean (notebook 04). It cannot place a knock that falls
# entirely into a gap; no model could, because no title contains the time of the knock. The copy keeps lines
# sharp and repeats a knock or leaves it out.
#
# So what information could the others contain at all? Not when, but **what**: a metal pan rings for a long
# time, a cushion does not. But the visible half of the sound contains that too. The others are needed only
# if no sound is left.
#
# ## When does the sound need another modality?
#
# We train a small model on MAM alone, with nearly all time frames hidden and the product's **table** as
# second modality: it often names the material. Randomly initialised, 50 steps, about eight seconds:

# %%
alone = scale.studies.train_masked(run.config, train, "audio", ("table",), rate=0.99, steps=50)
pairs = scale.studies.select_modalities(test, ("table", "audio"))
situations = {"none": NOTHING, "other products": OTHER_PRODUCTS, "all": EVERYTHING}
found = product_losses(alone, pairs, "audio", scale.config.MaskConfig(rate=0.99), situations)
e = gains(found, "other products")["all"]
print({name: approx(loss_P.mean()) for name, loss_P in found.items()})
print(f"another product's table - its own: {approx_estimate(e)}, {e.n} products")
assert e.value > 0.03
assert found["all"].mean() < 0.95 * means["audio"]

# %% [markdown]
# Now the product's *own* table helps: with another product's the loss is higher, the interval (置信区间) lies
# above 0, and the prediction is better than the mean of the training set. The model gets at most one frame
# of these sounds. It predicts the sound from the material in the table.

# %%
rows = scale.studies.best_median_worst(found["other products"] - found["all"])
shown = scale.studies.reconstruct(alone, pairs, "audio", scale.config.MaskConfig(rate=0.99), rows,
                    {"with": EVERYTHING, "other products": OTHER_PRODUCTS})  # fmt: skip
ranked = list(zip(("best", "median", "worst"), shown, strict=True))
scale.plot.mask_audio(ranked, config, guesses=("with", "other products"))

# %% [markdown]
# Look at the first product: with its own table the predicted sound is dull and short, like the true one;
# with another product's it rings. For the median product the two predictions hardly differ, and the last
# row shows a misleading table. No prediction has clear lines: no table contains the pitches at which a
# thing rings.
#
# ## Exercise: the mask ratio
#
# Hide 15 %, 50 %, 75 % and 99 % of the time frames of the test sounds. Where does the demo's model become
# better than copying? How much do the others help, own against another product's?

# %% tags=["solution"]
table = {}
for rate_hidden in (0.15, 0.5, 0.75, 0.99):
    mask = scale.config.MaskConfig(rate=rate_hidden)
    swept = product_losses(run.model, test, "audio", mask, situations)
    copied = scale.studies.baseline_losses(test, "audio", mask)["nearest"]
    table[rate_hidden] = {
        "copy": approx(np.nanmean(copied)),
        "model": approx(np.nanmean(swept["all"])),
    }
    table[rate_hidden]["other - own"] = approx_estimate(gains(swept, "other products")["all"])
pd.DataFrame(table).T.rename_axis("rate")
# With few frames hidden copying is far better; with three of four hidden the two are equal.

# %% [markdown]
# ## Exercise: read a spectrogram
#
# Make a sound whose pitch rises from 200 Hz to 4,000 Hz in two seconds (`np.sin` of a phase whose slope
# is the frequency). Before you run it: is the line in the log-mel straight? Find the loudest band of the
# first and of the last quarter.

# %% tags=["solution"]
hertz_S = np.linspace(200, 4000, 2 * rate)
sweep_S = 0.5 * np.sin(2 * np.pi * np.cumsum(hertz_S) / rate)
loudest_L = scale.data.log_mel(sweep_S, config).argmax(axis=1)
assert (np.diff(loudest_L[1:-1]) >= 0).all()
first, last = loudest_L[8] - loudest_L[1], loudest_L[30] - loudest_L[23]
print(f"the line climbs {first} bands in the first quarter, {last} in the last")
assert first > last
# Not straight: the bands are wide for high pitches, so equal steps in hertz become smaller steps
# in mel.

# %% [markdown]
# ## What to remember
#
# - Log-mel: windows, power of each frequency, 40 bands spaced like hearing, logarithm. One vector per time
#   frame.
# - MAM hides time frames and predicts them by a mean squared error; tokens are *times*, not pitches.
# - The demo's model is nearly as good as copying the nearest visible frame, and does not use the other
#   modalities.
# - Other modalities contain *what* rings, not *when* it is struck. They help when the sound itself is
#   hidden.
#
# ## Five questions
#
# 1. Why is a time frame, and not a mel band, the token that is hidden? What would hiding a band teach?
# 2. Why is the loss computed on standardised features?
# 3. A knock falls entirely into a gap. What is the best prediction under a squared error, and what would it
#    sound like?
# 4. Name one property of a sound that a title can contain, and one that it cannot.
# 5. The shop's products with a sound differ from those without. How could that bias the difference between
#    *without* and *with*?
#
# ## Pictures for your slides
#
# ```
# scale figures mask_audio copy_curve context_gain
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms:
# [glossary](../docs/glossary.md).
