# %% [markdown]
# # 05 · Masked words: MLM
#
# **The question.** Hide the colour word of a title: "Small [MASK] vessel for the office". Nobody can guess it from
# the words alone; anyone can with the picture. Can SCALE?
#
# **Masked language modelling** (掩码语言建模, MLM) is the **pretext task** (代理任务) of the text: hide some words and let
# the model predict them. No labels are needed: the title is its own answer. You will build:
# - word pieces, for an English and a Chinese title;
# - the 80/10/10 rule, and the purpose of each of its three numbers;
# - the loss, **cross-entropy** (交叉熵), by hand and by the package;
# - a measurement: is a colour word easier to predict when the picture is available, for a model with few training
#   examples and for one with many?
#
# Paper: section 4.2. Code: `scale/losses/masking.py`, `scale/losses/masked.py`,
# `scale/studies/masked_probe.py`.

# %%
import numpy as np
import pandas as pd
import torch

import scale
from scale.notebook import approx, approx_estimate, demo_data, demo_run, html_table, samples, setup
from scale.studies import EVERYTHING, NOTHING, mask_words, predict, score_masked, top_tokens

setup(seed=0)

# %% [markdown]
# ## A title as word pieces
#
# A model reads numbers, not letters. A **tokenizer** (分词器) cuts a title into **word pieces** (词片) and replaces
# each by its index in a list, the **vocabulary** (词表). Frequent words are one piece. A rare word is composed of
# shorter pieces; `##` marks the continuation of a word. The model here is the demo's.

# %%
run, train, test = demo_run(), demo_data("train"), demo_data("test")
tokenizer = run.tokenizer
known = scale.losses.WordPieces.of(tokenizer)  # which pieces are special, and how many there are
title = "Small red vessel for the office, shatterproof"
pieces = tokenizer.tokenize(title)
print(pieces)
print(tokenizer.convert_tokens_to_ids(pieces))
print("word pieces in the vocabulary:", len(tokenizer))

# %% [markdown]
# "shatterproof" is not in the vocabulary: it is too rare in the training titles. So it became six pieces. No
# letter is lost. The same method works for Chinese, which has no spaces between words: each character is first
# treated as a word. This tokenizer was trained on English titles only, so we train a second one on the shop's
# Chinese titles. It takes almost no time.

# %%
from dataclasses import replace

kept = [p for p in train.products if p.text and p.extra.get("title_zh")]
in_chinese = [replace(p, text=p.extra["title_zh"], table=None) for p in kept]
chinese = scale.data.train_tokenizer(in_chinese, 1024)
product = next(p for p in test.products if p.id == "p0018")
print(product.text, "\n ", tokenizer.tokenize(product.text))
print(product.extra["title_zh"], "\n ", chinese.tokenize(product.extra["title_zh"]))
unknown = tokenizer.tokenize(product.extra["title_zh"])
print("English tokenizer, Chinese title:", unknown[:4], "...")
assert "[UNK]" in unknown
assert "[UNK]" not in chinese.tokenize(product.extra["title_zh"])

# %% [markdown]
# `[UNK]` ("unknown") replaces characters that the vocabulary does not contain. Every sequence has two more special
# pieces: `[CLS]` at the start, whose vector represents the whole title, and `[SEP]` at the end.
#
# ## Hiding: 80 / 10 / 10
#
# First a share of the pieces is **chosen** (the paper: 15 %; our demo: half, because a small shop is quickly
# memorised). Then a random draw decides for each chosen piece:
#
# | share | the model sees | purpose |
# |---|---|---|
# | 80 % | `[MASK]` | the exercise itself |
# | 10 % | a random word piece | no visible word can be trusted blindly: any of them may be wrong |
# | 10 % | the piece itself | the vector of a *real* word must be useful too |
#
# Why not always `[MASK]`? Because titles in real use contain no `[MASK]`. A model that only has to predict at
# `[MASK]` learns good vectors only there. In the two other cases the chosen words are not recognisable, so every
# word needs a good vector.
#
# Here is the rule, written slowly, for one title. (A capital letter at the end of a name is its axis, as in all
# notebooks: `ids_L` has L positions, `ids_RL` R titles of L positions, `logits_NV` V numbers at N hidden positions.)


