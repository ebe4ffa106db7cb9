# %% [markdown]
# # 03 · One stream or two
#
# **The question.** A model gets a title, a table, a picture, a clip and a sound. Where do they meet: in
# every layer, in some layers, or only in the loss? What does each choice cost, and what does it permit?
#
# You will build, with real models on a real product:
# - the **attention masks** (注意力掩码) of a **single-stream model** (单流模型), a **two-stream model** (双流模型), a
#   two-tower model (双塔模型) and SCALE, *measured*, not just drawn;
# - the cost of each, by formula and by counting, against the number of tokens and modalities;
# - a table of the masking, matching and contrastive losses of the named systems (UNITER, ViLBERT, CLIP, …);
# - the reason why some of them can search a million products and others cannot;
# - the contrastive losses that came after SCALE, each on three products.
#
# Paper: section 2 (related work) and 4.1. Code: `scale/studies/systems/`. About 25 seconds.

# %%
import pandas as pd
import torch
from torch.nn.functional import scaled_dot_product_attention, softmax

import scale
from scale.notebook import approx, demo_run, samples, setup
from scale.studies import SYSTEMS, AttentionReach, build_system, count_parameters, layer_flops

setup(seed=0)

# %% [markdown]
# ## Small enough to check by hand
#
# A **token** (词元) is one vector of a sequence: a word piece of a title, a patch of a picture, a frame of a
# clip. With **attention** (注意力) a token *reads* others: each of them gets a share (all shares sum to 1),
# and the output is the mean of their vectors, weighted by these shares. The share grows with the dot
# product of the two.
#
# $$\text{out}_i = \sum_j a_{ij}\, x_j, \qquad a_{ij} = \frac{e^{x_i \cdot x_j}}{\sum_k e^{x_i \cdot x_k}}$$
#
# (A real layer first maps $x$ to queries, keys and values. We leave that out here.) A **mask** is a boolean
# table: which token *may* read which. A forbidden token gets the share 0.
#
# Take two words and two patches, with vectors of two numbers. Let the words read **only the patches**: the
# first word (1, 0) has the dot product 1 with the patch (1, 1), and 0 with the patch (0, 0). So its shares
# are e / (e + 1) = 0.73 and 0.27, and its output is 0.73 · (1, 1) + 0.27 · (0, 0) = (0.73, 0.73).

# %%
tokens_LD = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])  # 2 words, 2 patches


def attend(tokens_LD, may_LL):
    scores_LL = (tokens_LD @ tokens_LD.T).masked_fill(~may_LL, float("-inf"))
    return softmax(scores_LL, dim=1) @ tokens_LD


is_word_L = torch.tensor([True, True, False, False])
across_LL = is_word_L[:, None] != is_word_L  # words read patches, patches read words
inside_LL = ~across_LL  # words read words, patches read patches
out_LD = attend(tokens_LD, across_LL)
by_torch_LD = scaled_dot_product_attention(*[tokens_LD] * 3, across_LL, scale=1.0)
torch.testing.assert_close(out_LD, by_torch_LD)
out_LD

# %% [markdown]
# So three designs are three masks: *everything* (one stream), `inside` only (towers), `inside` and `across`
# in turn (two streams). How can we find the mask of a large model? We **change one token and check which
# outputs change**. Here we change the second patch (token 3).

# %%
changed_LD = tokens_LD.clone()
changed_LD[3] += 1.0
for name, may_LL in (("one stream", inside_LL | across_LL), ("towers", inside_LL)):
    differs_L = (attend(changed_LD, may_LL) != attend(tokens_LD, may_LL)).any(dim=1)
    assert torch.equal(differs_L, may_LL[:, 3])
    print(f"{name}: patch 2 changes the outputs of words {differs_L[:2].tolist()}")

# %% [markdown]
# The outputs that change are exactly the rows that may read column 3 of the mask. This test works on any
# model.
#
# ## Four schemes
#
# In the picture, a line in a box leads from a modality that is read (below) to the one that reads it
# (above).

# %%
scale.plot.streams()

# %% [markdown]
# Single-stream models mix everything in every layer, two-stream models alternate between *across* and *inside*,
# towers never mix and meet only in the loss. SCALE is a tower model below, where the contrastive losses act, and
# a single-stream model above, where the masked losses act.
#
# ## Four models of equal size, one batch
#
# The workbench contains all of them, built from the same blocks. `build_system` chooses the number of
# layers so that each has as many **parameters** (参数) as SCALE, within 5 %. `everywhere()` gives each of
# them all five modalities (the UNITER paper has text and image only).

# %%
run = demo_run()
test = run.dataset(samples(), "test")
NAMES = ("uniter", "vilbert", "clip", "scale_itself")
systems = {name: SYSTEMS[name].everywhere() for name in NAMES}
models = {name: build_system(systems[name], run.config, seed=0).eval() for name in NAMES}
row = int(test.present_NM.all(axis=1).argmax())  # the first product that lacks nothing
batch = test.collate([row])
for modality, tokens in batch.tokens.items():
    print(f"{modality}: {tokens.values.shape[1]} tokens")

# %% [markdown]
# One forward pass of each, on the same product. Each returns one vector of 64 numbers per token. The first
# token of each modality is [CLS], whose vector represents the whole modality.

