# %% [markdown]
# # 06 · Masked entities: MEM
#
# **The question.** A table says `Material: stainless steel`. If "steel" is hidden and "stainless" is shown, the
# task is trivial. What must be hidden in a table so that the model learns something? And which modality reveals
# it: the picture, the clip, the sound?
#
# **Masked entity modelling** (掩码实体建模, MEM) is the **pretext task** (代理任务) of the table. You will build:
# - a table as pairs, and its word pieces with the number of their **entity** (实体);
# - masking of whole attributes and whole values, by hand and by the package;
# - a measurement of the leak when only single pieces are hidden;
# - a matrix of which **modality** (模态) helps with which attribute, for a short and for a longer training.
#
# Paper: section 4.2. Code: `scale/data/tokenizer.py`, `scale/losses/masking.py`,
# `scale/studies/masked_probe.py`.

# %%
import numpy as np
import pandas as pd
import torch

import scale
from scale import exercises
from scale.notebook import approx, approx_estimate, demo_data, demo_run, html_table, setup
from scale.studies import NOTHING, RECORD_ATTRIBUTES, gains, mask_entities, predict, score_masked

setup(seed=0)

# %% [markdown]
# ## A table is a list of pairs
#
# An **attribute-value pair** (属性-值对) consists of a name and a value: `Material` and `stainless steel`. Each of
# the two is an *entity*. The table becomes one sequence: attribute, `:`, value, `;`, and so on. Every piece also
# gets the number of its entity: 0 for the first attribute, 1 for its value, 2 for the second attribute... So
# attributes are even and values are odd. `:`, `;`, `[CLS]` and `[SEP]` are structure, number -1. (Axes at the end of a
# name, as in all notebooks: `ids_NL` has N tables of L pieces, `entity_L` a number for each of L pieces.)

# %%
run, train, test = demo_run(), demo_data("train"), demo_data("test")
tokenizer = run.tokenizer
pairs = (("Material", "stainless steel"), ("Full length", "26 cm"))
ids_NL, padding_NL, entity_NL = scale.data.encode_tables(tokenizer, [pairs], length=64)
pieces = tokenizer.convert_ids_to_tokens(ids_NL[0].tolist())
pd.DataFrame([pieces, entity_NL[0].tolist()], ["piece", "entity"])

# %% [markdown]
# The encoder distinguishes them too: attributes and values have different *segment* embeddings, like the two
# sentences in BERT.
#
# ## Hiding an entity
#
# MEM chooses entities, not pieces. A chosen entity is hidden as a whole. The 80/10/10 draw of notebook 05 is made
# **once per entity**: all its pieces become `[MASK]`, or all become random pieces, or all stay. By hand, first
# the choice, with one coin toss per entity:


# %%
def hide_entities_slowly(ids_L, entity_L, chosen):
    """Ids in which every piece of the chosen entities is [MASK], and where that is."""
    shown_L, hidden_L = ids_L.clone(), torch.zeros_like(ids_L, dtype=torch.bool)
    for place, entity in enumerate(entity_L.tolist()):
        if entity in chosen:
            shown_L[place], hidden_L[place] = tokenizer.mask_token_id, True
    return shown_L, hidden_L


ids_L, entity_L = torch.tensor(ids_NL[0]).long(), torch.tensor(entity_NL[0])
for chosen in ([1], [0], [1, 2]):
    shown_L, _ = hide_entities_slowly(ids_L, entity_L, chosen)
    print(chosen, " ".join(tokenizer.convert_ids_to_tokens(shown_L.tolist())[1:-1]))

# %% [markdown]
# Hiding entity 1 asks "what is its material?". Hiding entity 0 asks "stainless steel: which attribute is that?".
# Both occur in training.
#
# Now the package. We mask the test tables fifty times, pick a different table each time, and let our function
# hide the entities that the package chose. Both must arrive at the same ids. (Here with `[MASK]` only.)

# %%
from dataclasses import replace