# %%
def hide_slowly(ids_L, rate, rng):
    """Ids with hidden pieces, and True where the model must answer."""
    shown_L, hidden_L = ids_L.clone(), torch.zeros_like(ids_L, dtype=torch.bool)
    for place, piece in enumerate(ids_L.tolist()):
        if piece not in known.special_ids and rng.random() < rate:
            hidden_L[place], die = True, rng.random()
            if die < 0.8:
                shown_L[place] = known.mask_id
            elif die < 0.9:
                shown_L[place] = rng.integers(5, known.vocab_size)
    return shown_L, hidden_L


# %% [markdown]
# The special pieces have the numbers 0 to 4; a random piece is drawn from 5 upwards. Now the same title four
# times. The model must predict at the coloured boxes only. Look for a green one: that word is shown unchanged, and
# still has to be predicted.

# %%
assert sorted(known.special_ids) == [0, 1, 2, 3, 4]
ids_L = test.collate([test.products.index(product)]).tokens["text"].values[0]
rng = np.random.default_rng(3)
drawn = [hide_slowly(ids_L, 0.5, rng) for _ in range(4)]
scale.plot.word_fates([scale.viz.fates(tokenizer, ids_L, *one) for one in drawn])

# %% [markdown]
# Is it really 80/10/10? Four titles are too few to judge. We mask all test titles, with our function and with the
# package, and count. (A random piece is the right one by chance 1 time in 1,615, and then counts as kept. That is
# too rare to matter.)


# %%
def shares(ids_L, shown_L, hidden_L):
    """How many of the hidden pieces are masked, random, kept; and how many are hidden."""
    masked = (shown_L == known.mask_id)[hidden_L].sum()
    same = (shown_L == ids_L)[hidden_L].sum()
    return np.array([masked, hidden_L.sum() - masked - same, same, hidden_L.sum()], float)


batch, mask = test.collate(range(len(test))), replace(run.config.mask, rate=0.5)
ids_RL, ours, packages = batch.tokens["text"].values, np.zeros(4), np.zeros(4)
for draw in range(10):
    found = scale.losses.mask_batch(batch, mask, known, (draw,), ("MLM",))
    packages += shares(ids_RL, found.batch.tokens["text"].values, found.hidden["text"])
    ours += sum(shares(ids_L, *hide_slowly(ids_L, 0.5, rng)) for ids_L in ids_RL)

# %% [markdown]
# Both counts of hidden pieces should be about the same. The methods differ slightly: the package chooses exactly
# half of each title, rounded up or down at random; our loop draws for each piece. So ours may hide nothing of a
# short title, while the package always hides something.

# %%
columns = ["[MASK]", "random", "kept", "hidden pieces"]
counted = pd.DataFrame([ours, packages], ["our loop", "the package"], columns)
counted[columns[:3]] = counted[columns[:3]].div(counted["hidden pieces"], axis=0).round(2)
np.testing.assert_allclose(packages[:3] / packages[3], [0.8, 0.1, 0.1], atol=0.01)
np.testing.assert_allclose(ours[:3] / ours[3], [0.8, 0.1, 0.1], atol=0.02)
np.testing.assert_allclose(ours[3], packages[3], rtol=0.05)
counted.astype({"hidden pieces": int})

# %% [markdown]
# ## The loss: how surprised is the model?
#
# At a hidden place the model gives every piece of the vocabulary a number, its **logit**. Softmax turns the logits
# into probabilities that sum to 1. If the right piece has probability $p$, the loss is $-\ln p$: zero for a
# confident right answer, large for a confident wrong one. The unit is the *nat*.
#
# $$L_{MLM} = -\frac{1}{N} \sum_{n=1}^{N} \ln \frac{e^{z_{n,\text{right}}}}{\sum_v e^{z_{n,v}}}$$
#
# By hand, with three words and two hidden positions. At the first, "red" is right and has most of the probability;
# at the second, "blue" is right and has a third of it.

# %%
words = ["red", "blue", "steel"]
logits_NV = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
target_N = torch.tensor([0, 1])
probability_NV = torch.exp(logits_NV) / torch.exp(logits_NV).sum(dim=1, keepdim=True)
right_N = probability_NV[torch.arange(2), target_N]
loss = -right_N.log().mean()
print("probability of the right word:", [round(p, 3) for p in right_N.tolist()])
print(f"loss: (0.240 + 1.099) / 2 = {loss:.3f}")
torch.testing.assert_close(loss, scale.losses.masked_token_loss(logits_NV, target_N))