# %%
rows, ours = [], count_parameters(models["scale_itself"])
for name, model in models.items():
    with torch.no_grad():
        output = model(batch)
    fused = output.fused if name == "scale_itself" else output
    assert [len(t[0, 0]) for t in fused.values()] == [run.config.model.width] * 5
    share, mega = count_parameters(model) / ours, scale.studies.counted_flops(model, batch) / 1e6
    assert abs(share - 1) <= 0.05
    title = systems[name].name
    rows.append(
        (title, systems[name].scheme, count_parameters(model), f"{share:.0%}", f"{mega:.0f}")
    )
columns = ["system", "scheme", "parameters", "of SCALE's", "million operations"]
pd.DataFrame(rows, columns=columns).set_index("system")

# %% [markdown]
# The number of parameters is the same, but UNITER needs five times as many operations as CLIP. We come back
# to this below.
#
# ## Which token reads which: measured on the models
#
# Now the test from above. To keep single tokens visible we use at most ten of each modality. We compute in
# double precision, so that "changed" and "rounding" are easy to tell apart. `run_with` runs a model on the
# product with some tokens replaced, and concatenates the outputs of the five modalities.

# %%
from copy import deepcopy
from dataclasses import replace

product = scale.studies.truncate_tokens(batch, row=0, most=10)


def run_with(model, values_by_modality):
    tokens = {m: replace(t, values=values_by_modality[m]) for m, t in product.tokens.items()}
    with torch.no_grad():
        output = deepcopy(model).double()(replace(product, tokens=tokens))
    fused = output if isinstance(output, dict) else output.fused
    return torch.cat([fused[m][0] for m in tokens])


# %% [markdown]
# First the slow way: change one patch of the picture, run the model again, and compare the outputs.


# %%
def changed_by_patch(model, patch):
    values = {m: t.values for m, t in product.tokens.items()}
    values |= {m: values[m].double() for m in ("image", "video", "audio")}
    before_LD = run_with(model, values)
    values["image"] = values["image"].clone()
    values["image"][0, patch] += torch.linspace(-1, 1, values["image"].shape[2])
    return (run_with(model, values) - before_LD).abs().amax(dim=1) > 1e-9


for name in ("uniter", "clip"):
    changed_L = changed_by_patch(models[name], patch=2)
    print(f"{systems[name].name}: {int(changed_L.sum())} of {len(changed_L)} outputs change")

# %% [markdown]
# In UNITER every output changes: all 45 tokens have read that one patch. In CLIP only the picture's own
# five do (four patches and [CLS]). The package does the same for all tokens in one batch: 45 copies of the
# product, with token $j$ changed in copy $j$. The two must agree.

# %%
reaches = {name: AttentionReach.of(models[name], product) for name in NAMES}
length = scale.studies.output_lengths(models["clip"], product)
patch_column = length["text"] + length["table"] + 1 + 2  # 1: the picture's [CLS]
for name in NAMES:
    slow_L = changed_by_patch(models[name], patch=2)
    assert slow_L.tolist() == reaches[name].whole[:, patch_column].tolist()
length

# %% [markdown]
# In the picture, a row is a token that reads, a column a token that is read. For each model it shows one
# layer of each kind, then the whole model from the first layer to the last.

# %%
scale.plot.attention_masks(list(reaches.values()))

# %% [markdown]
# Look at ViLBERT. *Cross-attention* (交叉注意力) fills the two corners that *self-attention* leaves empty, and a
# thin diagonal: each token keeps its own value (the residual connection). In no single layer does every
# token read every other. In the whole model it does, because layers are stacked: a word reads a patch that
# has read another word.
#
# That is a product of matrices of 0 and 1: $i$ reads $j$ if there is some $k$ between, with $i$ reading $k$
# in the later layer and $k$ reading $j$ in the earlier one. We check this for all four models, and check
# the schemes drawn above.

# %%
for name, scheme in zip(NAMES, scale.viz.schemes(), strict=True):
    layers = list(reaches[name].layers.values())
    assert (scale.studies.compose_reach(layers) == reaches[name].whole).all()
    owner_L = [m for m, count in length.items() for _ in range(count)]
    for drawn, layer_LL in ((scheme.first, layers[-2:][0]), (scheme.second, layers[-1])):
        rows_ML = pd.DataFrame(layer_LL, owner_L, owner_L).groupby(level=0, sort=False).any()
        measured_MM = rows_ML.T.groupby(level=0, sort=False).any().T
        assert (measured_MM.to_numpy() == drawn.reads_MM).all()
print(f"CLIP: {reaches['clip'].whole.mean():.0%} of the table, SCALE's encoders the same,")
print(f"SCALE after the JCT: {reaches['scale_itself'].whole.mean():.0%}")

# %% [markdown]
# ## The cost, by hand
#
# Attention compares every token with every token: $L$ tokens make $L^2$ pairs. The dot product of two
# vectors of $D$ numbers takes $D$ multiplications and $D$ additions: $2D$ **operations** (浮点运算, FLOP). The
# weighted mean of the vectors takes as many again. Together $4 L^2 D$. Count it for three tokens of two
# numbers, one operation at a time:

# %%
L, D = 3, 2
operations = 0
for _reader in range(L):
    for _read in range(L):
        operations += 2 * D  # the dot product
        operations += 2 * D  # share times vector, added to the mean
print(operations, 4 * L**2 * D)
assert operations == 4 * L**2 * D