batch, known = test.collate(range(len(test))), scale.losses.WordPieces.of(tokenizer)
tokens, always = batch.tokens["table"], replace(run.config.mask, mask_share=1, random_share=0)
for row in range(50):
    masked = scale.losses.mask_batch(batch, always, known, (row,), ("MEM",))
    entity_L, hidden_L = tokens.entity_RL[row], masked.hidden["table"][row]
    assert not hidden_L[entity_L < 0].any()  # structure is never hidden
    chosen = set(entity_L[hidden_L].tolist())
    slow_L, slow_hidden_L = hide_entities_slowly(tokens.values[row], entity_L, chosen)
    torch.testing.assert_close(masked.batch.tokens["table"].values[row], slow_L)
    torch.testing.assert_close(hidden_L, slow_hidden_L)  # whole entities, nothing else
print("50 tables: the package hides the same pieces as the slow function")

# %% [markdown]
# Is the draw really made once per entity? Then either all of its pieces are `[MASK]`, or none.

# %%
fates_seen = set()
for draw in range(10):
    masked = scale.losses.mask_batch(batch, run.config.mask, known, (draw,), ("MEM",))
    shown_RL, hidden_RL = masked.batch.tokens["table"].values, masked.hidden["table"]
    for row, number in {(r, int(tokens.entity_RL[r, p])) for r, p in hidden_RL.nonzero().tolist()}:
        is_mask = shown_RL[row][tokens.entity_RL[row] == number] == tokenizer.mask_token_id
        fates_seen.add("all [MASK]" if is_mask.all() else "some" if is_mask.any() else "no [MASK]")
print(sorted(fates_seen))
assert fates_seen == {"all [MASK]", "no [MASK]"}

# %% [markdown]
# ## Exercise: hide whole entities
#
# Write the choice yourself, with one random number per entity. Then run the check below the function; the solution is
# folded.


# %% tags=["exercise"]
def hide_entities(ids_L, entity_L, rate, mask_id, generator):
    """Hide each entity, as a whole, with probability `rate`; return (shown_L, hidden_L).

    entity_L: number of each piece's entity; -1: structure or padding, never hidden.
    hidden_L: True at hidden pieces. shown_L: mask_id there, the ids elsewhere.
    generator: for torch.rand(..., generator=generator).
    """
    raise NotImplementedError


# %% tags=["exercise-check"]
exercises.check_entity_mask(hide_entities)


# %% tags=["solution"]
def hide_entities(ids_L, entity_L, rate, mask_id, generator):
    """Hide each entity, as a whole, with probability `rate`."""
    draw_E = torch.rand(int(entity_L.max()) + 1, generator=generator)  # one number per entity
    hidden_L = (draw_E < rate)[entity_L.clamp(min=0)] & (entity_L >= 0)
    return ids_L.masked_fill(hidden_L, mask_id), hidden_L


exercises.check_entity_mask(hide_entities)

# %% [markdown]
# ## The leak when single pieces are hidden
#
# Here is one table masked in three ways. In the first row single pieces are hidden, as in MLM. Cover the
# picture's other rows and try: most of the blue boxes can be filled in from their neighbours.

# %%
table = (("Material", "powder-coated steel"), ("Care", "dry after use"), ("Full length", "26 cm"))
ids_NL, _, entity_NL = scale.data.encode_tables(tokenizer, [table], length=64)
ids_L, entity_L = torch.tensor(ids_NL[0]).long(), torch.tensor(entity_NL[0])
single_L = torch.isin(torch.arange(len(ids_L)), torch.tensor([3, 6, 10, 12, 15, 18]))
single = (ids_L.masked_fill(single_L, tokenizer.mask_token_id), single_L)
whole = hide_entities_slowly(ids_L, entity_L, {1, 5}), hide_entities_slowly(ids_L, entity_L, {2})
scale.plot.masking_schemes(*(scale.viz.fates(tokenizer, ids_L, *way) for way in (single, *whole)))

# %% [markdown]
# How large is the leak? This can be measured without a model. Take the values of two or more pieces in the test
# tables, hide one piece, and search the *training* tables: which piece occurred most often with the same other
# pieces? Compare this with a prediction that uses nothing of the value: the most frequent piece at that position,
# for that attribute. Sellers use three names per attribute; these are merged.

# %%
from collections import Counter, defaultdict

FAMILIES = {
    "material": ("Material", "Made of", "Main material"),
    "care": ("Care", "Cleaning", "Care instructions"),
    "design": ("Feature", "Design", "Highlight"),
    "size": ("Size", "Longest side", "Dimensions"),
}


