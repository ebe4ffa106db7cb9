# %% [markdown]
# # 10 · Pretraining: the whole objective, trained
#
# **The question.** Ten contrastive losses, five masked losses, one model. What happens in one step? How are the
# curves read? How is a run stopped and resumed? And what can be done if it does not learn?
#
# You will
# - see the architecture, with the shapes of the model at hand;
# - compute the total loss of one batch, term by term, and compare it with the package's;
# - write the training loop in a few lines, and reproduce the package's loss curve;
# - read every curve of a finished run;
# - stop a run, resume it, and compare the result bit by bit;
# - look at runs that do not learn, and at a table of symptoms and causes.
#
# Paper: sections 4.2 to 4.4. Code: `scale/losses/total.py`, `scale/training/`.

# %%
from dataclasses import replace

import torch

import scale
from scale.losses import mask_batch, pair_losses, scale_loss
from scale.notebook import approx, demo_run, html_table, samples, setup
from scale.training import Trainer, learning_rate

setup(seed=0)

# %% [markdown]
# ## The model, drawn from its config
#
# There are five encoders (编码器), one for each modality. Each puts a `[CLS]` token in front and returns tokens of the
# same width. The five `[CLS]` features enter the contrastive losses. All tokens together go through the **joint
# co-transformer** (联合协同 Transformer, JCT), and from its output the heads predict the hidden tokens.

# %%
run = demo_run()
parameters = sum(p.numel() for p in run.model.parameters())
scale.plot.architecture(run.config.model, parameters, "tiny")

# %% [markdown]
# Every number in the picture is read from `run.config.model`. Two paths leave the encoders. One arrow leads down from
# the five `[CLS]` (the dashed frame) to S and to the contrastive losses. The arrows to the right carry all tokens to
# the JCT. A masked loss that bypasses the JCT cannot use the other modalities: this is the first fault of the
# released code (notebook 15).
#
# ## One batch, term by term
#
# $$L = \sum_{i<j} L_{CL}(i, j) + \sum_i L_{M_i}$$
#
# Without the weights S′: uniform weights are the default here, because our studies found no gain from S′ (notebook
# 11). Notebook [09](09_score_matrix.ipynb) computes the sum with them. First the batch is corrupted: some tokens of
# every modality are hidden (notebooks 04 to 08).

# %%
train = run.dataset(samples(), "train")
pieces = scale.losses.WordPieces.of(train.tokenizer)
batch = train.collate(range(64))
masked = mask_batch(batch, run.config.mask, pieces, (0, 0), run.config.loss.tasks)
for m in scale.MODALITIES:
    tokens = masked.batch.tokens[m]
    hidden = int(masked.hidden[m].sum())
    print(f"{m:<6} {len(tokens.rows_R):>3} products, {hidden:>4} hidden tokens")

# %% [markdown]
# Now the model runs once. The contrastive losses read `pooled_BMD`, the masked losses `predictions`. (The capital
# letters at the end of a name are the axes of the tensor: B products of the batch, M modalities, D numbers of a feature,
# P pairs.) We take an *untrained* model, because the right size of every term is known for it in advance.

# %%
from torch.nn.functional import cross_entropy

model = run.untrained().eval()
with torch.no_grad():
    output = model(masked.batch, masked.hidden)
pairs = pair_losses(output.pooled_BMD, output.present_BM, 0.07, content_id_BM=batch.content_id_BM)
pair_P = pairs.mean_P()  # each: mean over the products that have both
words = cross_entropy(output.predictions["text"], masked.targets["text"])
guess = torch.log(torch.tensor(float(train.tokenizer.vocab_size)))
print(f"MLM {words:.1f}: guessing among {train.tokenizer.vocab_size} word pieces costs {guess:.1f}")
assert abs(words - guess) < 0.5

