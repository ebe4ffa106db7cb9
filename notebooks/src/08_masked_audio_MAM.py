# %% [markdown]
# # 08 · Masked audio: MAM
#
# **The question.** Cut pieces out of the sound that a product makes. What does a model need to fill the
# gaps: the rest of the sound, or information about the thing itself?
#
# **Masked audio modelling** (掩码音频建模), MAM, is the last of the five pretext tasks, and the third regression. The
# loss, the two models, and the three situations (with, without, another product's) are those of notebook 04; copying
# as a baseline is the topic of notebook 07. New here:
# - a sound as a picture of pitches over time, the **log-mel spectrogram** (对数梅尔谱), one step at a time;
# - masked stretches of sound that a model completes, against copying, with and without the other **modalities**
#   (模态);
# - the reason why a table can predict a sound, and a training in which it has to.
#
# Paper: section 4.2. Code: `scale/data/features.py`, `scale/losses/masked.py`,
# `scale/studies/context.py`.

# %%
import numpy as np
import pandas as pd

import scale
from scale.notebook import approx, approx_estimate, demo_data, demo_run, play, setup
from scale.studies import EVERYTHING, NOTHING, OTHER_PRODUCTS, gains, product_losses

setup(seed=0)

# %% [markdown]
# ## A sound
#
# A microphone measures air pressure many times a second; here 16,000 times. A **tone** (音调) of 500 Hz
# goes up and down 500 times a second. We make one, and one of 2,000 Hz after it. Listen. (The capital letter at the
# end of a name is its axis: `tones_S` has S samples.)

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
demo, run = demo_run(), scale.notebook.masked_run()
config = run.config.features  # of sounds: the same in both models
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
train, demo_test, test = demo_data("train"), demo_data("test"), scale.notebook.masked_data("test")
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
# The loss is the mean squared error of notebook 04, over the numbers of each hidden frame and over the hidden frames.
# The numbers are *standardised* first: for each band, minus its mean over the training sounds, divided by its spread.
# So a band that is always loud does not count more, and "predict the mean" is the vector 0, with an error of about 1.

# %%
column = test.columns["audio"]
sound_LF = column.values[column.start_N[row] : column.start_N[row] + column.length_N[row]]
standard_LF = (sound_LF.astype(np.float32) - column.mean_F) / column.spread_F
stored_LF = test.collate([row]).tokens["audio"].values[0].numpy()
np.testing.assert_allclose(standard_LF, stored_LF, atol=1e-4)
all_LF = train.collate(range(len(train))).tokens["audio"]
known_NF = all_LF.values[~all_LF.padding_RL]
print(f"training sounds: mean {abs(known_NF.mean()):.2f}, spread {known_NF.std():.2f}")

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
# ## The models against copying
#
# The same hidden frames, predicted by simple rules and by both models in the three situations of notebook 04. *Without*
# means four absent modalities at once, which never occurred in training, so the fair control is *another product's*.

# %%
names = {"mean": "mean of the training set", "visible": "mean of the visible frames",
         "nearest": "nearest visible frame", "none": "model, without the others",
         "other products": "model, with another product's",
         "all": "model, with the others"}  # fmt: skip
losses, table = {}, {}
for name, one, data in (("demo", demo, demo_test), ("longer training", run, test)):
    found = product_losses(one.model, data, "audio", one.config.mask)
    losses[name] = found | scale.studies.baseline_losses(data, "audio", one.config.mask)
    table[name] = {names[key]: approx(np.nanmean(losses[name][key])) for key in names}
pd.DataFrame(table)

# %% [markdown]
# The demo has less than half of the error of the mean: it has learned that sounds continue. Copying the nearest visible
# frame is still slightly better. The longer training beats copying by far. And the other modalities?

# %%
for name, found in losses.items():
    e = {key: gains(found, key)["all"] for key in ("none", "other products")}
    print(f"{name}: without - with {approx_estimate(e['none'])}", end="; ")
    print(
        f"another product's - with {approx_estimate(e['other products'])}; {e['none'].n} products"
    )
    assert max(abs(one.value) for one in e.values()) < 0.03  # of a loss of 0.2 to 0.45
long = {key: np.nanmean(loss_P) for key, loss_P in losses["longer training"].items()}
assert long["all"] < 0.8 * long["nearest"]
assert np.nanmean(losses["demo"]["all"]) < 0.6 * np.nanmean(losses["demo"]["mean"])
wanted = {k: e for k, e in gains(losses["demo"]).items() if k in ("all", *scale.MODALITIES)}
wanted["other products"] = gains(losses["demo"])["other products"]
scale.plot.context_gain({"audio": wanted})