def questions(data, names):
    """(the value's other pieces, the hidden piece) for each piece of the longer values."""
    values = [v for p in data.products for name, v in p.table or () if name in names]
    for spelled in filter(lambda pieces: len(pieces) > 1, map(tokenizer.tokenize, values)):
        yield from (((*spelled[:k], "_", *spelled[k + 1 :]), x) for k, x in enumerate(spelled))


# %% [markdown]
# `leak` looks up by the other pieces, `blind` by the position of the hidden piece and the length of the value.
# Combinations that never occurred in training count as wrong.


# %%
def share_right(names, key):
    """How often the training tables' most frequent answer to `key` is right on the test tables."""
    seen = defaultdict(Counter)
    for others, piece in questions(train, names):
        seen[key(others)][piece] += 1
    best = {k: counter.most_common(1)[0][0] for k, counter in seen.items()}
    return np.mean([best.get(key(o)) == piece for o, piece in questions(test, names)])


found = defaultdict(dict)
for name, names in FAMILIES.items():
    found[name]["leak"] = share_right(names, lambda others: others)
    found[name]["blind"] = share_right(names, lambda others: (others.index("_"), len(others)))

# %% [markdown]
# How often is the hidden piece right, on the test tables?

# %%
assert all(
    found[name]["leak"] > found[name]["blind"] + 0.3 for name in ("material", "care", "design")
)
pd.DataFrame(found).T.round(2)

# %% [markdown]
# For a material, a care instruction or a design, the other pieces reveal nearly everything, without any knowledge
# of the product. (Not for a size: "cm" does not determine the number.) A model trained this way would learn
# spelling: "stainless" goes with "steel". With whole values hidden this shortcut is closed; what remains is the
# rest of the table and the **other modalities**. That is the purpose of MEM.
#
# ## The loss, and two models
#
# It is the cross-entropy of notebook 05, over all pieces of all hidden entities. For a value of two pieces
# there are two positions, and both count:
#
# $$L_{MEM} = -\frac{1}{N}\sum_{n=1}^{N} \ln p_n, \qquad p_n: \text{probability of the piece that was there}$$

# %%
masked = mask_entities(test, FAMILIES["material"])
logits_NV = predict(run.model, masked, "table")
loss = -logits_NV.softmax(1)[torch.arange(len(logits_NV)), masked.targets["table"]].log().mean()
torch.testing.assert_close(loss, scale.losses.masked_token_loss(logits_NV, masked.targets["table"]))
print(len(masked.batch), "tables with a material, loss of its value:", approx(loss))

# %% [markdown]
# Now two questions, for colour, material and size class: the value hidden, and the attribute hidden. They are put to the
# demo and to the longer training of notebook 05. Title, picture, clip and sound are present or not; the rest of the
# table is always shown. The rows `all` to `audio` are the gains: by how much the loss is lower with these modalities
# (all of them, or one), with 95 % intervals over products.

# %%
longer, longer_test = scale.notebook.masked_run(words=True), scale.notebook.masked_data("test")
asked_of = {"colour": ("Colour", "Color", "Shade"), "material": FAMILIES["material"],
            "size class": ("Size class", "Format", "Shipping class")}  # fmt: skip


def table_gains(one, data, attribute):
    """By kind of value: loss without other modalities, gains of the others, share of right ones."""
    rows = {}
    for name, names in asked_of.items():
        hidden = mask_entities(data, names, attribute=attribute)
        found = score_masked(one.model, hidden, "table", len(data))
        losses = {context: answer.loss_P for context, answer in found.items()}
        right = {c: scale.evaluation.estimate(answer.correct_P) for c, answer in found.items()}
        rows[name] = (np.nanmean(losses["none"]), gains(losses), right)
    return rows


# %% [markdown]
# First the demo, values and attributes:

# %%
columns = {}
for attribute in (False, True):
    for name, (loss, gain, _) in table_gains(run, test, attribute).items():
        shown = {m: approx_estimate(e, 2) for m, e in gain.items() if m != "other products"}
        kind = "attribute" if attribute else "value"
        columns[f"{name}: {kind}"] = {"loss": approx(loss), **shown}
        assert abs(gain["all"].value) < 0.1
html_table(pd.DataFrame(columns))