# %% [markdown]
# The loss of uniform guessing is the log of the number of word pieces. If the first MLM loss of a run is far from
# it, something is wrong before training begins. The same holds for each pair: with $n$ candidates, guessing costs
# $\log n$. (Products with the same content are excluded from each other's candidates, so $n$ is a little smaller
# than the number of products.) Now the package's loss, term by term:

# %%
found = scale_loss(output, masked, run.config.loss)
torch.testing.assert_close(found.losses["contrastive"], pair_P.sum())
torch.testing.assert_close(found.losses["MLM"], words)  # the mean over all hidden word pieces
total = sum(found.losses.values())
torch.testing.assert_close(found.total, total)
for name, value in found.losses.items():
    print(f"{name:<12}{value:6.2f}")

# %% [markdown]
# `contrastive` is a sum of ten, so it is much larger than the others. The masked losses are means over the hidden
# positions of the batch, so a product with a long title counts more in MLM. The picture shows all fifteen terms.

# %%
count_P = pairs.valid_BP.sum(0)
masked_losses = {name: float(v) for name, v in found.losses.items() if name != "contrastive"}
scale.plot.loss_terms(pair_P, count_P.log(), masked_losses)

# %% [markdown]
# Before training, every pair is at the black tick, which is guessing, or somewhat above it: the cosines of an untrained
# model differ at random, and a random preference is worse than none. A warning for later: the masked losses
# have different units (log of word pieces, squared distance), so their sizes cannot be compared with each other,
# only with their own initial values.
#
# ## The loop
#
# A training step: take a batch, mask it, predict, compute the loss and its gradient, clip the gradient, update the
# weights. In the package, everything random is in addition a function of (seed, step). So the same few lines,
# written by hand, must reproduce the package's numbers to the last digit.

# %%
settings = replace(run.config.train, steps=40, batch_size=16, device="cpu")
config = replace(run.config, train=settings)
model = scale.training.seeded_model(config).train()
groups = scale.training.parameter_groups(model, settings.weight_decay)
optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.98), fused=True)

# %% [markdown]
# The **learning rate** (学习率) rises for a tenth of the steps and then falls along a cosine. As a function of
# the step alone it can be drawn, tested, and resumed:

# %%
import math