# %% [markdown]
# Two numbers for comparison. Uniform guessing gives each of the 1,620 pieces the same probability:
# $\ln 1620 = 7.39$. Predicting the frequency of each piece is better, without reading anything. This second
# number, the **unigram** loss, is the baseline that a model must beat.

# %%
train_RL = train.collate(range(len(train))).tokens["text"].values
count_V = torch.bincount(train_RL.flatten(), minlength=len(tokenizer)).float()
count_V[list(known.special_ids)] = 0
chance_V = (count_V + 0.1) / (count_V + 0.1).sum()  # 0.1: a piece never seen is not impossible
asked_RL = ~torch.isin(ids_RL, torch.tensor(known.special_ids))
unigram = -chance_V[ids_RL[asked_RL]].log().mean()
print(f"uniform: {np.log(len(tokenizer)):.2f}   by frequency: {unigram:.2f}")
assert round(np.log(1620), 2) == round(np.log(len(tokenizer)), 2) == 7.39

# %% [markdown]
# ## One product, one hidden word
#
# Two models answer. The **demo** was trained for 450 steps with all six losses. The **longer training** is the model
# of notebook 04: masked losses alone, on more descriptions and for more steps; in its second stage mostly words and
# values for colour, material and pattern were hidden (`tools/masked_model.py`; the idea of hiding whole words that
# matter is that of ERNIE, Sun et al., 2019). No test product was used for either.
#
# We hide only the colour word in the title of a test product, and let the longer training predict it twice: from the
# title alone, and with everything else of the product. `mask_words` replaces all pieces of a word by `[MASK]`;
# `in_context` removes modalities. A removed modality counts as missing (`present` is False) and is treated like every
# missing one.

# %%
longer, longer_test = scale.notebook.masked_run(words=True), scale.notebook.masked_data("test")


def ask(model, data, row, word):
    """The five best guesses for a word of one title, with and without the other modalities."""
    one, guesses = mask_words(data, [word], [row]), {}
    for name, context in {"title alone": NOTHING, "title and all others": EVERYTHING}.items():
        logits_NV = predict(model, scale.studies.in_context(one, "text", context), "text")
        guesses[name] = top_tokens(logits_NV[0], data.tokenizer)
    return guesses


guesses = ask(longer.model, longer_test, longer_test.products.index(product), "red")
assert guesses["title alone"][0][0] != "red" == guesses["title and all others"][0][0]
scale.plot.top_predictions(product, product.text.replace("red", "____"), guesses, "red")

# %% [markdown]
# From the title alone, the longer training has to guess: a material would fit as well as a colour. With the other
# modalities the right colour comes first, by far: it is in the picture, and the co-transformer transfers it to the word.
#
# The same question to the demo:

# %%
guesses = ask(run.model, test, test.products.index(product), "red")
assert not any(word == "red" for found in guesses.values() for word, _ in found)
scale.plot.top_predictions(product, product.text.replace("red", "____"), guesses, "red")

# %% [markdown]
# With or without the picture it predicts the most frequent words of all titles. But one product proves nothing. Let us
# measure.
#
# ## The test split: with and without the others
#
# We hide every colour word of the test titles, then every material word ("steel", "wooden"). Each time the *same*
# positions are predicted in several situations: from the title alone, with the other modalities, with those of another
# product. How often is the right word the most probable of all word pieces?

# %%
colours = sorted({p.labels["colour"] for p in samples()})
materials = ["ceramic", "glass", "steel", "brass", "wooden", "recycled", "canvas", "leather"]
asked = {"colour words": colours, "material words": materials}
rows, losses = {}, {}
for model_name, one, data in (("demo", run, test), ("longer", longer, longer_test)):
    for name, hidden_words in asked.items():
        found = score_masked(one.model, mask_words(data, hidden_words), "text", len(data))
        losses[f"{model_name}: {name}"] = {c: answer.loss_P for c, answer in found.items()}
        rows[f"{model_name}: {name}"] = {
            c: approx_estimate(scale.evaluation.estimate(found[c].correct_P), 2)
            for c in ("none", "other products", "all", "image", "audio")
        }
html_table(pd.DataFrame(rows))

# %% [markdown]
# **The demo is never right**, with or without the picture. **The longer training finds the colour in more than four of
# ten titles, if it gets the picture**; from the title alone it is right in about one of eight, and with another
# product's modalities it is no better. With the sound it finds half of the materials: steel rings, wood knocks.
#
# The same as losses in nats (lower is better): that of the title alone, and the gains, by how much the loss is lower
# with other modalities. The difference is taken product by product, so that easy and hard titles cancel, and the
# interval (95 %, bootstrap over products) shows how much it would vary with other products. If the interval excludes
# 0, the gain is more than chance.

