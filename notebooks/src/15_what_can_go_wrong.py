# %% [markdown]
# # 15 · What can go wrong
#
# **The question.** The authors published their code. It runs, and its loss falls. We read it line by line and
# found thirteen places where it differs from the paper. None of them raises an error. How can a program
# be wrong when everything looks right? And how would you find out?
#
# For each fault you will see four things:
# - the essence of the wrong code, in about ten lines;
# - that it runs, and that the loss falls;
# - a picture, or a number, of the damage;
# - a **test of an invariant** (不变量测试) of about three lines that fails on the wrong version and passes on ours. An
#   invariant is a statement that must hold for all inputs.
#
# This is not meant as criticism: all of us have made mistakes of this kind. Paper: section 4. Code:
# `scale/studies/released_code.py`.
#
# **Names.** Capital letters at the end of a name are the axes of an array: `sound_S` is a row of S samples,
# `mask_T` has one value per time frame, `target_NF` has N rows of F numbers, `z_BMD` has B products, M modalities
# and D numbers for each.

# %%
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

import scale
from scale.data import load_audio, log_mel
from scale.losses import pair_losses, scale_loss
from scale.notebook import approx, demo_run, samples, setup

setup(seed=0)

# %% [markdown]
# ## Nine programs, one of them right
#
# We take 128 products of the sample shop and a small SCALE (one layer in each part). We train it nine times,
# twelve steps each: once as the paper describes it, and eight times with one fault.

# %%
run = demo_run()
data = scale.studies.first_training_products(run, samples())
config = scale.studies.small_config(run.config)
trained = {
    name: scale.studies.train_briefly(config, data, fault)
    for name, fault in scale.studies.SHORT_RUNS.items()
}
total = {name: losses["total"] for name, (_, losses) in trained.items()}
for name, values in total.items():
    first, last = np.mean(values[:3]), np.mean(values[-3:])
    print(f"{name:24} loss {approx(first, 1)} -> {approx(last, 1)} ({approx(last / first)})")
    assert last < first

# %% [markdown]
# All nine losses fall; the last number is the share that remains. Now look at the curves. Grey: the right program.
# Red: a wrong one. Which of the red ones would make you stop and look for a mistake?

# %%
scale.plot.fault_losses(total)

# %% [markdown]
# **A falling loss shows that the program learns something, not that it learns the intended thing.** How many of
# the wrong curves could be told from the right one? Divide each by its first value, and compare in percentage points.

# %%
relative = {name: np.array(values) / values[0] for name, values in total.items()}
right = relative.pop("as described")
away = pd.Series({name: np.abs(values - right).max() for name, values in relative.items()})
lower = pd.Series({name: values[-1] < right[-1] - 0.05 for name, values in relative.items()})
assert set(away.index[away < 0.025]) >= {"heads on encoder", "mask on wrong products"}
assert lower["the whole released loss"]
print("never more than 2.5 points from the right curve:", ", ".join(away.index[away < 0.025]))
print("ends more than 5 points below it:", ", ".join(lower.index[lower]))

# %% [markdown]
# The first line lists faults that the curve hides; those of the second even look *better* than the right program.
#
# So we need other tools. Ours is very small: a check is a function with an `assert`. `judge` runs it on the
# released version and on ours, and requires that it fails on the first and passes on the second. (A test that has
# never failed has not been tested.)


# %%
def verdict(check, *arguments):
    try:
        check(*arguments)
    except AssertionError:
        return "FAILS"
    return "passes"


def judge(check, released, ours):
    found = verdict(check, *released), verdict(check, *ours)
    print(f"{check.__name__}: released code {found[0]}, ours {found[1]}")
    assert found == ("FAILS", "passes")


# %% [markdown]
# # Part one: the model
#
# ## 1 · The heads read the encoders
#
# The **joint co-transformer** (联合协同 Transformer, JCT) mixes the tokens of all five modalities. A **head** (预测头)
# then predicts each hidden token. Its purpose: a hidden word can be inferred from the *picture*.
#
# In the released code the JCT runs, but the heads read the encoders' output. One word is wrong:


# %%
class HeadsOnEncoder(scale.model.ScaleModel):
    def forward(self, batch, hidden=None):
        output = super().forward(batch, hidden)
        read = output.encoded  # should be output.fused
        wrong = {m: self._predict(m, read[m], hidden[m]) for m in output.predictions}
        return replace(output, predictions=wrong)


ours = scale.training.seeded_model(config)
heads = HeadsOnEncoder(config.model, config.missing)
_ = heads.load_state_dict(ours.state_dict())