# %% [markdown]
# A **Transformer layer** has more: four linear maps of each token (query, key, value, output), $8 L D^2$,
# and a feed-forward part of width $F = 4D$: $4 L D F = 16 L D^2$. In all:
#
# $$\text{layer}(L) = \underbrace{4 L^2 D}_{\text{attention}} + \underbrace{24\, L D^2}_{\text{all else}}$$
#
# So one part grows with the *square* of the length and the other linearly. Is the formula right? PyTorch
# can count the operations of a block while it runs.

# %%
from timm.models.vision_transformer import Block
from torch.utils.flop_counter import FlopCounterMode

for L in (8, 64, 512):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        Block(dim=64, num_heads=4)(torch.zeros(1, L, 64))
    formula = 4 * L**2 * 64 + 24 * L * 64**2
    assert counter.get_total_flops() == formula == layer_flops(L, width=64)
    print(f"{L:4d} tokens: {formula / 1e6:7.2f} million, attention {4 * L**2 * 64 / formula:.0%}")

# %% [markdown]
# The formula is exact. Note the last number: the share of attention is small while $L$ is small compared
# with $D$.
#
# Now $M$ modalities of $L$ tokens each. One stream has a sequence of $ML$ tokens: attention costs
# $4 (ML)^2 D$. Separate streams cost $M \cdot 4 L^2 D$. SCALE has the second cost in its encoders and the
# first in its JCT. The same for whole models:

# %%
inside, settings = scale.studies.output_lengths(models["clip"], batch), run.config.model
vectors = ("image", "video", "audio")
inputs = sum(2 * (inside[m] - 1) * settings.feature_size(m) * settings.width for m in vectors)
for name, system in systems.items():
    config, depth, poolers = run.config, 0, 5 * 2 * settings.width**2
    if name != "scale_itself":
        (config, depth), poolers = scale.studies.find_size(system, run.config), 0
    layers = scale.studies.design_flops(system, config.model, depth, inside)
    assert scale.studies.counted_flops(models[name], batch) == layers + inputs + poolers
    print(f"{system.name:8s} layers {layers / 1e6:5.1f} million, inputs {inputs / 1e6:.1f}")

# %% [markdown]
# Every operation is accounted for. (*Inputs*: the map from a patch, frame or sound vector to 64 numbers.
# SCALE has five more small maps, its poolers.) With the formula we can compute the cost of models that are
# too large to run here: of the size of the paper's model.

# %%
paper = scale.config.base()
lengths = {m: paper.model.length(m) for m in scale.MODALITIES}
designs = {design.system.name: design for design in scale.viz.sized_designs(paper)}
scale.plot.cost_by_length(list(designs.values()), paper_tokens=sum(lengths.values()) / 5)

# %% [markdown]
# Read it with care; two things are unexpected.
# - *Right:* the famous $M^2$ (dashed) is true of attention **alone**. At 64 tokens per modality and $D$ =
#   768, attention is a few per cent of a layer, so the whole layer (solid) grows almost like $M$. The
#   square hurts only with thousands of tokens.
# - *Left:* UNITER is still the most expensive, five times CLIP, even for *short* sequences. Why? **Each
#   parameter is used for every token.** A tower of CLIP works on its own modality's tokens; UNITER's 36
#   layers work on all five. With equal parameters, sharing them means more work. SCALE lies between.

# %%
five = {name: design.flops(64) for name, design in designs.items()}
attention = 4 * (5 * 64) ** 2 * 768 / layer_flops(5 * 64, 768)
print(f"attention's share of a layer over 5 x 64 tokens: {attention:.0%}")
for name, flops in five.items():
    print(f"{name:8s} {flops / 1e9:5.0f} GFLOP, {flops / five['CLIP']:.1f} times CLIP")
encoders, jct = 6 * 5 * layer_flops(64, 768), 6 * layer_flops(5 * 64, 768)
print(f"SCALE: encoders {encoders / 1e9:.0f} GFLOP, JCT {jct / 1e9:.0f} GFLOP")
assert attention < 0.1
assert five["SCALE"] == encoders + jct
assert five["UNITER"] > 4 * five["CLIP"] > five["SCALE"]

# %% [markdown]
# The two parts of SCALE show the same: its encoders have 30 layers of parameters (five times six), its JCT
# six, and both cost the same, because every parameter of the JCT works on five times as many tokens.
#
# ## The losses of each named system
#
# A design is more than a mask. The systems also differ in the tokens they **hide** (masked tokens: text
# MLM, table MEM, image MRP, video MFP, sound MAM), in whether they **match** (does this picture belong to
# another product?), and in whether they **contrast** (对比学习: the true partner must be closer than all
# others). This table is generated from the code.

# %%
rows = []
for s in SYSTEMS.values():
    hides = "+".join(task for task in s.loss_tasks if task != "contrastive") or "nothing"
    hides += " (one at a time)" * s.one_at_a_time
    match = "yes" * bool(s.match) + ", frame order" * s.frame_order or "no"
    contrast = {"": "no", "SCALE": "InfoNCE, ten pairs"}.get(s.contrast, s.contrast)
    rows.append((s.name, s.scheme, "+".join(s.modalities), hides, match, contrast))
columns = ["system", "scheme", "sees (its paper)", "hides", "matches", "contrasts"]
pd.set_option("display.max_colwidth", None)
pd.DataFrame(rows, columns=columns).set_index("system")

# %% [markdown]
# DALL-E is not in the table: it neither hides nor matches, it *generates* (last section). And none of these
# is the original. Most of the originals start from a pretrained BERT and an object detector, and were
# trained on millions of pictures or clips. For each system the code documents what is faithful and what is
# adapted:

