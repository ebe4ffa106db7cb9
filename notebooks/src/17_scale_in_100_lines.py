# %% [markdown]
# # 17 · SCALE in 100 lines
#
# **The question.** The paper has one figure and two formulas, the package has thousands of lines. How much of it is
# SCALE itself? Could you write it all on one page?
#
# Here is that page, in plain PyTorch: five encoders (编码器), the joint co-transformer, the heads, the masking, the scores
# S and S′, ten contrastive and five masked losses, the weights and the total. No model and no loss is imported from
# the package. Then you will
# - load the trained weights of the demo into these lines, by name;
# - check every output, each of the fifteen losses and every gradient against the package;
# - train these lines beside the package's own trainer, from the same weights, on the same batches;
# - see all the lines on one page, and change one of them.
#
# Paper: section 4. Code: this page; in the package `scale/model/` and `scale/losses/`. About 50 seconds.

# %%
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

import scale
from scale.losses import mask_batch, scale_loss
from scale.notebook import approx, demo_run, samples, setup
from scale.training import Trainer, batch_indices, learning_rate

setup(seed=0)
run = demo_run()

# %% [markdown]
# The package first: how long are the files of its model and its losses?

# %%
package = Path(scale.__file__).parent
length = {
    room: sum(len(file.read_text("utf-8").splitlines()) for file in (package / room).glob("*.py"))
    for room in ("model", "losses")
}
assert sum(length.values()) > 2000
f"{approx(sum(length.values()) / 1000, 1)} thousand lines"

# %% [markdown]
# Most of them serve other purposes: public models inside the encoders, five other contrastive losses, several policies
# for missing modalities, speed, large batches, checks, documentation. What remains is the method, and it is short.
#
# ## The names
#
# The demo's model has the structure of the paper's and small sizes: they are the first lines. (Cells that belong to
# the page begin with the comment `# SCALE`.)
#
# **How to read the names.** The capital letters at the end of a tensor's name are its axes: **B** products of
# a batch, **M** the five modalities, **L** tokens, **D** the width of a token, **N** hidden tokens of the batch, **F**
# the numbers of a vector, **G** groups of tokens, **K** kinds of random numbers. So `pooled_BMD` has a vector of D
# numbers for each modality of each product.

# %%
# SCALE · sizes
MODALITIES = ("text", "table", "image", "video", "audio")
LENGTH = {"text": 32, "table": 64, "image": 4, "video": 8, "audio": 32}  # tokens
FEATURES = {"image": 336, "video": 189, "audio": 40}  # numbers in a patch, frame, stretch of sound
WIDTH, HEADS, LAYERS, PIECES, MASK = 64, 4, 2, 1620, 4  # PIECES: size of the vocabulary

# %% [markdown]
# ## What goes in
#
# The catalogue gives each modality of a batch as `Tokens`, with a row for each product. Three facts that are easily
# confused are three tensors: `has_B` (the product *has* the modality), `real_BL` (the position holds a token and not
# *padding*), and `hidden_BL` (the token was *hidden* by a pretext task).


# %%
@dataclass
class Tokens:
    values: torch.Tensor  # ids_BL of word pieces or vectors_BLF; 0 where there are none
    clean: torch.Tensor  # the values before any was hidden
    has_B: torch.Tensor  # the product has the modality
    real_BL: torch.Tensor  # not padding, with [CLS]; True everywhere where it is missing
    hidden_BL: torch.Tensor  # to be predicted
    group_BL: torch.Tensor  # tokens of one group are hidden together; -1: never
    segment_BL: torch.Tensor  # 1 at the values of a table


# %% [markdown]
# And a batch of products:


# %%
@dataclass
class Products:
    tokens: dict[str, Tokens]
    both_BMM: torch.Tensor  # the product has both modalities; diagonal: has it
    content_BM: torch.Tensor  # equal numbers: equal contents; -1: missing


# %% [markdown]
# ## The encoders
#
# Everything is a **Transformer**: layers of attention and of a small network for each token. How attention works is
# computed by hand in notebook 03; here we take PyTorch's. There are two variants. In BERT (2018) the normalisation
# comes *after* each part of a layer, in ViT (2020) *before* it, with one more at the end.


# %%
# SCALE · transformer
def transformer(norm_first, eps):
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", eps, True, norm_first)
    last = nn.LayerNorm(WIDTH) if norm_first else None
    return nn.TransformerEncoder(layer, LAYERS, last, enable_nested_tensor=False)