# %% [markdown]
# It trains: it is the first red curve above. Two things are lost. The prediction of a title can no longer use the
# picture. And no loss depends on the JCT, so the JCT never learns. (In the release it learns a little, because
# the five diagonal weights are computed from its output.)
#
# For the tests we mask 16 products once, and use this batch for all models.


# %%
def hide(batch, tasks=scale.TASKS):
    return scale.losses.mask_batch(
        batch, config.mask, scale.losses.WordPieces.of(data.tokenizer), (0,), tasks
    )


def loss_of(model, batch):
    masked = hide(batch)
    return scale_loss(model(masked.batch, masked.hidden), masked, config.loss).total


batch16 = data.collate(range(16))

# %% [markdown]
# **Invariant: every parameter gets a gradient** (梯度). A parameter without one keeps its initial random value.
# This is the most useful test of this notebook. Write it first, in every project.


# %%
def check_every_parameter_learns(model):
    model.zero_grad()
    loss_of(model, batch16).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


judge(check_every_parameter_learns, [heads], [ours])

# %% [markdown]
# **Invariant: every input can influence the prediction.** If we change the pictures, the predicted words of the
# titles must change.


# %%
def title_words(model, shift):
    masked = hide(batch16)
    image = masked.batch.tokens["image"]
    tokens = masked.batch.tokens | {"image": replace(image, values=image.values + shift)}
    return model(replace(masked.batch, tokens=tokens), masked.hidden).predictions["text"]


def check_pictures_reach_titles(model):
    assert not torch.equal(title_words(model, 0.0), title_words(model, 1.0))


judge(check_pictures_reach_titles, [heads], [ours])

# %% [markdown]
# ## 2 · Layers that are never called
#
# The release has five encoders of six layers. But video runs through the *image* layers, and table through the
# *text* layers. It is a classic copy-and-paste mistake: a line was copied, and one word in it was not changed.
# Here it is in our model.

# %%
copied = scale.training.seeded_model(config)
image, video = copied.encoders["image"], copied.encoders["video"]
video.stack.forward = image.stack.forward  # should be video's own
text, table = copied.encoders["text"].bert, copied.encoders["table"].bert
table.encoder.forward = text.encoder.forward  # should be table's own
judge(check_every_parameter_learns, [copied], [ours])

# %% [markdown]
# The test for fault 1 finds fault 2 as well. The unused layers are built, saved, loaded and counted in the
# size of the model. In the authors' model, of 250 million parameters, 35 % never receive a gradient.
#
# The picture shows it for our small model: the hatched parts never learn.

# %%
versions = ("as described", "heads on encoder", "layers never called")
counts = {name: scale.studies.gradient_coverage(trained[name][0]) for name in versions}
assert all(reached == there for reached, there in counts["as described"].values())
assert counts["heads on encoder"]["jct"][0] == 0
scale.plot.fault_gradients(counts)

# %% [markdown]
# The loss falls because the rest of the model learns; the hatched part does nothing.
#
# ## 3 · The attention mask is applied to the wrong products
#
# Titles have different lengths, so short ones are filled up with **padding** (填充). An **attention mask** (注意力掩码)
# marks the positions that are padding, so that no token attends to them. Attention has several **heads** (注意力头).
# A common implementation puts heads and products into one dimension: product 1 with head 1, product 1 with head
# 2, product 2 with head 1, and so on. So each product's mask must be repeated *in place*.

# %%
B, H = 3, 2
pd.DataFrame(
    {
        "row": range(B * H),
        "product": [b + 1 for b in range(B) for h in range(H)],
        "head": [h + 1 for b in range(B) for h in range(H)],
        "mask by repeat (released)": torch.arange(1, B + 1).repeat(H),
        "mask by repeat_interleave (right)": torch.arange(1, B + 1).repeat_interleave(H),
    }
)

# %% [markdown]
# `repeat` gives 1, 2, 3, 1, 2, 3. Both have the right *shape*, so there is no error. Head 2 of product 1 uses the
# mask of product 2.
#
# Now the damage, on the trained model. We take six complete products, shorten the title of one of them, and
# measure how much the embeddings of the others change.

# %%
from scale.notebook import device

six = data.collate(np.flatnonzero(data.present_NM.all(axis=1))[:6]).to(device())
scrambled = scale.studies.with_misaligned_mask(run)
right_BB, wrong_BB = (scale.studies.title_influence(model, six) for model in (run.model, scrambled))
elsewhere_BB = ~np.eye(6, dtype=bool)
assert right_BB[elsewhere_BB].max() < 1e-4 < 3e-3 < wrong_BB[elsewhere_BB].max()
scale.plot.fault_mask(scale.studies.mask_owners(6, run.config.model.heads), right_BB, wrong_BB)