# %%
notes = [(s.name, s.faithful, s.adapted) for s in SYSTEMS.values()]
notes = pd.DataFrame(notes[1:], columns=["system", "as in the paper", "adapted or left out"])
notes.set_index("system")

# %% [markdown]
# Now the tasks on one batch of the shop, masked and swapped as each system requires, with the losses of an
# **untrained** model of one layer. An empty cell means that the system has no such loss.

# %%
many, pieces = test.collate(list(range(48))), scale.losses.WordPieces.of(run.tokenizer)
losses = {}
for name in [name for name in SYSTEMS if name != "scale_itself"]:
    torch.manual_seed(3)
    system = SYSTEMS[name]
    masked = scale.losses.mask_batch(many, run.config.mask, pieces, (0,), system.loss_tasks)
    found = scale.studies.FusionModel(system, run.config, depth=1).objective(masked).losses
    losses[system.name] = {task: approx(value.item()) for task, value in found.items()}
pd.DataFrame.from_dict(losses, orient="index").fillna("")

# %% [markdown]
# Some of the values can be checked mentally. *Match* is a yes-or-no question, so guessing costs ln 2 =
# 0.69. *MLM* is a choice among 1620 word pieces: ln 1620 = 7.4. CLIP's loss is a choice among at most 48
# products: ln 48 = 3.9. UNITER has only one of MLM and MRP: each step hides either words *or* patches
# (chosen at random), never both, so that the hidden tokens can be inferred from the other modality, which
# is intact.

# %%
match = float(losses["ViLBERT"]["match"].strip("~"))
words = float(losses["VL-BERT"]["MLM"].strip("~"))
contrast = float(losses["CLIP"]["contrastive"].strip("~"))
assert abs(match - 0.69) < 0.25
assert abs(words - 7.39) < 1.0
assert abs(contrast - 3.87) < 0.6
assert ("MLM" in losses["UNITER"]) != ("MRP" in losses["UNITER"])

# %% [markdown]
# ## A million products
#
# A shop has a million pictures. A customer types a title. Which picture fits? The search is fast if the
# picture's feature **does not depend on the title**: then the features of all pictures can be computed once
# and stored. Does it depend on the title? We give the same picture ten different titles and compare its
# [CLS].

# %%
with_both = [k for k in range(len(test)) if test.present_NM[k, [0, 2]].all()][:10]
ten = test.collate(with_both).only(("text", "image"))
picture = ten.tokens["image"]
same = replace(picture, values=picture.values[:1].expand_as(picture.values))
ten = replace(ten, tokens=ten.tokens | {"image": same})
for name in ("uniter", "vilbert", "clip", "scale_itself"):
    with torch.no_grad():
        out = models[name](ten)
    cls_BD = (out.encoded if name == "scale_itself" else out)["image"][:, 0]
    spread = (cls_BD - cls_BD[0]).abs().max()
    assert (spread > 1e-2) if name in ("uniter", "vilbert") else (spread < 1e-5)
    print(f"{systems[name].name:8s} [CLS] moves with the title: {bool(spread > 1e-3)}")

# %% [markdown]
# This agrees with the masks: in CLIP and in SCALE's *encoders* the picture reads only itself. So its
# feature can be stored in an **index** (索引), and a search is one short forward pass for the title and a
# million dot products. UNITER and ViLBERT have to run every *pair* of title and picture. At the paper's
# size, on a machine with 100 TFLOP/s:

# %%
pair = {"text": lengths["text"], "image": lengths["image"] + 1}  # and [CLS]
count, per_second = 1_000_000, 100e12
for name in ("UNITER", "ViLBERT"):
    d = designs[name]
    work = count * scale.studies.design_flops(d.system, d.config, d.depth, pair)
    print(f"{name}: {work / per_second / 60:.1f} minutes for a query")
d = designs["CLIP"]
title = {"text": lengths["text"]}
towers = scale.studies.design_flops(d.system, d.config, d.depth, title) + count * 2 * 768
print(f"CLIP: {1e6 * towers / per_second:.0f} millionths of a second")
print(f"CLIP's index: {count * 768 * 4 / 1e9:.1f} GB")
assert work > 100_000 * towers

# %% [markdown]
# Minutes against less than a millisecond. This is why shops search with towers, and use a single-stream
# model only to reorder the first hundred hits, if at all (**reranking**, 重排序).
#
# An objection: run UNITER on the picture *alone* and store that. The code permits it. But no loss ever
# required the [CLS] of a single picture to be close to that of a single title. Our trained SCALE allows a
# test of both within one model: its encoders were trained with contrastive losses, its JCT to fill in
# masked tokens. So we search pictures by title twice: with the encoders' features, and with the [CLS] that
# the JCT computes for each modality alone. (Missing modalities are replaced by zeros, as for incomplete
# products in training.)

# %%
both = [k for k in range(len(test)) if test.present_NM[k, [0, 2]].all()]
titles, pictures = (test.collate(both).only((m,)) for m in ("text", "image"))
with torch.no_grad():
    alone = {"text": run.model(titles), "image": run.model(pictures)}


def recall_at_10(text_BD, image_BD):
    unit = torch.nn.functional.normalize
    cosine_BB = unit(text_BD, dim=1) @ unit(image_BD, dim=1).T
    rank_B = (cosine_BB > cosine_BB.diagonal()[:, None]).sum(dim=1)
    return (rank_B < 10).float().mean().item()