# %% [markdown]
# **Words** (text, table): a token is the sum of three vectors, for its word piece, its position and its segment (in a
# table 0 for attributes, 1 for values). The first token is [CLS].
#
# Note `* t.has_B`: where a product lacks the modality, the word vectors become zeros, and the zeros go through the
# encoder like words. This is the paper's **zero imputation** (零插补), one multiplication.


# %%
# SCALE · encoder of words
class WordEncoder(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.word, self.segment = nn.Embedding(PIECES, WIDTH), nn.Embedding(2, WIDTH)
        self.position = nn.Parameter(torch.zeros(LENGTH[m], WIDTH))
        self.norm = nn.LayerNorm(WIDTH, 1e-12)
        self.layers = transformer(norm_first=False, eps=1e-12)

    def forward(self, t):
        word_BLD = self.word(t.values) * t.has_B[:, None, None]  # missing: zeros
        x_BLD = self.norm(word_BLD + self.position + self.segment(t.segment_BL))
        return self.layers(x_BLD, src_key_padding_mask=~t.real_BL)


# %% [markdown]
# **Vectors** (image, video, audio): a linear map brings each patch, frame or stretch of sound to the width of the
# model. Hidden ones are replaced by a learned vector, and a learned [CLS] is put in front. Missing ones are zeros
# already.


# %%
# SCALE · encoder of vectors
class VectorEncoder(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.project = nn.Linear(FEATURES[m], WIDTH)
        self.cls_token, self.mask_token = (nn.Parameter(torch.zeros(WIDTH)) for _ in range(2))
        self.position = nn.Parameter(torch.zeros(LENGTH[m] + 1, WIDTH))
        self.layers = transformer(norm_first=True, eps=1e-6)

    def forward(self, t):
        x_BLD = torch.where(t.hidden_BL[:, :, None], self.mask_token, self.project(t.values))
        x_BLD = torch.cat([self.cls_token.expand(len(x_BLD), 1, WIDTH), x_BLD], dim=1)
        return self.layers(x_BLD + self.position, src_key_padding_mask=~t.real_BL)


# %% [markdown]
# **Five towers**: an encoder for each modality, and a linear map (the *pooler*) from its [CLS] to the feature $f_i$.
# With a contrastive loss on two of these features we would have CLIP.


# %%
# SCALE · five towers
class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        kinds = {m: VectorEncoder if m in FEATURES else WordEncoder for m in MODALITIES}
        self.encoders = nn.ModuleDict({m: kind(m) for m, kind in kinds.items()})
        self.poolers = nn.ModuleDict({m: nn.Linear(WIDTH, WIDTH) for m in MODALITIES})

    def forward(self, tokens):
        encoded = {m: self.encoders[m](tokens[m]) for m in MODALITIES}
        pooled = [self.poolers[m](encoded[m][:, 0]) for m in MODALITIES]
        return encoded, torch.stack(pooled, dim=1)  # pooled_BMD: f_1 .. f_5


# %% [markdown]
# ## The heads, and the joint co-transformer
#
# A **head** (预测头) maps the output at a hidden position to a prediction: the numbers of a vector, or a logit for each
# word piece. The weights of its last map are then the word vectors of the encoder, a choice of BERT (*weight
# tying*): to predict "mug" is to point at the vector of "mug".


# %%
# SCALE · heads
def make_head(m, encoder):
    last = nn.Linear(WIDTH, FEATURES.get(m, PIECES))
    last.weight = last.weight if m in FEATURES else encoder.word.weight
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.LayerNorm(WIDTH), last)


# %% [markdown]
# In the **joint co-transformer** (联合协同 Transformer, JCT) the five sequences become one. Each gets the vector of its
# modality added, all are concatenated, every token reads every other, and the sequence is cut into five again. The
# heads read *this* output. That is why a picture can help to guess a word.


# %%
# SCALE · joint co-transformer
class Scale(Towers):
    def __init__(self):
        super().__init__()
        self.modality = nn.ParameterDict({m: nn.Parameter(torch.zeros(WIDTH)) for m in MODALITIES})
        self.jct = transformer(norm_first=True, eps=1e-6)
        self.heads = nn.ModuleDict({m: make_head(m, self.encoders[m]) for m in MODALITIES})

    def forward(self, tokens):
        encoded, pooled_BMD = super().forward(tokens)
        x_BLD = torch.cat([encoded[m] + self.modality[m] for m in MODALITIES], dim=1)
        real_BL = torch.cat([tokens[m].real_BL for m in MODALITIES], dim=1)
        lengths = [encoded[m].shape[1] for m in MODALITIES]
        parts = self.jct(x_BLD, src_key_padding_mask=~real_BL).split(lengths, dim=1)
        return pooled_BMD, dict(zip(MODALITIES, parts, strict=True))


# %% [markdown]
# ## Do the trained weights fit?
#
# The model is complete. The demo's weights are stored under the package's names, which differ from ours for two
# reasons: a BERT of `transformers` and a ViT of `timm` each have names of their own for the same layer, and BERT keeps
# the maps to query, key and value apart. So we rename, and concatenate these three.

# %%
RENAME = {
    "bert.embeddings.": "", "bert.encoder.layer": "layers.layers",
    "stack.blocks": "layers.layers", "stack.norm": "layers.norm", "jct.layers": "jct",
    "word_embeddings": "word", "position_embeddings.weight": "position",
    "token_type_embeddings": "segment", "jct.modality_embedding": "modality",
    "attention.self.query.": "self_attn.in_proj_", "attn.qkv.": "self_attn.in_proj_",
    "attention.output.dense": "self_attn.out_proj", "attn.proj": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1", "output.LayerNorm": "norm2", "LayerNorm": "norm",
    "intermediate.dense": "linear1", "output.dense": "linear2", "mlp.fc": "linear",
    "transform.": "", "heads.table.bias": "heads.table.3.bias",
    "heads.text.bias": "heads.text.3.bias",
}  # fmt: skip
RENAME |= {f"heads.{m}.project": f"heads.{m}.3" for m in FEATURES}


# %% [markdown]
# The package's tensors by our names:


# %%
def our_weights(theirs):
    found = {}
    for name, tensor in theirs.items():
        if ".query." in name:  # BERT: three maps, one after the other
            parts = (theirs[name.replace("query", part)] for part in ("query", "key", "value"))
            tensor = torch.cat(list(parts))
        elif ".key." in name or ".value." in name:
            continue
        for old, new in RENAME.items():
            name = name.replace(old, new)
        found[name] = tensor.squeeze()
    tied = {f"heads.{m}.3.weight": found[f"encoders.{m}.word.weight"] for m in ("text", "table")}
    return found | tied


# %% [markdown]
# `load_state_dict` raises an error if one weight is missing, left over or of another shape. So this is a first proof:
# the two models consist of the same weights.

# %%
config = replace(run.config, loss=replace(run.config.loss, weight_on="loss"))
assert config.model.vocab_size == PIECES
model = Scale()
model.load_state_dict(our_weights(run.model.state_dict()))
count = sum(p.numel() for p in model.parameters())
assert count == sum(p.numel() for p in run.model.parameters())
print(f"{count:,} numbers, all of them loaded by name")

# %% [markdown]
# (`weight_on="loss"` switches the weights S′ on. The package's default is uniform weights, because our studies found
# no gain from S′: notebook 11.)
#
# ## The data: a row for each product
#
# The package stores only the modalities that exist. We spread their rows over all products and to full length, so what
# is missing becomes a row of zeros. The last lines form the groups for masking: single tokens, but in a table whole
# attributes and whole values.


# %%
def read(t, has_B, m):
    def spread(x_RL, fill):
        x_BL = x_RL.new_full((len(has_B), LENGTH[m], *x_RL.shape[2:]), fill)
        x_BL[t.rows_R, : x_RL.shape[1]] = x_RL
        return x_BL

    values, empty_BL = spread(t.values, 0), spread(t.padding_RL, True)
    real_BL = nn.functional.pad(~empty_BL | ~has_B[:, None], (int(m in FEATURES), 0), value=True)
    if m == "text":
        empty_BL |= torch.isin(values, SPECIAL)
    group_BL = torch.arange(LENGTH[m]).expand_as(empty_BL).masked_fill(empty_BL, -1)
    group_BL = spread(t.entity_RL, -1).long() if m == "table" else group_BL
    segment_BL = (m == "table") * (group_BL >= 0) * (group_BL % 2)
    return Tokens(values, values, has_B, real_BL, empty_BL & False, group_BL, segment_BL)


# %% [markdown]
# One batch of 64 products, as the package's trainer takes it in its first step. How much is missing?

# %%
kept = {run.tokenizer.unk_token_id}
SPECIAL = torch.tensor(sorted(set(run.tokenizer.all_special_ids) - kept))
train = run.dataset(samples(), "train")


def read_batch(batch):
    columns = zip(MODALITIES, batch.present_BM.T, strict=True)
    tokens = {m: read(batch.tokens[m], has_B, m) for m, has_B in columns}
    both_BMM = batch.present_BM[:, :, None] & batch.present_BM[:, None, :]
    return Products(tokens, both_BMM, batch.content_id_BM)


first_batch = train.collate(batch_indices(len(train), 64, seed=0, step=0))
clean = read_batch(first_batch)
{m: f"{t.has_B.float().mean():.0%}" for m, t in clean.tokens.items()}

# %% [markdown]
# ## The masking
#
# Half of the groups are hidden here (in the paper 15 %). Their number is rounded up or down at random, and it is at
# least one; then those with the smallest random numbers are chosen. Words get a fate: 80 % become [MASK], 10 % a random word
# piece, and 10 % stay as they are, so that the model cannot rely on seeing [MASK]. (The special pieces come first in
# the vocabulary; they are never drawn.)


# %%
# SCALE · masking
def hide(t, draw_KBG, rate=0.5):
    exists_BG = (t.group_BL[:, :, None] == torch.arange(64)).any(dim=1)
    count_B = (rate * exists_BG.sum(dim=1) + draw_KBG[0, :, 0]).floor().clamp(min=1)
    rank_BG = draw_KBG[1].masked_fill(~exists_BG, 2.0).argsort(dim=1).argsort(dim=1)
    chosen_BG, group_BL = exists_BG & (rank_BG < count_B[:, None]), t.group_BL.clamp(min=0)
    hidden_BL = chosen_BG.gather(1, group_BL) & (t.group_BL >= 0)
    if t.values.is_floating_point():
        return replace(t, hidden_BL=hidden_BL)  # the encoder puts its mask token there
    random_BL = 5 + (draw_KBG[3, :, : group_BL.shape[1]] * (PIECES - 5)).long()
    fate_BL = draw_KBG[2].gather(1, group_BL)
    new_BL = torch.where(fate_BL < 0.8, MASK, torch.where(fate_BL < 0.9, random_BL, t.values))
    return replace(t, values=torch.where(hidden_BL, new_BL, t.values), hidden_BL=hidden_BL)


# %% [markdown]
# The random numbers `draw_KBG` are those of the package: a function of seed, step and modality, so that both hide the
# same tokens. Do they?


# %%
def hide_all(products, step):
    tokens = {}
    for k, (m, t) in enumerate(products.tokens.items()):
        seed = config.train.seed, scale.training.MASK_STREAM, step, k, 0
        draw_KBG = torch.rand(4, len(t.values), 64, generator=scale.seeding.generator("cpu", *seed))
        tokens[m] = hide(t, draw_KBG)
    return replace(products, tokens=tokens)


# %% [markdown]
# The same batch, masked by both:

# %%
products = hide_all(clean, step=0)
pieces, stream = scale.losses.WordPieces.of(run.tokenizer), (0, scale.training.MASK_STREAM, 0)
masked = mask_batch(first_batch, config.mask, pieces, stream, config.loss.tasks)
for m, t in products.tokens.items():
    assert torch.equal(t.clean[t.hidden_BL], masked.targets[m])
    if m not in FEATURES:
        assert torch.equal(t.values, read_batch(masked.batch).tokens[m].values)
{m: f"{int(t.hidden_BL.sum())} hidden" for m, t in products.tokens.items()}

# %% [markdown]
# The same tokens, exactly, and the same random words in their places.
#
# ## The scores S and S′
#
# $$S_{ij} = \cos(f_i, f_j), \qquad S'_{ij} = S_{ij} \cdot \text{softmax}_j(S_{ij})$$
#
# For each product a table of 5 × 5. The softmax runs over the modalities that the product has.


# %%
# SCALE · scores S and S'
def scores(pooled_BMD, both_BMM):
    unit_BMD = normalize(pooled_BMD, dim=2)
    cosine_BMM = (unit_BMD @ unit_BMD.mT).masked_fill(~both_BMM, 0.0)
    share_BMM = cosine_BMM.masked_fill(~both_BMM, -1e9).softmax(dim=2)
    return cosine_BMM, share_BMM, cosine_BMM * share_BMM


# %% [markdown]
# The first product of the batch that lacks nothing, with the trained weights:

# %%
with torch.no_grad():
    pooled_BMD, fused = model(products.tokens)
cosine_BMM, share_BMM, S_BMM = scores(pooled_BMD, products.both_BMM)
complete = int(products.both_BMM.all(dim=(1, 2)).nonzero()[0, 0])
one = [x_BMM[complete].numpy() for x_BMM in (cosine_BMM, share_BMM, S_BMM)]
scale.plot.score_matrices(*one, products.both_BMM[complete].diagonal().numpy())

# %% [markdown]
# The diagonal of S is always 1, so the diagonal of S′ is only the modality's share of the softmax (notebook 09).
#
# ## The losses
#
# **Ten contrastive losses**, one for each pair of modalities: given the feature $f_i$ of a product, find its
# $f_j$ among those of all products of the batch, and the other way round (InfoNCE, notebook 01). Two kinds of products
# are no candidates: those that lack $j$, and those with the same content as this product.


# %%
# SCALE · contrastive loss
def contrast(products, pooled_BMD, i, j):
    id_B2, own_BB = products.content_BM[:, [i, j]], torch.eye(len(pooled_BMD)).bool()
    copy_BB = ((id_B2[:, None] == id_B2) & (id_B2 >= 0)).any(dim=2)
    unit_BMD, loss_B = normalize(pooled_BMD, dim=2), 0
    for a, b in ((i, j), (j, i)):
        candidate_BB = products.both_BMM[:, b, b] & ~copy_BB | own_BB
        logits_BB = (unit_BMD[:, a] @ unit_BMD[:, b].T / 0.07).masked_fill(~candidate_BB, -1e9)
        loss_B = loss_B - logits_BB.log_softmax(dim=1).diagonal() / 2
    return loss_B


# %% [markdown]
# **Five masked losses**: predict what was hidden, a word piece by cross-entropy, a vector by its mean squared
# error. Each hidden token has the weight of its product.


# %%
# SCALE · masked loss
def predict(t, head, fused_BLD, weight_B):
    predicted_NF = head(fused_BLD[:, -t.hidden_BL.shape[1] :][t.hidden_BL])  # without the [CLS]
    target_N = t.clean[t.hidden_BL]
    if target_N.is_floating_point():
        loss_N = (predicted_NF - target_N).square().mean(dim=1)
    else:
        loss_N = cross_entropy(predicted_NF, target_N, reduction="none")
    return (weight_B[t.hidden_BL.nonzero()[:, 0]] * loss_N).mean()


# %% [markdown]
# **The weights**: S′ without gradient (`detach`), without negative values (`clamp`), divided by its mean: that of
# the ten pairs above the diagonal, and that of the diagonal. Why these three? Notebook 09 switches each of them off.


# %%
# SCALE · weights
def weights(S_BMM, both_BMM):
    S_BMM = S_BMM.detach().clamp(min=0.0)
    own_MM, pair_MM = torch.eye(5).bool(), torch.ones(5, 5).triu(1).bool()
    means = S_BMM[both_BMM & own_MM].mean(), S_BMM[both_BMM & pair_MM].mean()
    return S_BMM / torch.where(own_MM, *means)


# %% [markdown]
# **The total**. (The paper writes the weights at the logits; why they belong on the losses: notebook 09.)
#
# $$L = \sum_{i<j} S'_{ij}\, L_{CL}(i, j) + \sum_i S'_{ii}\, L_{M_i}$$
#
# The two loops walk through the diagonal and the upper triangle of the table. A mean runs over the products that have
# both modalities.


# %%
# SCALE · fifteen losses
def losses(model, products, weigh=weights):
    pooled_BMD, fused = model(products.tokens)
    both_BMM, found = products.both_BMM, {}
    w_BMM = weigh(scores(pooled_BMD, both_BMM)[2], both_BMM)
    for i, m in enumerate(MODALITIES):
        found[m, m] = predict(products.tokens[m], model.heads[m], fused[m], w_BMM[:, i, i])
        for j in range(i + 1, 5):
            loss_B = w_BMM[:, i, j] * contrast(products, pooled_BMD, i, j)
            found[m, MODALITIES[j]] = loss_B[both_BMM[:, i, j]].mean()
    return found


# %% [markdown]
# That is all. The fifteen losses of our batch, where the paper has them: the masked ones on the diagonal, the
# contrastive ones above it.

# %%
ours = losses(model, products)
table = pd.DataFrame("", index=MODALITIES, columns=MODALITIES)
for (row, column), value in ours.items():
    table.loc[row, column] = approx(value.item())
table

# %% [markdown]
# ## Is it SCALE?
#
# Now the package computes the same. Predict: how many digits of each loss will agree?

# %%
output = run.model.eval()(masked.batch, masked.hidden)
result = scale_loss(output, masked, config.loss)
w = scale.losses.configured_weights(config.loss, result.scores, result.pairs, output.present_BM)
ten, five = iter(result.pairs.mean_P(w.pair_BP)), result.losses
task = {m: scale.modalities.SPECS[m].task for m in MODALITIES}
worst = 0.0
for (a, b), loss in ours.items():
    expected = five[task[a]] if a == b else next(ten)
    worst = max(worst, abs(loss - expected).item())
assert worst < 1e-5
torch.testing.assert_close(sum(ours.values()), result.total, atol=1e-4, rtol=0)
print(f"fifteen losses: largest difference {approx(worst, 7)}")

# %% [markdown]
# All fifteen agree, to six digits; the rest is rounding. And what comes before and after the losses: the features, the
# output of the JCT at every token, S′, and the **gradient** of the total loss with respect to every weight.

# %%
has_BM = output.present_BM
checks = {"features": (pooled_BMD[has_BM], output.pooled_BMD[has_BM])}
checks["S and S'"] = (S_BMM, result.scores.weighted_BMM)
for m in MODALITIES:
    t, their_RLD = masked.batch.tokens[m], output.fused[m]
    real_RL = products.tokens[m].real_BL[t.rows_R, : their_RLD.shape[1]]
    our_RLD = fused[m][t.rows_R, : their_RLD.shape[1]]
    checks[f"JCT, {m}"] = our_RLD[real_RL], their_RLD[real_RL]
result.total.backward()
sum(ours.values()).backward()
theirs = our_weights({name: p.grad for name, p in run.model.named_parameters()})
checks |= {f"gradient of {n}": (p.grad, theirs[n]) for n, p in model.named_parameters()}

# %% [markdown]
# The largest difference of each kind:

# %%
worst = {}
for name, (a, b) in checks.items():
    kind = name.split(" of ")[0]
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    worst[kind] = max(worst.get(kind, 0.0), (a - b).abs().max().item())
print(f"{len(checks)} tensors compared")
pd.Series({kind: approx(value, 6) for kind, value in worst.items()}, name="largest difference")

# %% [markdown]
# The lines above *are* SCALE. Here they are on one page, with the number of lines of each part.

# %%
from pathlib import Path

source = Path(scale.__file__).parents[1] / "notebooks" / "src" / "17_scale_in_100_lines.py"
parts = source.read_text(encoding="utf-8").split("# %%\n")  # the cells of this notebook
cells = [part.split("\n\n# %%")[0] for part in parts if part.startswith("# SCALE · ")]
page = {cell.split("\n")[0][len("# SCALE · ") :]: cell.split("\n", 1)[1] for cell in cells}
lines = [line for code in page.values() for line in code.splitlines() if line.strip()]
print(f"{len(lines)} lines")
assert abs(len(lines) - 100) <= 10
scale.plot.code_page(page)

# %% [markdown]
# A quarter of the page are the encoders, which every such model has. What is SCALE's own, the joint co-transformer, the
# scores, the weights and the sum of fifteen losses, is a third: 33 lines.
#
# ## Training, beside the package
#
# What is equal after one step need not be equal after sixty: training repeats every small difference. So we train. A
# step is: losses, gradient, clip it to length 1, update by AdamW. Weight decay acts on matrices only, the learning rate
# rises and falls (notebook 10), and the weights S′ start after a tenth of the steps.


# %%
def make_optimizer(model):
    free = ("word.weight", "segment.weight", "position")
    named = [(p.dim() > 1 and not n.endswith(free), p) for n, p in model.named_parameters()]
    decayed, others = ([p for decays, p in named if decays == wanted] for wanted in (True, False))
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


# %% [markdown]
# In the first tenth of the steps all weights are 1.


# %%
def train_step(model, optimizer, products, step):
    weigh = weights if step >= 0.1 * STEPS else lambda S_BMM, both_BMM: torch.ones_like(S_BMM)
    found = losses(model, products, weigh)
    optimizer.zero_grad()
    sum(found.values()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, STEPS, peak=2e-3, warmup_share=0.1)
    optimizer.step()
    return {pair: loss.item() for pair, loss in found.items()}


# %% [markdown]
# The package's trainer gets the same settings, the same initial weights and the same products. Both see batches of 32.

# %%
STEPS, SIZE = 60, 32
config = replace(config, train=replace(config.train, steps=STEPS, batch_size=SIZE, device="cpu"))
trainer = Trainer(config, scale.training.seeded_model(config), train)
model = Scale()
model.load_state_dict(our_weights(trainer.model.state_dict()))
optimizer = make_optimizer(model)
by_us, by_package = [], []
for step in range(STEPS):
    rows = batch_indices(len(train), SIZE, seed=0, step=step)
    products = hide_all(read_batch(train.collate(rows)), step)
    by_us.append(train_step(model, optimizer, products, step))
    by_package.append(trainer.train_step(step).loss.total.item())

# %% [markdown]
# Left, both losses, one upon the other; right, their relative difference at each step, with the limit of the assertion
# (dashed).

# %%
totals = [sum(found.values()) for found in by_us]
torch.testing.assert_close(torch.tensor(totals), torch.tensor(by_package), atol=0, rtol=1e-4)
scale.plot.two_trainings(totals, by_package)

# %% [markdown]
# The thin line runs inside the broad one: two programs, one curve. What remains is rounding, because both add the same
# numbers in another order.
#
# The total falls. But *which* of the fifteen losses fell? The mean of the first and of the last five steps:

# %%
parts = pd.DataFrame([{task[m]: found[m, m] for m in MODALITIES} for found in by_us])
parts["ten contrastive"] = pd.Series(totals) - parts.sum(axis=1)
parts["total"] = totals
ends = pd.DataFrame({"first": parts[:5].mean(), "last": parts[-5:].mean()})
ends["largest jump"] = parts.diff().abs().max()
share = ends["last"] / ends["first"]
assert (share[["MLM", "MEM"]] < 0.9).all()
assert share["ten contrastive"] > 0.85
ends.map(lambda value: approx(value, 1))

# %% [markdown]
# The masked losses fell. The ten contrastive ones jump up and down, since their weights S′ start at step 7, and did not
# fall: in sixty steps the model has learned which word pieces are frequent, but not yet which picture belongs to which
# title. The total does not show this.
#
# So we test the search with the demo's weights, after 450 steps of 64 products. Recall@10 is the share of test titles
# whose own picture is among the ten nearest.


# %%
def recall_at_10(pooled_BMD, has_BM):
    unit_BMD = normalize(pooled_BMD[has_BM[:, 0] & has_BM[:, 2]], dim=2)  # text and image
    cosine_BB = unit_BMD[:, 0] @ unit_BMD[:, 2].T
    rank_B = (cosine_BB > cosine_BB.diagonal()[:, None]).sum(dim=1)
    return (rank_B < 10).float().mean().item()


# %% [markdown]
# For both stages, with the features of both programs:

# %%
test = run.dataset(samples(), "test")
batch = test.collate(range(len(test)))
stages = {"60 steps": trainer.model.eval(), "demo": run.model.eval()}
found = {}
for stage, package_model in stages.items():
    model.load_state_dict(our_weights(package_model.state_dict()))
    with torch.no_grad():
        ours, theirs = model(read_batch(batch).tokens)[0], package_model.embed(batch).pooled_BMD
    found[stage] = [recall_at_10(x_BMD, batch.present_BM) for x_BMD in (ours, theirs)]

# %% [markdown]
# Chance is ten of all pictures:

# %%
chance = 10 / int((batch.present_BM[:, 0] & batch.present_BM[:, 2]).sum())
assert all(abs(ours - theirs) < 0.02 for ours, theirs in found.values())
assert found["demo"][0] > 2 * chance
print(f"chance {chance:.2f}")
pd.DataFrame(found, index=["these lines", "the package"]).T.map(approx)

# %% [markdown]
# With trained weights these lines find the picture of a title three times as often as chance, and exactly as often as
# the package.
#
# ## Exercise 1: a fault of the released code
#
# In the authors' code the heads read the output of the *encoders*; that of the JCT is computed and dropped (notebook
# 15). Change the page accordingly, with a class of four lines. How many weights then get no gradient from any of the
# fifteen losses?


# %% tags=["solution"]
class Released(Scale):
    def forward(self, tokens):
        encoded, pooled_BMD = Towers.forward(self, tokens)
        return pooled_BMD, encoded


released, products = Released(), hide_all(clean, step=0)
released.load_state_dict(model.state_dict())
sum(losses(released, products).values()).backward()
idle = {name: p.numel() for name, p in released.named_parameters() if p.grad is None}
assert {name.split(".")[0] for name in idle} == {"jct", "modality"}
print(f"{sum(idle.values()):,} of {count:,}: the whole joint co-transformer")

# %% [markdown]
# ## Exercise 2: another policy for missing modalities
#
# Under the policy `skip`, a missing modality has no tokens in the JCT. Which of `has_B`, `real_BL` and `hidden_BL` must
# change, and in which single line of the page? Write the changed model, and compare its output with the package's.


# %% tags=["solution"]
class Skip(Scale):
    def forward(self, tokens):
        encoded, pooled_BMD = Towers.forward(self, tokens)
        x_BLD = torch.cat([encoded[m] + self.modality[m] for m in MODALITIES], dim=1)
        seen = [tokens[m].real_BL & tokens[m].has_B[:, None] for m in MODALITIES]  # changed
        return pooled_BMD, self.jct(x_BLD, src_key_padding_mask=~torch.cat(seen, dim=1))[:, 0]


skip, policy = Skip(), scale.config.MissingConfig("skip")
skip.load_state_dict(model.state_dict())
package_model = scale.model.ScaleModel(run.config.model, policy).eval()
package_model.load_state_dict(run.model.state_dict())
with torch.no_grad():
    ours, theirs = skip(clean.tokens)[1], package_model(first_batch).fused_pooled_BMD
torch.testing.assert_close(ours, theirs[:, 0], atol=1e-4, rtol=0)  # [CLS] of the text

# %% [markdown]
# ## What to remember
#
# - SCALE is short: two kinds of encoders, one joint Transformer, a table of scores, fifteen losses. The rest of a
#   training package is speed, variants and checks.
# - Missing (`has_B`), padding (`real_BL`) and hidden (`hidden_BL`) are three tensors, each used in another place.
# - A copy is right if it loads the same weights and gives the same outputs, losses *and gradients*.
# - Rewriting a method in few lines is also a test of the original: two independent programs rarely share a fault.
#
# ## Five questions
#
# 1. Which lines would you delete to obtain CLIP for text and image?
# 2. Where does zero imputation happen for words, and where for vectors?
# 3. Why must `weights` call `detach`? What could the model do without it?
# 4. The heads read the JCT and not the encoders. Which sentence of the paper would be wrong otherwise?
# 5. The losses of both programs agree to six digits, but not in every bit. Why not, and why compare gradients too?
#
# <details><summary>Answers</summary>
#
# 1. The joint co-transformer, the heads, the masking, the masked losses and the weights. What remains is `transformer`, two
#    encoders, `Towers` and `contrast` for one pair.
# 2. For words in `WordEncoder.forward`: `* t.has_B` sets the word vectors to 0; position and segment stay. For vectors
#    the values are 0 when they are read (`spread`), and the linear map then gives its bias.
# 3. Without it the gradient flows through the weights, and the model can lower its loss by lowering S′, that is by making
#    the modalities disagree. This ends in collapse (notebook 09).
# 4. That a masked loss sees the other modalities, $P(t_\text{msk} \mid t_{\neg\text{msk}}, M_{\neg i})$: an encoder sees
#    its own modality only. Exercise 1 shows that the JCT would then learn nothing.
# 5. Floating-point sums depend on their order, and the two programs add in different orders (padded or packed, one fused
#    operation or two). Equal losses alone could hide a missing `detach`, which changes the gradient only.
#
# </details>
#
# ## Pictures for your slides
#
# ```
# scale figures architecture scores total_loss loss_terms
# ```
#
# Add `--lang zh` for Chinese labels, `--style slides` for a projector. The page of code is a figure of this notebook
# (`scale.plot.code_page`). All terms: [glossary](../docs/glossary.md).