# %% [markdown]
# Left: the frame marks a head with another product's mask. Middle: shortening title 2 changes product 2 only, as
# it should. Right: it changes others, exactly those with a 2 in their row on the left. The embedding of a product
# now depends on *which other products are in the batch*.
#
# **Invariant: changing product i never changes product j** (except in the loss).


# %%
def check_products_never_meet(model):
    with torch.no_grad():
        before, after = model(six), model(scale.studies.truncate_title(six, 1))
    others = [0, 2, 3, 4, 5]
    torch.testing.assert_close(
        after.fused_pooled_BMD[others], before.fused_pooled_BMD[others], atol=1e-4, rtol=0
    )


judge(check_products_never_meet, [scrambled], [run.model])

# %% [markdown]
# # Part two: the loss
#
# ## 4 · A weight on a prediction
#
# SCALE multiplies by weights. Image, video and audio are predicted by **regression** (回归): the loss is the
# squared distance of prediction p and target t. The release multiplies the *prediction*: $(w\,p - t)^2$. Do it
# by hand: target 1, weight 0.25.

# %%
w, t = 0.25, torch.tensor(1.0)
p = torch.tensor(0.0, requires_grad=True)
for _ in range(60):
    loss = (w * p - t) ** 2  # should be w * (p - t) ** 2
    (slope,) = torch.autograd.grad(loss, p)
    p = (p - 2.0 * slope).detach().requires_grad_()
print(f"loss {loss:.3f}, prediction {p:.3f}, target {t:.3f}")
torch.testing.assert_close(p.detach(), t / w)

# %% [markdown]
# The loss is 0 and the answer is wrong by a factor of four. The best prediction is $t / w$. Now on real sounds:
# two small heads learn to predict hidden time frames of sounds from the trained JCT, with the weights S′ of these
# products. One has the weight on the loss, the other on the prediction.

# %%
fitted = scale.studies.fit_audio_heads(run, data)
for where, losses in fitted.loss.items():
    size = approx(fitted.size[where], 1)
    print(
        f"weight on the {where:10}: loss {approx(losses[0])} -> {approx(losses[-1])}, size {size}"
    )
    assert losses[-1] < losses[0] / 2
assert fitted.size["loss"] < 1.1 < 1.8 < fitted.size["prediction"]
scale.plot.fault_regression(fitted)

# %% [markdown]
# "Size" is the standard deviation of the predictions divided by that of the targets. Both losses fall by more
# than half. But the right tile is about three times too strong, because these weights are about a third. For
# products with a smaller weight it is worse: the error depends on the product.
#
# **Invariant: the loss of the target itself is zero.** Use the target as the prediction; the loss must be 0.


# %%
def check_the_truth_costs_nothing(where):
    target_NF, weight_N = torch.ones(4, 3), torch.full((4,), 0.25)
    assert scale.losses.masked_vector_loss(target_NF, target_NF, weight_N, where) == 0


judge(check_the_truth_costs_nothing, ["prediction"], ["loss"])

# %% [markdown]
# ## 5 · One normalisation too many
#
# The shares in S′ = S · softmax(S) come from the softmax. The release then divides each row by its norm, which
# cancels the softmax's denominator (notebook [09](09_score_matrix.ipynb) shows the details). Shares must sum to
# one. So test a case with a known answer: five modalities that agree perfectly.


# %%
def check_equal_modalities_share_one(row_normalise):
    scores = scale.model.inter_modality_scores(torch.ones(1, 5, 8), row_normalise=row_normalise)
    torch.testing.assert_close(scores.weighted_BMM.sum(dim=2), torch.ones(1, 5))


judge(check_equal_modalities_share_one, [True], [False])

# %% [markdown]
# ## 6 · Other negatives, another temperature
#
# InfoNCE pulls a product's title and picture together and pushes other products' pictures away: those are its
# **negatives** (负样本). Two things in the release are not in the paper:
# - other products' *titles* are negatives of a title too, 2B − 2 in all instead of B − 1;
# - the weight G multiplies the logits, so the **temperature** (温度) 0.07 becomes 0.07 / G.
#
# Neither is unreasonable. But you would report "temperature 0.07" and train with a different one. (Appendix G of the
# paper reports 0.1, a third value; notebook [18](18_the_talk.ipynb).)