def rate(step: int, steps: int, peak: float) -> float:
    warmup = max(1, round(0.1 * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak / 2 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


for step in (0, 3, 20, 39):
    assert rate(step, 40, 2e-3) == learning_rate(step, 40, 2e-3, 0.1)
    print(f"step {step:>2}: {rate(step, 40, 2e-3):.5f}")

# %% [markdown]
# And the step itself:


# %%
def one_step(step: int) -> float:
    torch.manual_seed(
        scale.seeding.derived_seed(settings.seed, scale.training.DROPOUT_STREAM, step)
    )
    rows = scale.training.batch_indices(len(train), settings.batch_size, settings.seed, step)
    masks = (settings.seed, scale.training.MASK_STREAM, step)
    masked = mask_batch(train.collate(rows), config.mask, pieces, masks, config.loss.tasks)
    loss = scale_loss(model(masked.batch, masked.hidden), masked, config.loss).total
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate(step, settings.steps, settings.learning_rate)
    optimizer.step()
    return loss.item()


# %% [markdown]
# Five steps by hand, and five by the package's `Trainer`, from the same start:

# %%
by_hand = [one_step(step) for step in range(5)]
trainer = Trainer(config, scale.training.seeded_model(config), train)
by_package = [trainer.train_step(step).loss.total.item() for step in range(5)]
torch.testing.assert_close(torch.tensor(by_hand), torch.tensor(by_package))
print("equal: five steps by hand and five by the package")

# %% [markdown]
# ## Reading the curves
#
# The demo's run has logged every tenth of its 450 steps, as one line of JSON each in `metrics.jsonl`.

# %% tags=["picture-varies"] varies="speed of the machine"
metrics = scale.training.read_metrics(run.folder.folder)
scale.plot.losses(run)

# %% [markdown]
# Panel by panel:
# - **total loss**: falls fast, then slowly; it is a sum of different quantities, so look at the parts.
# - **contrastive loss**: starts a little above the sum of ten $\log n$ and must fall below it in the first fifth.
# - **each masked loss**: relative to its own initial value. MLM and MEM fall quickly at first (common words), then
#   slowly.
# - **retrieval on validation**: the only panel in which *up* is good, and the one that chooses the checkpoint. Most of
#   the rise is over about half way, while the losses still fall.
# - **alignment and uniformity** (对齐性与均匀性): alignment is the mean squared distance of partners, uniformity measures
#   how evenly products spread (lower is more even). Here partners come only a little closer while products spread,
#   which is enough for retrieval. Uniformity going *up to 0* would be **collapse** (坍缩).
# - **gradient norm**: before clipping. It is above 1 all the time, so every step is clipped to length 1, and the
#   learning rate alone determines the step size. A sudden jump by a factor of ten would be a warning sign.
#
# The numbers behind these sentences. First the contrastive loss and the gradient norm:

# %%
logged = [line for line in metrics if "loss/contrastive" in line]
loss_of = {line["step"]: line["loss/contrastive"] for line in logged}
guess = float(count_P.log().sum())
below = next(step for step, loss in loss_of.items() if loss < guess)
print(f"contrastive loss: guessing costs about {guess:.0f}")
print(
    f"at step 10 {approx(loss_of[10], 0)}, at the end {approx(logged[-1]['loss/contrastive'], 0)}"
)
print(f"below guessing from step {approx(below, 0)}")
assert loss_of[10] > guess
assert below < 90
assert min(line["grad_norm"] for line in logged) > 1

# %% [markdown]
# And the validation beside the training loss. `MRR_above_chance` is the mean reciprocal rank of the partner, minus that
# of a random order; `best` is the checkpoint with its largest value.

# %%
import pandas as pd

validated = pd.DataFrame([line for line in metrics if "val/MRR_above_chance" in line])
validated = validated.set_index("step").filter(like="val/").rename(columns=lambda c: c[4:])
validated["contrastive"] = pd.Series(loss_of)
best = validated["MRR_above_chance"].idxmax()
print(f"best at step {approx(best, 0)} of 450")
html_table(validated.iloc[::2].map(approx))

# %% [markdown]
# Two halves: until step 250 the loss falls and retrieval rises. After it the loss falls further, from about 20 to 12, and
# retrieval hardly changes: what the model still learns holds for its 502 training products only. The best step is near
# the end all the same, because nothing gets worse. In a longer training it may (notebook 11 shows a model that
# memorises), so the checkpoint is chosen by validation and not by the loss.

# %%
half, end = (validated.loc[step] for step in (250, 450))
assert end["contrastive"] < 0.7 * half["contrastive"]
assert abs(end["MRR_above_chance"] - half["MRR_above_chance"]) < 0.02
assert half["MRR_above_chance"] > validated.loc[50, "MRR_above_chance"] + 0.03
assert validated["uniformity"].is_monotonic_decreasing
losses = [approx(row["contrastive"], 0) for row in (half, end)]
print(f"loss {losses[0]} -> {losses[1]}, {len(train)} training products")

# %% [markdown]
# ## Stopping and resuming, bit by bit
#
# A run of 8 steps, and one that is stopped after 4 and resumed, must end with the same weights, bit for bit. The
# checkpoint contains the weights, the optimizer state (AdamW's moments) and the step number. It needs no state of a
# random generator, because every step sets its own seed, and no position in the data, because the order is a
# function of the step.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

whole, stopped = (Trainer(config, scale.training.seeded_model(config), train) for _ in range(2))
for step in range(8):
    whole.train_step(step)
for step in range(4):
    stopped.train_step(step)
folder = TemporaryDirectory()
checkpoints = scale.training.CheckpointManager(Path(folder.name))
checkpoints.save_last(stopped.model, stopped.optimizer, scale.training.TrainState(step=4))
print(sorted(file.name for file in checkpoints.find("last").iterdir()))

# %% [markdown]
# A checkpoint is a folder: `safetensors` for tensors, JSON for the rest. There is no pickle: loading a file from
# someone else must not run their code. A new process would build a new model, load, and continue:

# %%
resumed = Trainer(
    config, scale.training.seeded_model(replace(config, train=replace(settings, seed=9))), train
)
_, state = checkpoints.restore(resumed.model, resumed.optimizer)
for step in range(state.step, 8):
    resumed.train_step(step)
for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
    assert torch.equal(a, b)
print(f"{parameters:,} numbers, equal in every bit")
folder.cleanup()

# %% [markdown]
# On the command line this is `scale pretrain ... --resume`. The tests also stop a run with `kill -9`.
#
# ## When it does not learn
#
# The first test of any model is **overfitting one batch** (过拟合一个批次): `scale doctor` runs it. A model that fails it
# has a bug; more data will not help. Here are a healthy run and faulty ones on one batch of 32 products, with the
# contrastive loss only, 25 steps each.

# %%
one = scale.studies.complete_products(train, 32)
curves = {
    name: scale.studies.contrastive_curve(run.config, one, **fault)
    for name, fault in scale.studies.FAILURE_MODES.items()
}
scale.studies.FAILURE_MODES

# %% [markdown]
# The last one is the most deceptive: the five modalities of different products are mixed up, so nothing belongs
# together. (A sorting error in a data pipeline does this.) One *fixed* mix could be memorised too; a new mix at
# each step, as with new data, cannot.

# %%
curves[scale.studies.SHUFFLED_MODALITIES] = scale.studies.shuffled_curve(run.config, one)
scale.plot.broken_runs(curves, floor=math.log(32))

# %% [markdown]
# The dashed line is guessing among 32. The healthy run leaves it within ten steps. Three of the faulty ones stay
# *on* it and look the same: a learning rate so high that all features become equal (collapse), a rate so low that
# nothing changes in 25 steps, and data in which nothing belongs together. **One symptom, three causes**: the curve
# alone does not distinguish them, the checks in the table below do. With a high temperature the loss leaves the
# line but cannot fall far: with cosines between -1 and 1, its softmax cannot be sharp.

# %%
ends = {name: values[-1] for name, values in curves.items()}
guess = math.log(32)
assert curves["healthy"][9] < 0.8 * guess
assert ends["healthy"] < 0.5 * guess
for name in list(curves)[1:]:
    assert ends[name] > 0.6 * guess, name
{name: approx(value, 1) for name, value in ends.items()}

# %% [markdown]
# | symptom | likely cause | check |
# |---|---|---|
# | loss NaN at once | learning rate, fp16, a NaN in the features | `scale inspect`; the error names the step |
# | contrastive loss stays at $\log n$ | pairs do not belong together; rate; temperature | overfit one batch: `scale doctor` |
# | it stays there, and uniformity goes to 0 | collapse: rate too high, weights with flowing gradient | the log warns; notebook 01 |
# | training loss falls, validation does not improve | overfitting: too few products, too many steps | validation panel; more data, more masking |
# | a masked loss does not move | its modality is missing, or its head is cut off | count of hidden tokens; gradients (notebook 15) |
# | good losses, bad retrieval | duplicates in the test; wrong denominators | notebooks 14, 15 |
# | everything is good at once | leak between the splits | `scale inspect` counts leaks |
#
# ## Monitoring a run
#
# A panel shows the losses, validation and S′ of one run. With `live=True` it also follows a run that
# `scale pretrain` is training in another process. Move the slider, or press play for a replay. Learning rate,
# gradient norm and everything else logged: `tensorboard --logdir RUN`.

# %%
scale.explore.TrainingMonitor(run.folder.folder, live=False)

# %% [markdown]
# Move the slider to step 250 and to the end: the loss falls on, the validation panel hardly changes.
#
# ## Exercise 1: the best possible loss
#
# What is the smallest possible contrastive loss of one pair with temperature 2 and 32 candidates, if the
# true partner has cosine 1 and all others -1? Compare with the picture. Then compare a contrastive loss (sum of ten) of
# 20 in batches of 64 with one of 10 in batches of 16: how many candidates are left on average, $e^{L/10}$?

# %% tags=["solution"]
lowest = -math.log(math.exp(0.5) / (math.exp(0.5) + 31 * math.exp(-0.5)))
print(f"at best {lowest:.2f}, guessing {math.log(32):.2f}")
assert min(curves["temperature 2 instead of 0.07"]) > lowest
for n, loss in ((64, 20), (16, 10)):
    rest = math.exp(loss / 10)
    guess = 10 * math.log(n)
    print(f"{n} products: guessing {guess:.1f}, {rest:.1f} candidates left, 1 in {n / rest:.1f}")

# %% [markdown]
# ## Exercise 2: weight decay
#
# Weight decay (权重衰减) pulls parameters towards 0. Which parameters of the model does the package exclude from
# it, and how many numbers are they? (Look at `groups`.)

# %% tags=["solution"]
decayed, free = (sum(p.numel() for p in group["params"]) for group in groups)
print(f"with decay {decayed:,}, without {free:,}: vectors, embeddings, learned tokens")
assert decayed + free == parameters

# %% [markdown]
# ## What to remember
#
# - Before training, the size of every contrastive and word loss is known: $\log n$ for guessing. Check it first.
# - The contrastive loss is one number for ten pairs; look at the pairs when it stalls.
# - Every step is a function of (seed, step), so runs can be stopped anywhere and compared bit by bit.
# - A model that cannot overfit one batch has a bug.
# - Losses can fall while retrieval does not improve: validation chooses the checkpoint.
#
# ## Five questions
#
# 1. Why is the first MLM loss near the log of the vocabulary, and what would a first loss of 30 indicate?
# 2. Two runs have contrastive losses of 20 and 10, with batches of 64 and 16. Which one is better?
# 3. Why does the checkpoint contain the optimizer state, but no random state?
# 4. Why can a run with modalities mixed up still reach loss 0 on one fixed batch?
# 5. The total loss of run A is lower than that of run B, but its retrieval is worse. Name two reasons.

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. An untrained model gives every word piece about the same probability, $1/V$, which costs $\log V$ (7.4 here). A first
#    loss of 30 is far *worse* than guessing: the model is sure of wrong words, e.g. because its initial weights are too
#    large or the targets are shifted by one position.
# 2. They cannot be compared as they are: guessing costs 41.6 in batches of 64 and 27.7 in batches of 16. The first has
#    7.4 of 64 candidates left on average (1 in 8.7), the second 2.7 of 16 (1 in 5.9), so the first has narrowed them
#    down further (solution of exercise 1). Only an evaluation on the same products decides.
# 3. AdamW's moments depend on all steps before, so they must be stored. The random numbers of a step depend on the seed
#    and the number of the step only, so they can be drawn again.
# 4. A fixed mix is a fixed assignment: title 1 belongs to picture 7, and so on. It can be memorised like the right one.
#    A batch that can be overfitted proves that the gradient flows, not that the pairs belong together.
# 5. The total mixes quantities: A may have lower masked losses and a higher contrastive loss, or fewer tasks, or smaller
#    batches, in which guessing is cheaper. Or A has memorised its training products: its loss is lower there, and
#    retrieval on other products is not better.
#
# </details>

# %% [markdown]
# ## Pictures for your slides
#
# ```
# scale figures architecture loss_terms losses scores_over_time broken_runs
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. All terms: [glossary](../docs/glossary.md).