# %% [markdown]
# `recall_at_10`: the share of titles whose own picture is among the ten nearest. By chance it is 10 /
# number of pictures.

# %%
encoders = recall_at_10(alone["text"].pooled_BMD[:, 0], alone["image"].pooled_BMD[:, 2])
jct = recall_at_10(alone["text"].fused_pooled_BMD[:, 0], alone["image"].fused_pooled_BMD[:, 2])
chance = 10 / len(both)
print(f"{len(both)} products, chance {chance:.2f}")
print(f"contrasted (encoders): {approx(encoders)}")
print(f"not contrasted (JCT):  {approx(jct)}")
assert encoders > max(jct, chance) + 0.1
assert jct < chance + 0.1

# %% [markdown]
# The same model and the same products: with the features that the contrastive loss trains, a title finds
# its picture three times as often as by chance; one stage later, where only masked tokens are predicted, it
# is no better than chance. The mask *permits* search by towers; the contrastive loss *trains* it.
#
# ## A fair comparison
#
# Study `fusion` trains all of them with equal parameters, steps and batches, each five times with other
# seeds, on the sample shop. The measure is mAP@5 (notebook 14): it measures retrieval of other products of
# the same category. `held out` are all products that were not used for training.

# %%
file = samples().folder.parent / "figures" / "studies" / "fusion-data_samples.parquet"
records = scale.studies.read_records(file)
summary = scale.studies.summarise(scale.studies.STUDIES["fusion"](), records)
assert len(summary.outcomes) == 28
scale.plot.study_figure(summary)

# %% [markdown]
# A dot and its whisker are a mean over trainings and its interval. Overlapping whiskers do not settle the
# comparison, because both systems used the same seeds. So we look at the *differences*, SCALE minus the
# other system, on all five modalities. `over seeds` is the interval over trainings, `over products` the
# interval over test products, `over categories` the same for whole categories of products, because the
# products of one category are not independent. *Holm p* corrects for the 28 comparisons of the study, some of
# which would look significant by chance alone. We claim a result only if all three intervals lie on the same
# side of 0 and Holm p is at most 0.05.

# %%
rows = []
for outcome in summary.outcomes:
    claim, chance = outcome.comparison, f"{outcome.p_holm:.2f}"
    intervals = (outcome.seeds, outcome.products, outcome.categories)
    if claim.better["inputs"] == "text+table+image+video+audio":
        shown = [f"{e.value:+.3f} [{e.low:+.3f}, {e.high:+.3f}]" for e in intervals]
        rows.append((claim.worse["system"], claim.metric, *shown, outcome.verdict, chance))
columns = ["SCALE against", "metric", "over seeds", "over products", "over categories"]
columns += ["SCALE is better?", "Holm p"]
table = pd.DataFrame(rows, columns=columns).set_index(["SCALE against", "metric"])
verdict = table["SCALE is better?"]
assert set(verdict["UNITER"]) == set(verdict["ViLBERT"]) == {"supported"}
assert dict(verdict["MMT"]) == {"Recall@10": "supported", "mAP@5": "not decided"}
assert set(verdict["CLIP"]) == {"not decided"}
table.sort_index()

# %% [markdown]
# A careful reading:
# - SCALE is better than UNITER, ViLBERT and MMT in this race (against MMT in Recall@10 only: in mAP@5 the
#   intervals agree, but Holm p is 0.11). That is what the paper's design promises.
# - Against **CLIP the result is not decided**, and CLIP's means are the *higher* ones, at a lower cost (24
#   against 40 million operations in the table above). For retrieval, the contrastive loss is what matters
#   here. The benefit of the JCT must show elsewhere: where a hidden token has to be inferred from another
#   modality (notebooks 04 to 08).
# - On *two* modalities nothing is decided, and not all means are on SCALE's side: see the next cell.
# - The task is unfavourable to UNITER and ViLBERT: they have no contrastive loss, and 120 steps are too few
#   to learn matching. They were designed to be *fine-tuned* on pairs.
# - One small catalogue, nothing pretrained. It is evidence about the designs, not about the published
#   models.
#
# The systems of two modalities, each against SCALE on the same two:

# %%
rows = []
for outcome in summary.outcomes:
    claim, inputs = outcome.comparison, outcome.comparison.better["inputs"]
    if inputs.count("+") == 1 and claim.metric == "mAP@5":
        e = outcome.seeds
        shown = f"{e.value:+.3f} [{e.low:+.3f}, {e.high:+.3f}]"
        rows.append((claim.worse["system"], inputs, shown, outcome.verdict))
columns = ["SCALE against", "inputs", "mAP@5, over seeds", "SCALE is better?"]
pairs = pd.DataFrame(rows, columns=columns).set_index("SCALE against")
assert set(pairs["SCALE is better?"]) == {"not decided"}
assert pairs.loc["VideoBERT", "mAP@5, over seeds"].startswith("-")
pairs

# %% [markdown]
# ## DALL-E: meeting by generation
#
# DALL-E also belongs to the two-stream family of the talk, but its two sides meet in a third way: it
# **generates** the picture after the title, one token at a time. For that a picture must become *words*. A
# **codebook** (码本) is a list of small patches, each with a number; a picture is then the list of the
# numbers of its patches' nearest codes. (DALL-E learns 8,192 codes with a network; here 128 by k-means.)