# %%
with torch.no_grad():
    output = run.model.embed(data.collate(range(64)).to(device()))
temperature_X = scale.studies.effective_temperatures(output.pooled_BMD, output.present_BM)
share_P = scale.studies.same_modality_share(output.pooled_BMD, output.present_BM)
print("temperature: 0.07 configured, in effect", approx(np.median(temperature_X)), "(median)")
assert temperature_X.min() > 0.0989
assert share_P.min() > 0.5
scale.plot.fault_temperature(temperature_X, share_P)

# %% [markdown]
# Left: no pair of any product is trained at 0.07, and none can be below 0.099, because G of a pair is at most
# $1/\sqrt 2$. Right: most of the push comes from the same modality, because two titles are more alike than a
# title and a picture. The contrast *between* modalities gets a small part of the gradient.
#
# **Invariant: a loss has a known value in a known case.** If all features are equal, each of B candidates is
# equally likely: the loss is log B.

# %%
all_B5 = torch.ones(8, 5, dtype=torch.bool)


def check_equal_features_give_log_B(negatives):
    loss_BP = pair_losses(torch.ones(8, 5, 16), all_B5, negatives=negatives).loss_BP
    torch.testing.assert_close(loss_BP, torch.full_like(loss_BP, np.log(8)))


judge(check_equal_features_give_log_B, ["both"], ["cross"])

# %% [markdown]
# The same idea for the temperature. Let the true pair have cosine 1 and every other product 0.9. Then the loss
# is $\log(1 + 7\,e^{-0.1 / 0.07})$. The weight of five modalities that agree is $G = 1/\sqrt 5$.

# %%
z_BD = torch.cat([0.9**0.5 * torch.ones(8, 1), 0.1**0.5 * torch.eye(8)], dim=1)
z_BMD = z_BD[:, None].expand(8, 5, 9)


def check_the_temperature_is_the_configured_one(weight):
    loss_BP = pair_losses(z_BMD, all_B5, 0.07, "cross", torch.full((8, 10), weight)).loss_BP
    expected = np.log(1 + 7 * np.exp(-0.1 / 0.07))
    torch.testing.assert_close(loss_BP, torch.full_like(loss_BP, expected), atol=1e-4, rtol=0)


judge(check_the_temperature_is_the_configured_one, [5**-0.5], [1.0])

# %% [markdown]
# ## 7 · Off is not zero
#
# The release switches a task off by multiplying its loss by 0. With the text task off nothing is hidden in the
# titles, and the mean over no words is 0 / 0, which is **NaN** (非数, "not a number"). And 0 · NaN is NaN.

# %%
no_logits_NV, no_words_N = torch.zeros(0, 30), torch.zeros(0, dtype=torch.long)
weight = torch.ones(3, requires_grad=True)
text_loss = cross_entropy(no_logits_NV, no_words_N)
total_loss = 0.0 * text_loss * weight.sum() + (weight - 2).square().mean()
total_loss.backward()
print(f"text loss {text_loss:.2f}, total {total_loss:.2f}, gradient {weight.grad.tolist()}")
assert weight.grad.isnan().all()

# %% [markdown]
# After one step every weight is NaN. Still the program does not stop; it can run for days. It even ranks: sorting
# NaNs keeps the order, so a gallery that is sorted by category gives good-looking hits:

# %%
similarity_N = np.full(6, np.nan)
print("ranking:", np.argsort(-similarity_N, kind="stable"))

# %% [markdown]
# Here are both versions for the real model: the released one multiplies the text loss by 0 or 1, ours sums the
# losses that are present.


# %%
def released_loss(tasks):
    masked = hide(batch16, tasks)
    output = ours(masked.batch, masked.hidden)
    titles = output.predictions.get("text", no_logits_NV), masked.targets.get("text", no_words_N)
    return 1.0 * ("MLM" in tasks) * cross_entropy(*titles)


def our_loss(tasks):
    masked = hide(batch16, tasks)
    settings = replace(config.loss, tasks=("contrastive", *tasks))
    return scale_loss(ours(masked.batch, masked.hidden), masked, settings).total


# %% [markdown]
# **Invariant: every switch can be off.** A task that is off is *absent* from our sum, never multiplied by zero.


# %%
def check_each_task_can_be_off(loss_with):
    for task in scale.TASKS:
        assert loss_with(tuple(t for t in scale.TASKS if t != task)).isfinite(), task


judge(check_each_task_can_be_off, [released_loss], [our_loss])

