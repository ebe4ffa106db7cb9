"""Numbers stated on a slide and in its notes, and the numbers of the data that the slide shows."""

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from scale.config import PRESETS
from scale.data.catalogue import Catalogue
from scale.evaluation.bootstrap import Estimate
from scale.modalities import INDEX, MODALITIES, PAIRS, TASKS
from scale.model.scores import inter_modality_scores
from scale.studies.context import predict
from scale.studies.masked_probe import mask_words, token_groups
from scale.studies.masked_training import complete_rows, prepend_label
from scale.studies.statistics import summarise
from scale.training.logging import read_metrics
from scale.viz.embeddings import product_vectors
from scale.viz.illustrations.data import DATA_SETS
from scale.viz.illustrations.masked_words import _word_models
from scale.viz.illustrations.paper import PAPER, PAPER_CLAIMS, paper_table
from scale.viz.illustrations.pretraining import run_terms
from scale.viz.registry import Sources

NAMES = re.compile(
    r"arXiv:? ?[\d., v]+|\b\d{4}\.\d{5}(v\d)?|CVPR 2022|2026-11-25|@\d+"
    r"|(MEP-3|CC 12|HowTo100|Product1|M5)\w*|(commit|提交) [0-9a-f]+"
    r"|95 ?(%|percent)|p\d\d\b|table \d+|tables? [\d, ]+|表 [\d、 ]+|F1|c\d\b|catalogue\d+"
)
"""Names that contain digits, the level of all intervals, and tables of the paper."""
NUMBER = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?(?: ?%)?")
WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "ten": 10, "fifteen": 15}
HAN = {"两": 2, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "十": 10, "十五": 15}
COUNTED = re.compile("(十五|[两二三四五六十])(?=[个种项座张步类行只])")
IN_WORDS = {
    "idea": (2,),  # cats
    "modalities": (), "streams": (2,),  # families
    "challenges": (2,), "published": (2, 6),  # challenges; two properties, six numbers
    "questions": (4,), "take_home": (3,),  # questions; steps: encode, contrast, fuse
    "data_sets": (2, 3),  # exactly two; the kind "three or more"
    "training": (2,), "sources": (2,),  # streams
    "paper_models": (2,), "weights": (0, 2, 3), "study_parts": (2, 3),  # the second table; panels
    "loss": (2,), "study_weighting": (2,), "paper_claims": (2,), "scores": (2,), "faults": (2,),
    "total": (2,), "downstream": (2,), "map": (2,), "gap": (2,),  # dimensions; of two modalities
    "retrieval": (2,), "sheet": (2,), "predictions": (3,), "limits": (2,),
}  # fmt: skip
"""Numbers of things that the sentence itself lists."""


@dataclass(frozen=True)
class Stated:
    """A number in a text."""

    text: str
    value: float
    digits: int

    def in_data(self, known) -> bool:
        """Whether it is a known number, rounded to as many digits, up to its sign."""
        return any(abs(round(abs(k), self.digits) - self.value) < 1e-9 for k in known)


def stated(text: str) -> list[Stated]:
    """Return the numbers of a text, in digits or words."""
    text = NAMES.sub(" ", text)
    found = []
    for match in NUMBER.finditer(text):
        plain = match.group().lstrip("+−-").replace(",", "")
        percent = plain.endswith("%")
        plain = plain.rstrip("% ")
        digits = len(plain.partition(".")[2]) + 2 * percent
        found.append(Stated(match.group(), round(float(plain) / 100**percent, 9), digits))
    for word in re.findall(r"[A-Za-z]+", text):
        if word.lower() in WORDS:
            found.append(Stated(word, WORDS[word.lower()], 0))
    return found + [Stated(w, HAN[w], 0) for w in COUNTED.findall(text)]


def shown(slide) -> set[float]:
    """Return the numbers of a slide's charts (with interval ends), tables and shapes."""
    found: set[float] = set()
    for shape in slide.shapes:
        if shape.has_chart:
            for series in shape.chart.plots[0].series:
                found |= {value for value in series.values if value is not None}
                for sign, side in ((1, "plus"), (-1, "minus")):
                    for point in series._element.iterfind(f".//{{*}}{side}//{{*}}pt"):
                        middle = series.values[int(point.get("idx"))]
                        found.add(middle + sign * float(point.findtext("{*}v")))
        elif shape.has_table:
            cells = (cell for row in shape.table.rows for cell in row.cells)
            found |= {n.value for cell in cells for n in stated(cell.text)}
        elif shape.shape_type == 6:
            texts = (s.text_frame.text for s in shape.shapes if s.has_text_frame)
            found |= {n.value for text in texts for n in stated(text)}
    return found