# %%
train = [p for p in samples().split("train").products if p.image is not None][:100]
pictures = [scale.data.fit_image(scale.data.load_image(p.image), 64) for p in train]
codebook = scale.studies.PatchCodebook.fit(pictures, codes=128)
pixels_HWC = scale.data.fit_image(scale.data.load_image(test.products[row].image), 64)
ids_N = codebook.encode(pixels_HWC)
patch_F = pixels_HWC[:8, :8].astype("float32").reshape(-1) / 127.5 - 1  # first patch, by hand
distance_C = ((codebook.centre_CF - patch_F) ** 2).sum(axis=1)
assert distance_C.argmin() == ids_N[0]
print(f"{pixels_HWC.size} numbers become {len(ids_N)} words out of {len(codebook.centre_CF)}")

# %% [markdown]
# Then one Transformer predicts each token from those **before** it: first the title, then the picture. Such
# a mask is **causal** (因果). We measure it as before: change token $j$ and check which *predictions* change.

# %%
settings = scale.studies.GeneratorConfig(vocab_size=32, codes=128, text_length=12)
writer = scale.studies.ImageGenerator(settings)
title_1T = torch.arange(1, 13)[None]  # any twelve word pieces: the mask does not depend on them
reads_LL = scale.studies.generator_reach(writer, title_1T, torch.from_numpy(ids_N)[None])
earlier_LL = torch.ones(76, 76, dtype=torch.bool).tril(diagonal=-1).numpy()
assert (reads_LL == earlier_LL).all()
scale.plot.picture_words(pixels_HWC, codebook, reads_LL)

# %% [markdown]
# The mask is a triangle: the last patch may read the title and all 63 patches before it, the first patch
# only the title. Edges and small details are lost, because a code is the mean of many patches. How much
# does the title help such a model? `benchmarks/generator.py` trains a small one (two minutes) and measures
# bits per token of held-out pictures: with the own title, with another product's, and from the frequencies
# of the codes alone. [The findings](../docs/findings.md) list the result: almost all of the gain comes from
# the look of pictures, hardly any from the title, because the sample shop has far too few products.
#
# ## What came after SCALE
#
# In all of these designs the towers meet in a loss, and in SCALE this loss compares **pairs**: ten InfoNCE
# losses (notebook 01). Newer losses change one thing each. All of them are options of SCALE
# (`scale pretrain --loss.contrast gram`), and missing modalities leave them as they leave the pairs. Here is
# each of them on three products with text, picture and sound, whose features are three numbers of length 1.

# %%
z_BMD = torch.tensor([
    [[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.6, 0.0, 0.8]],  # a mug: text, picture, sound
    [[0.0, 1.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.8, 0.6]],  # a bell
    [[0.0, 0.0, 1.0], [0.0, 0.6, 0.8], [0.8, 0.0, 0.6]],  # a lamp
])  # fmt: skip
text_BD, image_BD, audio_BD = z_BMD.unbind(1)
pooled_BMD = torch.zeros(3, 5, 3)
pooled_BMD[:, [0, 2, 4]] = z_BMD
present_BM = torch.tensor([True, False, True, False, True]).expand(3, 5)
text_image = scale.modalities.PAIRS.index((0, 2))
cos_BB = text_BD @ image_BD.T
cos_BB

# %% [markdown]
# Row 1: the mug's text has cosine 0.8 with its own picture, 0.6 with the bell's and 0 with the lamp's.
#
# **SigLIP** (2023) drops the softmax. Each cell of this table is a yes-or-no question of its own, answered by a
# **sigmoid loss** (Sigmoid 损失): yes on the diagonal ($y$ = 1), no elsewhere ($y$ = −1), with a bias $b$ because
# there are so many more noes.
#
# $$L = \frac1B \sum_{a,b} \log\left(1 + e^{-y_{ab}\,(\cos_{ab} / t \,+\, b)}\right)$$

# %%
t, bias = 0.1, -5.0
sign_BB = 2 * torch.eye(3) - 1
by_hand = torch.log1p(torch.exp(-sign_BB * (cos_BB / t + bias))).sum() / 3
losses = scale.losses.siglip_losses(pooled_BMD, present_BM, t, bias)
torch.testing.assert_close(losses.mean_P()[text_image], by_hand)
print(f"SigLIP {by_hand:.3f}")

# %% [markdown]
# No logarithm contains a sum over the batch, so a huge batch can be computed in parts that do not wait for each
# other.
#
# **RINCE** (2022) is for catalogues with wrong pairs: a **robust loss** (鲁棒损失). With $s = \cos / t$ and the
# numbers $q$ and $\lambda$,
#
# $$L_a = -\frac{e^{q s_{aa}}}{q} + \frac{\left(\lambda \sum_b e^{s_{ab}}\right)^q}{q}$$
#
# The cell also measures the pull on an own pair that fits badly (logit −5, one other product at 0).

# %%
t, q, share = 0.3, 0.5, 0.1
s_BB = cos_BB / t
sums_2B = torch.stack([s_BB.exp().sum(1), s_BB.exp().sum(0)])  # both directions
by_hand = (-(q * s_BB.diagonal()).exp() / q + (share * sums_2B) ** q / q).mean()
losses = scale.losses.rince_losses(pooled_BMD, present_BM, t, q, share)
torch.testing.assert_close(losses.mean_P()[text_image], by_hand)