# %% [markdown]
# The demo's model gains almost nothing from any modality: a few hundredths of a nat. Its loss for a colour is about that
# of uniform guessing ($\ln 1620 = 7.39$). The reason is that of notebook 05, only worse: an attribute has three names,
# a material has three words in tables ("stainless steel", "powder-coated steel", "steel 18/10"), only half of all
# tables name it, and the demo had 456 tables. The longer training had several descriptions of each product:

# %%
columns, gained = {}, {}
for name, (loss, gain, right) in table_gains(longer, longer_test, False).items():
    shown = {f"gain: {m}": approx_estimate(e, 2) for m, e in gain.items()}
    share = {f"right: {c}": approx_estimate(right[c], 2) for c in ("none", "image", "audio", "all")}
    columns[f"{name}: value"] = {"loss": approx(loss), **shown, **share}
    gained[name] = gain
assert gained["colour"]["image"].low > 0.1
assert gained["material"]["audio"].low > 0.1
assert max(abs(e.value) for e in gained["size class"].values()) < 0.2
print(sum(p.table is not None for p in train.products), "training tables of the shop")
html_table(pd.DataFrame(columns))

# %% [markdown]
# The **colour** of a table becomes easier with the picture, the **material** with the sound, and another product's
# modalities help with neither. The **size class** needs no other modality: the rest of the table, with lengths and
# weights, reveals it; its loss is the lowest of the three.
#
# In such tables the rest of the table helps too, and every value has several names. To see *which modality* reveals
# *which attribute*, we need a cleaner experiment.
#
# ## Training on five attributes
#
# We give each product a short table from the shop's record: colour, material, pattern, size class, brand, one
# word each. In training **all five values are hidden at once**. So the table itself contains no answer, and all
# information must come from the other modalities. In each step a coin toss decides for each of the other
# modalities whether it is shown. So one model learns to predict with any of them, and with none. The model starts from
# the demo.

# %%
record_train, record_test = (
    scale.studies.with_record_tables(train),
    scale.studies.with_record_tables(test),
)
product = record_test.products[3]
print(product.id, "·", product.text)
masked_test = mask_entities(record_test, RECORD_ATTRIBUTES)
print(
    " ".join(tokenizer.convert_ids_to_tokens(masked_test.batch.tokens["table"].values[3].tolist()))
)
pd.DataFrame(product.table, columns=["attribute", "value"])

# %% [markdown]
# One hundred steps of 64 products. (The loop is the one of notebook 05.) This is the slow cell: 15 to 20 seconds.

# %%
tuned = scale.studies.fine_tune_on_tables(run, record_train, steps=100)
print(len(record_train), "training tables,", len(record_test), "test tables")

# %% [markdown]
# First one product of the test tables: its material, with nothing shown, with the picture, with the sound.
# `asked` selects which of the hidden values to predict.

# %%
row = int(record_test.present_NM.all(axis=1).argmax())  # the first product that lacks nothing
one = mask_entities(record_test, RECORD_ATTRIBUTES, rows=[row], targets=["Material"])
shown = {
    "nothing": NOTHING,
    "the picture": scale.studies.Context(("image",)),
    "the sound": scale.studies.Context(("audio",)),
}
guesses = {}
for name, context in shown.items():
    logits_NV = predict(tuned, scale.studies.in_context(one, "table", context), "table")
    guesses[name] = scale.studies.top_tokens(logits_NV[0], tokenizer)
material = dict(record_test.products[row].table)["Material"]
assert dict(guesses["the sound"])[material] > dict(guesses["nothing"])[material]
scale.plot.top_predictions(record_test.products[row], "Material: ____", guesses, material)

# %% [markdown]
# With nothing shown the model predicts the frequency of each material in the shop, the best possible prediction
# without information. The picture changes little. With the sound, the right material gains.
#
# ## Which modality helps with which attribute?
#
# Now all test products, each attribute alone, each modality alone. Every cell of the matrix is the loss with
# nothing shown minus the loss with that modality, on the products that have it. On the left is the demo's model
# before, on the right after this training. Both are evaluated on the same tables. **Brand** is the control: no
# modality shows it, so a valid measurement must find hardly anything there.