# %% [markdown]
# # Part three: the data
#
# ## 8 · Swapped axes
#
# A sound is a **log-mel spectrogram** (对数梅尔谱): a table of time frames by **mel bands** (梅尔频带, bands of pitch).
# Each time frame should be a token. In the release each *band* is a token, 80 of them, with 751 time frames as
# its features. The axes of a matrix are not labelled, so every layer accepts it.

# %%
paths = [product.audio for product in data.products if product.audio is not None]
features = run.config.features
sound_S = load_audio(paths[0], features.sample_rate, features.audio_seconds)
moments_TF = log_mel(sound_S, features)
bands_FT = moments_TF.T  # as released
print("tokens x features: ours", moments_TF.shape, "| released", bands_FT.shape)

# %% [markdown]
# **Invariant: more input, more tokens.** Half of the sound must give fewer tokens. With swapped axes it gives
# just as many.


# %%
def check_longer_sounds_have_more_tokens(tokens_of):
    assert len(tokens_of(sound_S)) > len(tokens_of(sound_S[: len(sound_S) // 2]))


def swapped(sound_S):
    return log_mel(sound_S, features).T


judge(check_longer_sounds_have_more_tokens, [swapped], [lambda s: log_mel(s, features)])

# %% [markdown]
# ## 9 · The silent except
#
# The worst fault is the smallest. In pretraining the release calls the sound loader with a wrong argument. Python
# raises an error, but the line is in a `try` with a bare `except`.


# %%
def load_as_released(path):
    try:
        return log_mel(load_audio(path, rate=16_000), features)  # no argument has this name
    except:  # noqa: E722
        return np.zeros((32, 40))


def load_ours(path):
    return log_mel(load_audio(path, features.sample_rate, features.audio_seconds), features)


for load in (load_as_released, load_ours):
    different = {load(path).tobytes() for path in paths[:20]}
    print(f"{load.__name__}: inputs that differ, from 20 files: {len(different)}")

# %% [markdown]
# Every sound of the catalogue becomes silence. The loss does not show it: see the curve on the right.

# %%
three = ("as described", "audio axes swapped", "audio all zeros")
mam = {name: trained[name][1]["MAM"] for name in three}
row = int(data.columns["audio"].length_N.argmax())
for name, losses in mam.items():
    print(f"{name:20} MAM loss after 12 steps {approx(losses[-1])}")
assert mam["audio all zeros"][-1] < 0.1 < mam["as described"][-1]
scale.plot.fault_audio(data.collate([row]).tokens["audio"].values[0].numpy(), mam)

# %% [markdown]
# **The lowest loss of the three is that of the model that never got a sound**, because nothing is easier to predict
# than zeros. If a loss reaches 0 in twelve steps, be suspicious.
#
# (The hatching: as described, the model predicts *time frames* from their neighbours. With swapped axes it
# predicts a whole *band*, which is a different and easier task.)
#
# The gradient test of fault 1 would have found it too. The first layer multiplies its weights by the input; if
# the input is always 0, none of these weights can learn.

# %%
reached, there = scale.studies.gradient_coverage(trained["audio all zeros"][0])["encoders.audio"]
print(f"audio encoder: {reached} of {there} numbers get a gradient")
assert reached < there

# %% [markdown]
# **Invariant: different files give different inputs**, and no input is constant. And a rule: catch only the
# expected exception, by name, and report the file's path.


# %%
def check_different_files_differ(load):
    first, second = load(paths[0]), load(paths[1])
    assert min(first.std(), second.std()) > 0
    assert not np.array_equal(first, second)


judge(check_different_files_differ, [load_as_released], [load_ours])

# %% [markdown]
# ## 10 · Missing modalities still count
#
# Many products have no sound: **incomplete modalities** (模态缺失). The paper fills in zeros, **zero imputation**
# (零插补). The release does too, but with a mask of *ones*, which marks them as real tokens.


# %%
def sound_as_released(product, length=32):
    if product.audio is None:
        return np.zeros((length, 40)), np.ones(length)  # should be a mask of zeros
    moments_TF = load_ours(product.audio)
    return moments_TF, np.ones(len(moments_TF))


silent = next(product for product in data.products if product.audio is None)
_, mask_T = sound_as_released(silent)
print(f"product {silent.id} has no sound, and {mask_T.sum():.0f} real tokens of it")

# %% [markdown]
# Then every product without a sound has the *same* sound. The contrastive loss has to decide which of these
# twelve equal sounds belongs to a title, which is impossible. The best possible loss is log 12.

# %%
found = scale.studies.missing_audio_effects(run, data)
with_sound, without = approx(found.loss_present), approx(found.loss_missing)
print(f"title and sound: {with_sound} where there is a sound, {without} where there is none;")
print(f"at best {found.lower_bound:.2f}")
assert found.loss_missing > found.lower_bound > found.loss_present
scale.plot.fault_missing(found)

# %% [markdown]
# The blue square: all missing sounds have the same feature. Training on them pulls unrelated titles to one point,
# and pushes them apart again.
#
# **Invariant: missing modalities have no influence.** Write noise where a sound is missing. The loss must not
# change at all.


# %%
def noise_where_missing(batch):
    audio = batch.tokens["audio"]
    lacks_R = torch.tensor([data.products[i].audio is None for i in audio.rows_R])
    values = audio.values + torch.randn_like(audio.values) * lacks_R[:, None, None]
    return replace(batch, tokens=batch.tokens | {"audio": replace(audio, values=values)})


def check_missing_never_matters(dataset):
    batch = dataset.collate(range(32))
    torch.testing.assert_close(loss_of(ours, noise_where_missing(batch)), loss_of(ours, batch))


short = scale.studies.SHORT_RUNS["missing in the losses"].train(data)
judge(check_missing_never_matters, [short], [data])

# %% [markdown]
# (In our batches a missing sound has no row, so there is nothing to write noise into.)
#
# ## 11 · No shuffling
#
# The release reads the products in the order of the file. Files are often sorted, and then a batch contains only
# one kind of product. Let us sort ours by category.

# %%
category_N = np.array([str(product.category) for product in data.products])
in_order = np.argsort(category_N, kind="stable")[:16]
shuffled = scale.training.batch_indices(len(data), 16, seed=0, step=0)
for name, rows in (("file order", in_order), ("shuffled", shuffled)):
    print(f"{name}: {len(set(category_N[rows]))} categories in a batch of 16")

# %% [markdown]
# The negatives of a pot are then only pots. Some of them are nearly identical, and each has the same negatives in
# every **epoch** (轮次, one pass over the data).
#
# **Invariant: an epoch contains every product once, and the next epoch has a different order.**


# %%
def check_epochs_differ(step_to_rows):
    first, second = (np.concatenate([step_to_rows(8 * e + k) for k in range(8)]) for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(128))
    assert list(first) != list(second)


def file_order(step):
    return np.arange(128)[step % 8 * 16 :][:16]


judge(
    check_epochs_differ,
    [file_order],
    [lambda step: scale.training.batch_indices(128, 16, seed=0, step=step)],
)

# %% [markdown]
# # Part four: the metric and the optimizer
#
# ## 12 · A metric that rewards finding less
#
# **Average precision** (平均精确率, AP) of a ranking sums the precision at each hit and divides by a count. The
# release divides by the number of hits *found* (notebook [14](14_downstream.ipynb) compares all three
# denominators). Two rankings, five places each, ten relevant products in the gallery:

# %%
rel_QK = np.array([[1, 0, 0, 0, 0], [1, 0, 0, 0, 1]], bool)  # the second finds one more
relevant_Q = np.array([10, 10])
released_AP, _ = scale.evaluation.authors_metrics_at_k(rel_QK, relevant_Q, 5)
our_AP = scale.evaluation.average_precision_at_k(rel_QK, relevant_Q, 5)
pd.DataFrame({"hits": [1, 2], "released": released_AP, "min(5, relevant)": our_AP}).round(2)

# %% [markdown]
# The released metric is 1.0, a perfect score, for a search that found one product of ten, and *lower* for the one
# that found more.
#
# **Invariant: one more hit never lowers the score.**


# %%
def check_one_more_hit_never_hurts(score_Q):
    assert score_Q[1] >= score_Q[0]


judge(check_one_more_hit_never_hurts, [released_AP], [our_AP])

# %% [markdown]
# ## 13 · The wrong half decays
#
# **Weight decay** (权重衰减) pulls weights a little towards 0 at each step. It is meant for matrices, not for biases
# and LayerNorm: a LayerNorm's scale of 1 pulled to 0 switches a layer off. In the release's fine-tuning the
# condition is inverted: a `not` is missing.

# %%
spared = ("bias", "norm", "LayerNorm")
named = list(ours.named_parameters())
released_decayed = [p for name, p in named if any(word in name for word in spared)]  # no `not`
our_decayed = scale.training.parameter_groups(ours, weight_decay=0.05)[0]["params"]
for name, group in (("released", released_decayed), ("ours", our_decayed)):
    numbers = sum(p.numel() for p in group)
    matrices = sum(p.dim() >= 2 for p in group)
    print(f"{name}: {numbers} numbers decay, {matrices} of {len(group)} parameters are matrices")

# %% [markdown]
# **Invariant: only matrices decay.** A rule of one sentence can be tested in one line.


# %%
def check_only_matrices_decay(decayed):
    assert all(parameter.dim() >= 2 for parameter in decayed)


judge(check_only_matrices_decay, [released_decayed], [our_decayed])

# %% [markdown]
# # Which of them would the results have shown?
#
# Perhaps the final score is enough, without such tests? The study `faults` trained each fault to the end, with
# five seeds, and measured retrieval. (A **seed** (随机种子) is the number that determines all randomness of a
# training.)

# %%
folder = samples().folder.parent / "figures" / "studies"
summary = scale.studies.summarise(
    scale.studies.STUDIES["faults"](False),
    scale.studies.read_records(folder / "faults-data_samples.parquet"),
)
scale.plot.study_figure(summary)

# %% [markdown]
# The dashed line is the right program. In both panels only the last row lies clearly to the left of it, and
# perhaps one or two others. (The row "weights on the loss, S' unscaled" is not a fault: it is the baseline for
# "weights on regression predictions".) The picture is of one catalogue. The table has all three, in two metrics, as
# *paired* differences (same seed, same order of products): the cost of a fault, and whether it is decided.


# %%
def costs(catalogue):
    study = scale.studies.STUDIES["faults"](False)
    records = scale.studies.read_records(folder / f"faults-{catalogue}.parquet")
    measured = {}
    for o in scale.studies.summarise(study, records).outcomes:
        decided = {"supported": "decided", "contradicted": "decided"}.get(o.verdict, "open")
        if o.seeds.value is not None:
            place = o.comparison.worse["fault"], o.comparison.metric
            measured[place] = f"{o.seeds.value:+.3f} {decided}"
    return pd.Series(measured).unstack()


table = pd.concat({name: costs(name) for name in ("data_samples", "esky5", "wesnoth5")}, axis=1)
table = table.fillna("not run")
table

# %% [markdown]
# "Decided" means that the intervals over seeds, over products and over categories all exclude 0, after Holm's
# correction for the number of claims. Which faults are decided, and where?

# %%
decided = table.apply(lambda column: column.str.endswith("decided"))
for fault, cells in decided[decided.any(axis=1)].iterrows():
    print(f"{fault}:", ", ".join(f"{metric} on {where}" for where, metric in cells.index[cells]))
assert decided.loc["the whole released loss"].sum() == 3
assert decided.loc["missing in the losses", ("wesnoth5", "mAP@5")]
assert decided.drop(index="the whole released loss").sum().sum() == 1

# %% [markdown]
# Read it with care. "Open" does not mean "harmless": it means that this metric, with these few products and
# trainings, does not show a difference. The whole released loss costs Recall@10 on all three catalogues. Of the six
# single faults **one is decided, on one catalogue, in one metric**: missing sounds in the losses, on wesnoth5; the
# same fault is open on the two others, where five trainings vary too much. Heads on the encoders, shared layers and
# weights on predictions are open wherever they were run.
#
# There is a reason. This retrieval uses the encoders' `[CLS]`, which the contrastive loss trains. Faults in the
# heads and weights of the masked tasks damage the core of the paper (the JCT, the masked predictions), which this
# score does not measure. A shared layer still learns; there are only fewer of them.
#
# **A fault that the metric does not show needs a separate test.**
#
# ## A checklist for any multimodal code
#
# | invariant | how to test it | finds |
# |---|---|---|
# | every parameter gets a gradient | one backward pass, loop over `named_parameters` | 1, 2, 9 |
# | every input can influence the prediction | change one modality's input, another's prediction changes | 1 |
# | products are independent | change product i, product j stays equal | 3 |
# | padding has no influence | write noise into it, nothing changes | 3 |
# | missing modalities have no influence | write noise where the record is empty, the loss stays | 10 |
# | the loss of the target is zero | prediction = target, loss = 0 | 4 |
# | known cases have known values | equal features: log B; shares sum to 1 | 5, 6 |
# | every switch can be off | leave out one task at a time, all is finite | 7 |
# | more input, more tokens | half the sound, fewer tokens | 8 |
# | different files, different inputs | two files, spread above 0 | 9 |
# | epochs are permutations, and differ | two epochs, sorted and unsorted | 11 |
# | a better list never scores lower | add one hit | 12 |
# | stated rules hold | only matrices decay | 13 |
# | the model can overfit one batch | train on 8 products, the loss goes to (nearly) 0 | next exercise |
# | slow equals fast | a double loop from the paper, `assert_close` with the code | all formulas |
# | a resumed run equals an uninterrupted one | compare the weights, bit by bit | resuming |
#
# The tests of this project check them for our own code. Each takes seconds.
#
# ## Exercise: another fault
#
# Someone wanted to save memory and added `.detach()` to the audio encoder. It runs, and the loss falls. Which of
# the three checks for models (`check_every_parameter_learns`, `check_pictures_reach_titles`,
# `check_products_never_meet`) detect it? Predict first.

# %%
planted = scale.training.seeded_model(config).eval()
_ = planted.encoders["audio"].register_forward_hook(lambda _, __, out: (out[0].detach(), out[1]))

# %% [markdown]
# The solution, folded:

# %% tags=["solution"]
planted.to(device())
print("every parameter learns:", verdict(check_every_parameter_learns, planted.cpu()))
print("pictures reach titles:", verdict(check_pictures_reach_titles, planted))
print("products never meet:", verdict(check_products_never_meet, planted.to(device())))
# Only the gradient check finds it: the forward pass is right, the backward pass is not.

# %% [markdown]
# ## Exercise: overfit one batch
#
# The most popular test of all: train on eight products only, again and again. A correct model memorises them and
# the loss falls to nearly 0. Do it (contrastive loss only, 40 steps) for "as described" and for "missing in the
# losses". Does the test detect the fault? Why does it *not* detect silent sounds?

# %% tags=["solution"]
eight = data.subset(np.flatnonzero(data.present_NM[:, 0])[:8])
only = replace(config, loss=replace(config.loss, tasks=("contrastive",)))
only = replace(only, train=replace(only.train, batch_size=8, steps=40))
last = {}
for name in ("as described", "missing in the losses"):
    last[name] = scale.studies.train_briefly(only, eight, scale.studies.SHORT_RUNS[name], steps=40)[
        1
    ]["contrastive"][-1]
    print(f"{name}: {approx(last[name], 1)}")
assert last["as described"] < 0.5 * last["missing in the losses"]
# Equal sounds of different products are indistinguishable: that loss stays high. Silent sounds pass
# the masked task easily. Overfitting detects tasks that cannot be learned, not tasks that are too
# easy.

# %% [markdown]
# ## What to remember
#
# - A falling loss proves little. All eight wrong programs had one; the lowest audio loss was that of silence.
# - The metric proves little: of six single faults it detected one, on one of three catalogues, in one of two metrics.
# - Find statements that must hold for all inputs, and write each as three lines with an `assert`.
# - Let every test fail once, on the fault that it should detect.
# - Catch only named exceptions; omit a disabled loss instead of multiplying it by zero.
#
# ## Five questions
#
# 1. Why does the loss fall although a third of the parameters never learn?
# 2. Batch of four products, three heads, masks laid out with `repeat`. Which product's mask does head 2 of
#    product 3 get?
# 3. A weight of 0.4 multiplies a prediction. By which factor is the learned prediction too large?
# 4. Why is the loss of all-zero sounds the lowest, and which two checks detect it?
# 5. The heads read the encoders, and mAP@5 is as before. Which measurement would show the damage?

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. The loss is a sum over the rest of the model, and the rest can lower it. No term of the loss depends on a layer
#    that is never called, so nothing reports it: its gradient is 0 or absent, and its weights stay as drawn.
# 2. The mask of product 4. Rows are ordered by product, then head: head 2 of product 3 is row (3 − 1) · 3 + (2 − 1) =
#    7, counted from 0. `repeat` gives row r the mask of product r mod 4 + 1, and 7 mod 4 + 1 = 4. The right one is 3.
# 3. 2.5. The loss $(w\,p - t)^2$ is 0 at $p = t / w$, and 1 / 0.4 = 2.5.
# 4. All targets are equal, so a constant prediction has a loss of nearly 0 without any learning. The gradient check
#    (some weights of the audio encoder get none) and "different files give different inputs" detect it.
# 5. The masked predictions themselves: the loss on hidden words with and without the picture (notebook 05), or the
#    check that a changed picture changes the predicted words. mAP@5 here is computed from the encoders' `[CLS]`,
#    which the heads never touch.
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures fault_losses fault_gradients fault_mask fault_regression fault_temperature fault_audio fault_missing study_faults
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