own = torch.tensor(-5.0, requires_grad=True)
info_nce = -own + (own.exp() + 1).log()
rince = -(q * own).exp() / q + (share * (own.exp() + 1)) ** q / q
pulls = [-torch.autograd.grad(loss, own)[0] for loss in (info_nce, rince)]
print(f"RINCE {by_hand:.3f}; pull on a misfit: InfoNCE {pulls[0]:.2f}, RINCE {pulls[1]:.2f}")

# %% [markdown]
# InfoNCE pulls hardest where a pair fits worst, which is right for hard pairs and wrong for wrong ones; RINCE
# gives such a pair up.
#
# The others leave pairs behind. If text and sound are coin flips and the picture shows whether they differ
# (XOR), all pairs are independent, and a loss of pairs can learn nothing. **Symile** (2024) therefore scores all
# modalities at once, by the **multilinear inner product** (多线性内积): multiply their vectors number by number and
# sum up. One modality after the other is the anchor, and its negatives combine modalities of other products:
#
# $$L_{a,\text{text}} = -\log \text{softmax}_b\left(\langle \text{text}_a, \text{image}_b, \text{audio}_{b+1} \rangle / t\right)_a$$

# %%
t = 0.5
names, terms = {"text": text_BD, "image": image_BD, "audio": audio_BD}, {}
positive_B = z_BMD.prod(1).sum(1)  # 1 * 0.8 * 0.6 = 0.48 for the mug
for anchor, anchor_BD in names.items():
    first_BD, second_BD = (v for name, v in names.items() if name != anchor)
    negative_BB = anchor_BD @ (first_BD * second_BD.roll(-1, 0)).T
    score_BB = torch.where(torch.eye(3).bool(), positive_B, negative_BB)
    logits_BB = 3**0.5 * score_BB / t  # times sqrt(D): see the docstring
    terms[anchor] = -logits_BB.log_softmax(1).diagonal().mean()
found_M = scale.losses.symile_losses(pooled_BMD, present_BM, t).mean_P()[[0, 2, 4]]
torch.testing.assert_close(found_M, torch.stack(list(terms.values())))
print("Symile", ", ".join(f"{anchor} {loss:.3f}" for anchor, loss in terms.items()))

# %% [markdown]
# With two modalities Symile is InfoNCE; with five, a product is a match only if all five agree, and one bad
# sound spoils it.
#
# **GRAM** (2025) replaces the cosine by a **volume** (体积): that of the box that the vectors span, the square root
# of the determinant of their **Gram matrix** (格拉姆矩阵) of cosines. It is 0 when they agree and 1 when they are
# orthogonal; the mug's is 1 · 0.6 · 0.8 = 0.48. Text is the anchor, against the rest of another product.
#
# $$L_a = -\tfrac12 \log \text{softmax}_b(-V(\text{text}_a, \text{rest}_b) / t)_a - \tfrac12 \log \text{softmax}_b(-V(\text{text}_b, \text{rest}_a) / t)_a$$

# %%
t, V_BB = 0.1, torch.zeros(3, 3)
for a in range(3):
    for b in range(3):
        vectors_MD = torch.stack([text_BD[a], image_BD[b], audio_BD[b]])
        V_BB[a, b] = torch.linalg.det(vectors_MD @ vectors_MD.T).clamp(min=0).sqrt()
by_hand = (-V_BB / t).log_softmax(1).diagonal() / -2 + (-V_BB / t).log_softmax(0).diagonal() / -2
losses = scale.losses.gram_losses(pooled_BMD, present_BM, t)
torch.testing.assert_close(losses.loss_BP[:, 0], by_hand, atol=1e-4, rtol=0)
V_BB

# %% [markdown]
# The mug's own volume, 0.48, is *not* the smallest of its row. The lamp's box has 0.36, because its sound has
# cosine 0.8 with the mug's text: one close pair is enough to flatten a box.
#
# **Contrastive fusion** (对比融合; ConFu, 2026) keeps the pairs and adds that each *fused* pair, a small learned
# network of two features, must find the third modality:
#
# $$L = (1 - \lambda) \sum_{i<j} L_{CL}(z_i, z_j) + \lambda \sum_{i<j} \sum_{k} L_{CL}(g_{ij}(z_i, z_j), z_k)$$
#
# Here the network is simply the sum of both vectors.

# %%
left, right = zip(*scale.modalities.PAIRS, strict=True)
fused_BPD = pooled_BMD[:, left] + pooled_BMD[:, right]
of_pairs = torch.stack([
    scale.losses.info_nce(a, b) for a, b in
    ((text_BD, image_BD), (text_BD, audio_BD), (image_BD, audio_BD))
])  # fmt: skip
of_triples = torch.stack([
    scale.losses.info_nce(a + b, c) for a, b, c in
    ((text_BD, image_BD, audio_BD), (text_BD, audio_BD, image_BD), (image_BD, audio_BD, text_BD))
])  # fmt: skip
losses = scale.losses.confu_losses(pooled_BMD, fused_BPD, present_BM, share=0.4).mean_P()
torch.testing.assert_close(losses.sum(), 0.6 * of_pairs.sum() + 0.4 * of_triples.sum())
print(f"ConFu {losses.sum():.3f}: pairs {of_pairs.mean():.3f}, triples {of_triples.mean():.3f}")

# %% [markdown]
# Two features together find the third modality more easily (0.93) than one finds another (1.72), and the pairs
# stay searchable.
#
# GRAM's gains were reported with a second change, **label smoothing** (标签平滑): the target gives a share $e$ to all
# candidates alike, so no pair is pushed to certainty. It fits every softmax, so here it is an option of its own
# (`--loss.label-smoothing 0.1`), and the study `contrast` separates the two.