# %%
contexts = scale.studies.default_contexts("text")
for model_name, one, data in (("demo", run, test), ("longer", longer, longer_test)):
    found = scale.studies.product_losses(one.model, data, "text", mask, contexts)
    losses[f"{model_name}: all pieces"] = found
table = {}
for name, loss in losses.items():
    gain = {f"gain: {k}": approx_estimate(e, 2) for k, e in scale.studies.gains(loss).items()}
    table[name] = {"loss, title alone": approx(np.nanmean(loss["none"])), **gain}
html_table(pd.DataFrame(table))

# %% [markdown]
# The demo: all modalities together reduce the loss of a colour word by about 0.06 nats, and the picture, which shows the
# colour, by about 0.01. That is practically nothing. *Material* words do become easier, with the table (which often
# repeats the material) and with the sound. Averaged over all pieces there is little gain: most of them are words like
# "for", "the" and ",", which no picture shows.
#
# The longer training: the picture alone reduces the loss of a colour word by more than one nat, and the sound that of a
# material word by about one. Another product's modalities make it *worse* than the title alone: the model trusts its input. So the
# gains come from the product's own content.

# %%
gain = {name: scale.studies.gains(loss) for name, loss in losses.items()}
assert abs(gain["demo: colour words"]["image"].value) < 0.1
assert gain["demo: material words"]["audio"].low > 0.05
assert gain["longer: colour words"]["image"].value > 1
assert gain["longer: material words"]["audio"].low > 0.2
content = scale.studies.gains(losses["longer: colour words"], "other products")["all"]
print(f"longer, colour words: another product's - own {approx_estimate(content, 2)} nats")
assert content.low > 0.5

# %% [markdown]
# ## Why not the demo?
#
# Three suspects: the picture does not show the colour; the model cannot transfer it from the picture to the word;
# or it had too few training examples. Begin with the last, which can be counted. Four of ten training titles have
# a colour word. The demo's training used 450 batches of 64 products and hid half of the pieces.

# %%
named = np.mean([any(w in (p.text or "").lower().split() for w in colours) for p in train.products])
seen = 450 * 64 / len(train)  # how often each product was seen
hidden = {w: seen * 0.5 * int(count_V[tokenizer.convert_tokens_to_ids(w)]) for w in colours}
total = seen * 0.5 * float(count_V.sum())
average = sum(hidden.values()) / len(colours)
print(f"titles with a colour word: {named:.0%}; hidden pieces in training: {total:,.0f}")
print(f"of them colour words: {sum(hidden.values()):,.0f}, {sum(hidden.values()) / total:.1%}")
print(f"one colour: {average:.0f} times, in about {average / seen * 2:.0f} different titles")
assert 8 < average / seen * 2 < 14

# %% [markdown]
# Of every hundred hidden pieces four are colours, and the same eleven titles contain a colour again and again. The
# model first learned what reduces the loss most: the frequency of each word and its position in a title. Training
# stopped at that point.
#
# ## Training on colours only
#
# The longer training shows that it can be learned, but it differs from the demo in many ways. Here is a controlled
# experiment: we fine-tune the demo's model for a few seconds on nothing but colours, and change two things:
# - **Every title names its colour.** Only 205 training titles do so already. For the others we put it in front,
#   from the shop's record: "teal Tableware for tidy homes". So there are 484 examples, not 200, and 136 test
#   titles, not 47.
# - **Only the colour is hidden,** in every title, every time.
#
# We train two models: one gets title and picture, the other the title only. Everything else is the same: initial
# weights, titles, order, steps. So any advantage of the first model comes from the picture.

# %%
trainset, testset = (scale.studies.prepend_label(data, "colour") for data in (train, test))
rows = scale.studies.complete_rows(trainset, ("text", "image"))
test_rows = scale.studies.complete_rows(testset, ("text", "image"))
print(len(rows), "training products,", len(test_rows), "test products; the first three:")
for row in test_rows[:3]:
    print(" ", testset.products[row].text)

# %% [markdown]
# A training loop is short: draw 64 products, mask, predict, compare, step. Here are two steps by hand; the
# package's `fine_tune_on_words` does the same and must arrive at the same weights.