def _features(model, data) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the unit features and the presence of all products and modalities."""
    with torch.no_grad():
        output = model.eval().embed(data.collate(range(len(data))))
    unit = output.pooled_BMD / output.pooled_BMD.norm(dim=-1, keepdim=True)
    return unit, output.present_BM


def _ends(estimate: Estimate) -> set[float]:
    return {e for e in (estimate.value, estimate.low, estimate.high) if e is not None}


class Data:
    """The data of a deck, read without the code of the slides."""

    def __init__(self, run: Path, catalogue: Path, studies: Path) -> None:
        self.sources = Sources(run, catalogue, studies)
        self.shop = Catalogue.open(catalogue)
        self.results = json.loads((run / "results.json").read_text())
        self.metrics = [r for r in read_metrics(run) if "loss/contrastive" in r]
        self.config = self.sources.run.config

    def known(self, key: str) -> set[float]:
        """Return the numbers that may be stated on a slide, apart from those shown on it."""
        always = {len(MODALITIES), len(PAIRS), len(TASKS), *IN_WORDS.get(key, ())}
        return always | set(getattr(self, f"_{key}", lambda: ())())

    def _title(self):
        return {len(self.shop)}

    def _modalities(self):
        return range(len(MODALITIES) + 1)

    def _data_sets(self):
        two = sum(len(d.modalities) == 2 for d in DATA_SETS)
        return {len(DATA_SETS), two, 4, int(self.shop.present_NM().any(0).sum())}  # 4: XMedia

    def _published(self):
        facts = {name: value for name, (value, *_) in PAPER["facts"].items()}
        complete = facts["all five modalities"] / facts["products"]
        least = {d.categories for d in DATA_SETS if d.name == "M5Product"}
        return {*facts.values(), *least, complete, 1 - complete}

    def _data(self):
        present_NM = self.shop.present_NM()
        sizes = sorted(Counter(p.category for p in self.shop).values(), reverse=True)
        head = next(k for k in range(1, len(sizes) + 1) if 2 * sum(sizes[:k]) >= sum(sizes))
        counts = present_NM.sum(0)
        return {len(self.shop), present_NM.all(1).sum(), *counts, *counts / len(self.shop), head,
                len(sizes), sizes[0], sizes[-1]}  # fmt: skip

    _challenges = _data

    def _framework(self):
        return {sum(p.numel() for p in self.sources.run.model.parameters()) / 1e6}

    def _tasks(self):
        return {self.config.mask.rate}

    _task_table = _tasks

    def _info_nce(self):
        train, first = self.sources.train, {}
        for row, product in enumerate(train.products):
            if train.present_NM[row, [INDEX["text"], INDEX["image"]]].all():
                first.setdefault(product.category, row)
        rows = list(first.values())[:3]
        with torch.no_grad():
            unit = self.sources.run.model.eval().embed(train.collate(rows)).pooled_BMD
        unit = unit / unit.norm(dim=-1, keepdim=True)
        cosine = unit[:, INDEX["text"]] @ unit[:, INDEX["image"]].T
        temperature = self.config.loss.temperature
        loss = torch.nn.functional.cross_entropy(cosine / temperature, torch.arange(3))
        return {3, 2, temperature, float(loss), math.log(3), self.config.train.batch_size}

    def _masked_loss(self):
        test = self.sources.test
        words = 0
        for row in test.present_NM.all(axis=1).nonzero()[0][:24].tolist():
            for modality in ("text", "table"):
                group_L = token_groups(test, row, modality).tolist()
                ids_L = test.collate([row]).tokens[modality].values[0].tolist()
                pieces = test.tokenizer.convert_ids_to_tokens(ids_L)
                words += sum(
                    group >= 0 and group_L.count(group) == 1 and piece.isalpha()
                    for group, piece in zip(group_L, pieces, strict=False)
                )
        return {words, self.config.mask.rate}

    def _loss(self):
        losses = [row["loss/contrastive"] for row in (self.metrics[0], self.metrics[-1])]
        terms = run_terms(self.sources.run, self.sources.train)
        sums = {terms.pairs, terms.masked, terms.total, terms.on_logits, terms.unweighted}
        # What `total_loss` writes is the sum of what it shows.
        assert math.isclose(terms.pairs + terms.masked, terms.total, rel_tol=1e-6)
        return {*losses, losses[1] / losses[0], *sums, self.config.train.steps, terms.products}

    _total = _loss

    def _retrieval(self):
        tree = self.results["retrieval"]
        found = [Estimate(**t) for s in tree["differences"]["trained"].values()
                 for m, t in s.items() if m == "mAP@5"]  # fmt: skip
        return set().union(*map(_ends, found)) | {self.results["products"]}

    def _directions(self):
        chance = self.results["retrieval"]["instance"]["chance"].values()
        return {t["Recall@10"]["value"] or 0 for t in chance} | {self.results["products"]}

    def _downstream(self):
        return {self.results["products"]}

    def _sheet(self):
        return {*range(16), len(self.sources.test)}

    def _map(self):
        """Nearest products on the map; the tests draw the first two features in place of UMAP."""
        xy_N2, ids, _ = product_vectors(self.sources.run.model, self.sources.test)
        category = {p.id: p.category for p in self.sources.test.products}
        kind, hits, chances = [category[i] for i in ids], [], []
        for row, here in enumerate(xy_N2[:, :2]):
            others = [k for k in range(len(kind)) if k != row]
            nearest = min(others, key=lambda k: math.dist(here, xy_N2[k, :2]))
            hits.append(kind[nearest] == kind[row])
            chances.append(sum(kind[k] == kind[row] for k in others) / len(others))
        return {sum(hits) / len(hits), sum(chances) / len(chances), len(kind)}

    def _gap(self):
        known = {len(self.sources.test)}
        for model in self.sources.models().values():
            unit, present = _features(model, self.sources.test)
            means = [unit[present[:, k], k].mean(0) for k in range(len(MODALITIES))]
            far = [float((means[i] - means[j]).norm()) for i, j in PAIRS]
            known.add(sum(far) / len(far))
        return known

    def _words(self):
        """The colour whose loss the picture reduces most, in all test titles."""
        test = prepend_label(self.sources.test, "colour")
        colours = {p.labels["colour"] for p in test.products}
        rows = complete_rows(test, ("text", "image"))
        losses = []
        for model in _word_models(self.sources).values():
            masked = mask_words(test, sorted(colours), rows)
            logits = predict(model, masked, "text")
            losses.append(cross_entropy(logits, masked.targets["text"], reduction="none"))
        # A colour may be several word pieces; the first one of the best product is shown.
        row_T = masked.hidden["text"].nonzero()[:, 0]
        gain_T = losses[0] - losses[1]
        best = max(row_T.unique().tolist(), key=lambda row: gain_T[row_T == row].mean())
        first = int((row_T == best).nonzero()[0])
        return {float((-loss[first]).exp()) for loss in losses} | {len(rows)}

    def _scores(self):
        test, row = self.sources.test, int(self.sources.test.present_NM.sum(axis=1).argmax())
        with torch.no_grad():
            output = self.sources.run.model.eval().embed(test.collate([row]))
        scores = inter_modality_scores(output.pooled_BMD, output.present_BM)
        weights = {float(scores.weighted_BMM[0][pair]) for pair in PAIRS}
        return {math.e / (math.e + 4), math.e / (math.e + 4 * math.e), 1.0, max(weights)}

    def _study(self, *names: str) -> set[float]:
        known = {0.3}  # rate of missing modalities that is compared
        for name in names:
            found = summarise(*self.sources.finished(name))
            held = found.provenance["products"]["held out"]
            ours = [o for o in found.outcomes if o.comparison.metric == "mAP@5"]
            known |= {len(found.provenance["seeds"]), held, len(found.rows), len(ours)}
            known |= {sum(r.failed > 0 for r in found.rows), *(o.pairs for o in found.outcomes)}
            known.add(sum(o.verdict == "not decided" for o in ours))
            known |= set().union(*(_ends(o.seeds) for o in found.outcomes))
        return known

    def _study_missing(self):
        return self._study("missing") | {len(self.sources.test)}

    def _study_parts(self):
        return self._study("modalities", "fusion") | {0.05}  # parameters within 5 %

    def _study_weighting(self):
        return self._study("weighting")

    def _study_objective(self):
        return self._study("tasks")

    def _faults(self):
        return self._study("faults")

    def _paper(self) -> set[float]:
        gains = {claim.gain / 100 for claim in PAPER_CLAIMS}
        for table in (3, 6, 10):
            frame = paper_table(table)
            if table == 3:
                frame = frame.query("data == 'subset'")
            column = next(c for c in frame if c.startswith("mAP@5"))
            gains.add((frame[column].iloc[-1] - frame[column].iloc[0]) / 100)
        return gains

    def _paper_modalities(self):
        return self._paper() | self._study("modalities")

    def _paper_models(self):
        rows = len(paper_table(5).query("data == 'subset'"))
        designs = len([r for r in self._fusion() if r.factors["inputs"] == "text+image"])
        return self._paper() | self._study("fusion") | {rows, designs}

    def _fusion(self):
        return summarise(*self.sources.finished("fusion")).rows

    def _paper_claims(self):
        names = ("modalities", "fusion", "weighting", "missing")
        asked = [claim for claim in PAPER_CLAIMS if claim.study]
        return self._paper() | self._study(*names) | {len(asked), *range(len(asked))}

    def _take_home(self):
        return self._paper_claims() | self._study("faults")

    def _limits(self):
        millions = sum(p.numel() for p in self.sources.run.model.parameters()) / 1e6
        whole = PAPER["facts"]["products"][0]
        steps = PRESETS["micro"]().train.steps
        return {len(self.sources.train), whole, millions, steps} | self._study("missing")