# %%
def attribute_gains(model):
    """By attribute, the gain of each modality alone and of all."""
    contexts, found = scale.studies.default_contexts("table"), {}
    del contexts["other products"]
    for name in RECORD_ATTRIBUTES:
        asked = mask_entities(record_test, RECORD_ATTRIBUTES, targets=[name])
        results = score_masked(model, asked, "table", len(record_test), contexts)
        found[name] = gains({m: result.loss_P for m, result in results.items()})
    return found


# %% [markdown]
# `default_contexts` contains the empty context, all other modalities, and each modality alone. Now both models,
# and the picture:

# %%
before, after = attribute_gains(run.model), attribute_gains(tuned)
scale.plot.before_and_after(before, after)

# %% [markdown]
# Read it row by row. **Material** is audible: a knock on steel does not sound like one on wood. The title helps
# as well, because it often names it. **Size class** is audible too: large things sound low. The sound helps a
# little with **colour**, although a colour makes no sound: steel things are often silver, wooden things brown, so
# the material contains information about the colour. **Brand**: hardly anything, as it should be.
#
# On the left the numbers are so small that the control shows the noise level: 0.03 for the brand, with an
# interval that excludes 0. (An interval over products does not include the variation between trainings.) A number
# that is not clearly above that is not a finding.
#
# On the right, two more seeds (outside of this notebook) gave the same: the sound 0.33 and 0.35 for the material,
# 0.28 and 0.29 for the size class; the brand never more than 0.03; the picture 0.02 and -0.02 for the colour.
#
# And the picture? Here it hardly helps with colour. In the small training of notebook 05 it did, where only the colour was predicted
# and the picture was always shown. Here there are five questions, and a picture in every second step: the easier
# sources, sound and title, were learned first. It does not prove that the picture contains no information. (`all`
# can be lower than one modality alone: it is measured on all products, including those without a sound.)

# %%
assert after["Material"]["audio"].low > 0.1
assert after["Material"]["text"].low > 0
assert after["Size class"]["audio"].low > 0
assert max(abs(e.value) for e in after["Brand"].values()) < 0.15
print("material, gain of the sound:", approx_estimate(after["Material"]["audio"], 2))
print("brand, gain of the sound:   ", approx_estimate(after["Brand"]["audio"], 2))

# %% [markdown]
# How many predictions are right? The baseline is the most frequent value.

# %%
rows = {}
for name in RECORD_ATTRIBUTES:
    asked = mask_entities(record_test, RECORD_ATTRIBUTES, targets=[name])
    contexts = {"dark": NOTHING, "all": scale.studies.EVERYTHING}
    results = score_masked(tuned, asked, "table", len(record_test), contexts)
    right = {c: scale.evaluation.estimate(result.correct_P) for c, result in results.items()}
    rows[name] = {c: approx_estimate(e, 2) for c, e in right.items()}
titles = {"dark": "right, nothing shown", "all": "right, all shown"}
html_table(pd.DataFrame(rows).T.rename(columns=titles))

# %% [markdown]
# ## A product without other modalities
#
# What if a product has only a table? The demo's policy is zero imputation (零插补): a missing modality is replaced
# by its encoder's output for zeros. The prediction must not fail, and it must be the same for tables that look
# the same, because there is no other input. Do all test tables look the same? Their values are all hidden...

# %%
bare = mask_entities(record_test, RECORD_ATTRIBUTES, targets=["Material"])
logits_NV = predict(tuned, scale.studies.in_context(bare, "table", NOTHING), "table")
looks = [tuple(ids) for ids in bare.batch.tokens["table"].values.tolist()]
for look, logits_V in zip(looks, logits_NV, strict=True):
    first_V = logits_NV[looks.index(look)]
    torch.testing.assert_close(logits_V, first_V, atol=1e-3, rtol=1e-3)
print(len(looks), "tables with", len(set(looks)), "different looks:")
for look in dict.fromkeys(looks):
    print(" ", " ".join(tokenizer.convert_ids_to_tokens(look)[1:]).split(" [SEP]")[0])
long = {dict(p.table)["Pattern"] for p, look in zip(record_test.products, looks, strict=True)
        if look.count(tokenizer.mask_token_id) > 5}  # fmt: skip
print("patterns of the longer ones:", long)

# %% [markdown]
# There are two variants! "two-tone" has three pieces, so it is replaced by three `[MASK]`s, and their number
# reveals the pattern. MEM hides the content of a value, not its length: a small leak that remains. (It is the
# same with and without the other modalities, so it cancels in every gain above.)