# %%
model = scale.studies.restrict_model(run, ("text", "image")).train()
draw = scale.seeding.generator("cpu", 0)
optimizer = torch.optim.AdamW(model.parameters(), lr=scale.studies.LEARNING_RATE)
for _ in range(2):
    drawn = torch.randperm(len(rows), generator=draw)[: scale.studies.BATCH].tolist()
    masked = mask_words(trainset, colours, [rows[k] for k in drawn])
    loss = scale.losses.masked_token_loss(
        model(masked.batch, masked.hidden).predictions["text"], masked.targets["text"]
    )
    optimizer.zero_grad(), loss.backward(), optimizer.step()
same = scale.studies.fine_tune_on_words(run, trainset, colours, ("text", "image"), steps=2)
for name, weight in model.state_dict().items():
    torch.testing.assert_close(weight, same.state_dict()[name])

# %% [markdown]
# Now sixty steps for each model. (Why sixty? After that, the one without a picture memorises the training titles
# and gets worse on the validation products. Stopping later would favour the other one.)

# %%
models = {
    "title alone": scale.studies.fine_tune_on_words(run, trainset, colours, ("text",), steps=60),
    "title and picture": scale.studies.fine_tune_on_words(
        run, trainset, colours, ("text", "image"), steps=60
    ),
}
masked_set = mask_words(testset, colours, test_rows)
results = {
    name: score_masked(model, masked_set, "text", len(testset), {"shown": EVERYTHING})["shown"]
    for name, model in models.items()
}
for name, result in results.items():
    right = approx_estimate(scale.evaluation.estimate(result.correct_P), 2)
    print(f"{name}: loss {approx(np.nanmean(result.loss_P))}, right {right}")

# %% [markdown]
# And the difference, on the same 136 titles. There are 19 colours, so a random guess is right in about one of 19
# cases (0.05), with a loss of $\ln 19 = 2.94$.

# %%
alone, both = results["title alone"], results["title and picture"]
saved = scale.evaluation.paired_difference(alone.loss_P, both.loss_P)
more = scale.evaluation.paired_difference(both.correct_P, alone.correct_P)
print(f"the picture saves {approx_estimate(saved, 2)} nats")
print(f"and makes {approx_estimate(more, 2)} more answers right")
assert saved.low > 0.05

# %% [markdown]
# There it is. The picture reduces the loss by about 0.3 nats on unseen products. A colour word *does* become
# easier to predict with the picture, without any change to the architecture. So the first two suspects are cleared:
# the colour is in the picture, and the co-transformer transfers it to the word.
#
# One training proves little, and the interval only covers other products, not other trainings. So we repeated it
# with three more seeds, outside of this notebook: 0.35, 0.34 and 0.31 nats, with all lower interval bounds at 0.19
# or above.
#
# Do not overestimate this. About one prediction in six is right. Nineteen colours cannot be learned well from 484
# pictures, each described by four vectors. (And the model without pictures, at a loss above 2.94, has learned
# nothing that generalises beyond its training titles.)
#
# Single products, selected by rule to avoid cherry-picking: the one where the picture helps most, and the median one.