# %%
logits_BB, e = cos_BB / 0.07, 0.1
target_BB = (1 - e) * torch.eye(3) + e / 3
both = [-(target_BB * logits_BB.log_softmax(d)).sum(d).mean() for d in (1, 0)]
losses = scale.losses.pair_losses(pooled_BMD, present_BM, 0.07, label_smoothing=e)
torch.testing.assert_close(losses.mean_P()[text_image], sum(both) / 2)
print(f"InfoNCE with smoothing {sum(both) / 2:.3f}")

# %% [markdown]
# Even with perfect features this loss would not fall to 0: it is lowest when the own candidate is ahead by a
# finite margin.
#
# ## Exercise 1
#
# LXMERT is the other two-stream model. In ViLBERT only the *words* have separate layers before the streams
# meet. In LXMERT both sides do. Which of its masks must look different from ViLBERT's? Measure it.

# %% tags=["solution"]
lxmert = build_system(SYSTEMS["lxmert"].everywhere(), run.config, seed=0)
words = length["text"] + length["table"]
for name, reach in (
    ("LXMERT", AttentionReach.of(lxmert, product)),
    ("ViLBERT", reaches["vilbert"]),
):
    own_LL = reach.layers["own"]
    assert own_LL[:words, :words].all()
    assert not own_LL[words:, :words].any()
    print(f"{name}: own layers fill {own_LL[words:, words:].mean():.0%} of perception's square")
# 4 %: the diagonal alone; each token of a picture, clip or sound keeps its own value.

# %% [markdown]
# ## Exercise 2
#
# At which length $L$ does attention, $4 L^2 D$, cost as much as the rest of a layer, $24 L D^2$? Solve for
# $L$, and give the number for the paper's $D$ = 768. How many pictures of 196 patches would that be in one
# stream?

# %% tags=["solution"]
L = 6 * 768  # 4 L^2 D = 24 L D^2 means L = 6 D
assert layer_flops(L, 768) == 2 * 4 * L**2 * 768
print(f"{L} tokens, {L / 196:.1f} pictures of 196 patches")

# %% [markdown]
# ## Exercise 3
#
# MMT puts clip and sound (here also the picture) into one stream, without the words. Without running it:
# which features can be stored before a customer types a title? Can the picture's be stored alone? Then
# check with its mask.

# %% tags=["solution"]
mmt = AttentionReach.of(build_system(SYSTEMS["mmt"].everywhere(), run.config, seed=0), product)
assert not mmt.whole[words:, :words].any()  # picture, clip and sound never read words
assert mmt.whole[words:, words:].all()
# Picture, clip and sound can be stored together: they do not read the title.
# But a picture's feature depends on the clip and the sound: when they change, run it again.
print(f"perception reads words: {mmt.whole[words:, :words].any()}")

# %% [markdown]
# ## What to remember
#
# - Designs differ in which tokens may read which: single-stream all in every layer, two-stream across and
#   inside in turn, towers only inside, SCALE inside (encoders), then all (JCT).
# - A mask can be measured: change a token and check which outputs change.
# - A layer costs $4 L^2 D + 24 L D^2$. The square matters only when $L$ is near $6D$; below that, the cost
#   is due to shared parameters that work on every token.
# - Features that depend on one modality only can be stored and searched. The mask permits it, the
#   contrastive loss trains it.
# - In our study SCALE beats UNITER, ViLBERT and MMT on five modalities; against CLIP nothing is decided.
# - Newer losses change the question (SigLIP), the trust in a pair (RINCE), or the number of modalities that are
#   compared at once (Symile, GRAM, ConFu).
#
# ## Five questions
#
# 1. In no layer of ViLBERT can a word read both other words and patches. How can the last layer's words
#    depend on everything?
# 2. Two models have the same number of parameters, and one needs five times the operations. How is that
#    possible?
# 3. With $M$ = 5 modalities of 64 tokens, attention alone costs 25 times as much in one stream as for one
#    modality. Why is this not true of the whole layer?
# 4. Why can SCALE be searched like a tower model although all tokens read each other in its JCT?
# 5. UNITER loses to CLIP in our study. Name two reasons why this says little about the published UNITER.
#
# <details><summary>Answers</summary>
#
# 1. Through several layers. In a layer with cross-attention a word reads patches; these patches have read other
#    patches before, and in a layer with self-attention the word reads other words that have read patches. The mask of
#    the whole model is the product of the masks of its layers.
# 2. Each parameter can be used for a different number of tokens. A tower uses its parameters for its own modality's
#    tokens only, a single stream uses all of its parameters for all five.
# 3. Attention is a small part of a layer at this length: $4 L^2 D$ against $24 L D^2$. The rest grows with the number
#    of tokens, five times. The square dominates only above $L = 6D$.
# 4. The search uses the features of the encoders, before the JCT. Each depends on its own modality only, so it can be
#    stored, and the contrastive losses train exactly these.
# 5. The published UNITER starts from a pretrained BERT and detector regions, is trained on millions of pairs, and is
#    then fine-tuned on retrieval with pairs of title and picture. Ours has no contrastive loss, is not fine-tuned, and
#    trains for 120 steps on one small catalogue.
#
# </details>
#
# ## Pictures for your slides
#
# ```
# scale figures streams attention_masks cost_by_length picture_words study_fusion
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms:
# [glossary](../docs/glossary.md).