# %% [markdown]
# **The finding.** The other modalities reduce the loss by a few hundredths at most, and another product's
# do so as well as the product's own: the content is not used. The coloured bars (of the demo) show one other modality
# alone. (If one of them excludes 0, compare it with the hatched bar before you believe it.)
#
# Now look and see what the longer training completes. First the median product by the difference *without - with*,
# large. The marks below a picture show the hidden frames:

# %%
without_P, with_P = (losses["longer training"][key] for key in ("none", "all"))
ranks = scale.studies.best_median_worst(without_P - with_P)
shown = scale.studies.reconstruct(run.model, test, "audio", run.config.mask, ranks)
scale.plot.mask_audio([("median", shown[1])], config)

# %% [markdown]
# And the extremes, the largest and the most negative difference:

# %%
scale.plot.mask_audio([("best", shown[0]), ("worst", shown[2])], config)

# %% [markdown]
# The model continues the lines through the gaps, at the right pitch, and lets them fade. Where a gap is long, they
# become a blur, since the best prediction under a squared error is the mean (notebook 04). It cannot place a knock
# that falls entirely into a gap; no model could, because no title contains the time of the knock. The copy keeps lines
# sharp and repeats a knock or leaves it out.
#
# So what information could the others contain at all? Not when, but **what**: a metal pan rings for a long
# time, a cushion does not. But the visible half of the sound contains that too. The others are needed only
# if no sound is left.
#
# ## When does the sound need another modality?
#
# The small training of notebook 04 once more: MAM alone, nearly all time frames hidden, and the product's **table** as
# second modality, because it often names the material. Randomly initialised, 50 steps, about eight seconds:

# %%
alone = scale.studies.train_masked(demo.config, train, "audio", ("table",), rate=0.99, steps=50)
pairs = scale.studies.select_modalities(demo_test, ("table", "audio"))
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
ranks = scale.studies.best_median_worst(found["other products"] - found["all"])
shown = scale.studies.reconstruct(alone, pairs, "audio", scale.config.MaskConfig(rate=0.99), ranks,
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
# Hide 15 %, 50 %, 75 % and 99 % of the time frames of the test sounds. Where is the demo's model better than copying,
# and where the longer training? How much do the others help the latter, own against another product's?

# %% tags=["solution"]
table = {}
for rate_hidden in (0.15, 0.5, 0.75, 0.99):
    mask = scale.config.MaskConfig(rate=rate_hidden)
    short = product_losses(demo.model, demo_test, "audio", mask, {"all": EVERYTHING})
    swept = product_losses(run.model, test, "audio", mask, situations)
    copied = scale.studies.baseline_losses(test, "audio", mask)["nearest"]
    three = {"copy": copied, "demo": short["all"], "longer training": swept["all"]}
    table[rate_hidden] = {name: approx(np.nanmean(loss_P)) for name, loss_P in three.items()}
    table[rate_hidden]["other - own"] = approx_estimate(gains(swept, "other products")["all"])
pd.DataFrame(table).T.rename_axis("rate")
# With few frames hidden copying is far better than the demo; with three of four hidden the two are
# equal. The longer training is ahead of copying until hardly any frame is left; it never saw that.

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
# - The demo's model is nearly as good as copying the nearest visible frame; the longer training is much better. Neither
#   uses the other modalities.
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

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. A moment can be hidden and asked for: what happened then? A hidden band would be predicted from the bands beside it
#    at the same moments, which are similar: the model would learn how pitches go together, and little about time.
# 2. Otherwise the bands with the largest spread, mostly the loud low ones, would dominate the squared error, and
#    quiet bands would hardly be learned.
# 3. The mean over all times at which it may fall: a weak, flat brightness over the whole gap. As a sound: a faint
#    noise, and no knock at all.
# 4. It can contain the material ("steel"), which determines how long the thing rings. It cannot contain the moment of
#    the knock, or the noise of the room.
# 5. The difference is measured only on products with a sound. If sellers who record a sound also film and fill in tables
#    more often, these products have more other modalities, and the others look more useful than they would be for the
#    rest of the shop.
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures mask_audio copy_curve context_gain
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms:
# [glossary](../docs/glossary.md).