# %% [markdown]
# Hiding an entity that no table contains is an error:

# %%
try:
    mask_entities(record_test, ["Taste"])
except ValueError as error:
    print(error)

# %% [markdown]
# ## Exercise: another product's sound
#
# Is it the *content* of the sound, or the presence of a sound at all? Predict the material once more, with the
# sound of another product. What should the loss be, compared with no sound?
# (`Context(("audio",), other_products=True)`)

# %% tags=["solution"]
asked = mask_entities(record_test, RECORD_ATTRIBUTES, targets=["Material"])
contexts = {
    "nothing": NOTHING,
    "own sound": scale.studies.Context(("audio",)),
    "another product's sound": scale.studies.Context(("audio",), other_products=True),
}
results = {
    n: m.loss_P for n, m in score_masked(tuned, asked, "table", len(record_test), contexts).items()
}
heard_P = ~np.isnan(results["own sound"])
for name, loss_P in results.items():
    print(f"{name}: {approx(loss_P[heard_P].mean())}")
assert gains(results, than="another product's sound")["own sound"].low > 0.1
assert gains(results, than="nothing")["another product's sound"].value < 0
# Its own sound helps, another product's is worse than silence: the model trusts its input.

# %% [markdown]
# ## Exercise: how much to hide
#
# The demo hides half of all entities in training. Measure the loss of MEM of both models on the test tables for rates
# of 15, 30, 50 and 80 %, everything else shown, with `product_losses`. Is 15 % much easier than 80 %? What does this
# show about how well they use a table?

# %% tags=["solution"]
sweep, context = {}, {"all": scale.studies.EVERYTHING}
for rate in (0.15, 0.3, 0.5, 0.8):
    mask = replace(run.config.mask, rate=rate)
    found = {}
    for name, one, data in (("demo", run, test), ("longer", longer, longer_test)):
        loss = scale.studies.product_losses(one.model, data, "table", mask, context, draws=2)
        found[name] = np.nanmean(loss["all"])
    sweep[f"{rate:.0%}"] = {name: approx(value) for name, value in found.items()}
    assert found["longer"] < found["demo"]
pd.DataFrame(sweep).T.rename_axis("rate")
# The demo's curve is nearly flat: it uses little of the rest of the table. It has learned how often
# each piece occurs, and to distinguish values from attributes. The longer training reads the rest.

# %% [markdown]
# ## What to remember
#
# - A table is a list of pairs of entities. MEM hides whole attributes or whole values, never single pieces.
# - Single pieces leak: the rest of the value reveals the answer, and the model would learn spelling. (The length
#   of a hidden value still shows.)
# - The demo's model gains a few hundredths of a nat from other modalities: too few tables, too many names for one thing.
# - A longer training, in which such values are hidden more often, predicts a colour by the picture and a material by the
#   sound.
# - After training on five attributes it recognises material and size by the sound and uses the title; the brand,
#   which no modality shows, stays unknown. Which modality helps depends on the attribute: that is the purpose of
#   a joint model.
#
# ## Five questions
#
# 1. Why is the 80/10/10 draw made once per entity and not once per piece?
# 2. Attributes have even numbers, values odd ones. Which pieces have -1, and why must they never be hidden?
# 3. Why is the brand in the matrix, although no gain is expected there?
# 4. A colour makes no sound. How can the sound help to predict it?
# 5. In training all five values were hidden at once. What would the matrix have shown if the other four had
#    stayed visible?

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. With a draw per piece, one piece of a value could stay or become random while the other is hidden: "stainless
#    [MASK]" reveals "steel". All pieces of an entity must have the same fate, or the rest of the value leaks.
# 2. `:`, `;`, `[CLS]` and `[SEP]`, and padding. They are the same in every table, so predicting them teaches nothing, and
#    without them the boundaries of the pairs would be lost.
# 3. As a control. No modality shows the brand, so whatever the measurement finds there is its error: the size of a gain
#    that does not count.
# 4. Through the material, which is audible: steel things are often silver, wooden ones natural in colour.
# 5. Then the other values of the record would have been a source: a material determines the colour in part. A gain of the
#    sound would be smaller, since the table itself reveals some of the same.
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures whole_value_masking entity_prediction entity_context
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