# %%
gain_P = alone.loss_P - both.loss_P
order = np.argsort(np.nan_to_num(gain_P, nan=-np.inf))[-len(test_rows) :]
best, middle = int(order[-1]), int(order[len(order) // 2])


def draw_guesses(row):
    """Draw the five best guesses for a product's colour, with and without its picture."""
    product, one = testset.products[row], mask_words(testset, colours, [row])
    found = {n: top_tokens(predict(p, one, "text")[0], tokenizer) for n, p in models.items()}
    colour = product.labels["colour"]
    title = product.text.lower().replace(colour, "____", 1)
    return scale.plot.top_predictions(product, title, found, colour)


draw_guesses(best)

# %% [markdown]
# Where it helps most, the picture changes the order of the candidates. And the median product:

# %%
print("nats saved: most", approx(gain_P[best]), " median", approx(gain_P[middle]))
draw_guesses(middle)

# %% [markdown]
# On the median product the picture moves a little probability towards the right colour and its neighbours. The
# prediction is still wrong. That is what 0.3 nats look like.
#
# ## Hide any token
#
# The same on any product and for all five tasks: click on a token to hide it (or use Tab, arrows and Enter), read
# the five most probable words or the predicted picture, clip or sound, and switch the other modalities off one by
# one. The model is the longer training. The panel needs a running kernel; without one you see a static picture.

# %%
source = scale.explore.ExplorerSource(longer, longer_test)
panel = scale.explore.MaskingExplorer(source, task="MLM")
panel.hide([1])
panel

# %% [markdown]
# Hide a colour and switch the picture off: the prediction becomes a guess. Hide "for": the words around it suffice.
#
# ## Exercise: another product's picture
#
# Is it the *picture*, or does the first model just benefit from a longer input? Give each product the picture of
# another product and evaluate again. What loss do you expect: that with its own picture, that of the model without
# pictures, or worse than both? (Use `Context(("image",), other_products=True)`.)

# %% tags=["solution"]
other = {"shown": scale.studies.Context(("image",), other_products=True)}
lost = score_masked(models["title and picture"], masked_set, "text", len(testset), other)["shown"]
for name, result in {**results, "title and another product's picture": lost}.items():
    print(f"{name}: loss {approx(np.nanmean(result.loss_P))}")
assert scale.evaluation.paired_difference(lost.loss_P, both.loss_P).low > 0.2
# Far worse than its own picture, and no better than none: the model trusts its input. A wrong
# modality is worse than none; notebook 11 finds the same for whole trainings.

# %% [markdown]
# ## Exercise: the mask ratio
#
# BERT hides 15 % of the pieces, the demo hid 50 % in training. Hide 5, 15, 30, 50 and 80 % of the test titles and
# measure the loss of both models, with everything else shown. First write down your expectation: how much
# should it rise for a model that reads the rest of the title? What does the result show about the two?

# %% tags=["solution"]
sweep, context = {}, {"all": EVERYTHING}
for rate in (0.05, 0.15, 0.3, 0.5, 0.8):
    hard = replace(mask, rate=rate)
    found = {}
    for name, one, data in (("demo", run, test), ("longer", longer, longer_test)):
        loss = scale.studies.product_losses(one.model, data, "text", hard, context, draws=2)
        found[name] = np.nanmean(loss["all"])
    sweep[f"{rate:.0%}"] = {name: approx(value) for name, value in found.items()}
    assert found["longer"] < found["demo"] < unigram
pd.DataFrame(sweep).T.rename_axis("rate")
# The demo's loss hardly changes: it uses little of the rest of a title either, and predicts by
# frequency and position. The longer training reads the rest, so it loses by hiding more.

# %% [markdown]
# ## What to remember
#
# - Word pieces: frequent words are whole, rare ones in parts, no letter is lost. 80/10/10: `[MASK]`, random, kept,
#   so that every word's vector stays useful.
# - The loss is the surprise at the right piece, $-\ln p$, at hidden positions only; compare it with the unigram
#   loss, not with 0.
# - The demo's model does not use the picture for colours: each colour occurs in only eleven training titles. It
#   does use the sound for materials.
# - A longer training, in which such words are hidden more often, finds the colour in more than four of ten titles by the
#   picture, and half of the materials by the sound.
# - Trained on colours, the demo's model begins to recognise them in unseen pictures: a gain of about 0.3 nats. A
#   modality helps if it *contains* the word and if training has enough different examples.
#
# ## Five questions
#
# 1. Why does MLM keep one chosen piece in ten unchanged, and still predict it?
# 2. A vocabulary has 1,620 pieces. What is the loss of uniform guessing? And of uniform guessing among 19 colours
#    only?
# 3. The demo's gain from the sound over *all* pieces is about 0. Why does that not prove that the sound is unused?
# 4. Why were both models trained on the same products, and why were both stopped at the same early step?
# 5. The title of a product without a picture is to be predicted. What does the model get in place of the picture,
#    under zero imputation?

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. So that the vector of a real, visible word must be useful: the model cannot see which visible words it will be asked
#    about. Titles in use contain no `[MASK]`.
# 2. $\ln 1620 = 7.39$ nats; $\ln 19 = 2.94$ nats.
# 3. It is a mean over all pieces, and few of them are about material. A gain of a quarter of a nat on these few is lost in
#    the mean. The column of the material words shows it.
# 4. Same products: so that the same titles are easy or hard for both, and the difference is due to the picture. Same
#    step: each model has its own best step; choosing it per model would compare two choices, not two inputs. The early
#    one is before the model without pictures gets worse, so it does not favour the picture.
# 5. The output of the picture's encoder for zeros: tokens that are present in the JCT and can be attended to, the same
#    for every product without a picture. There is no masked loss and no contrastive pair for it.
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures word_masking word_prediction context_gain
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
