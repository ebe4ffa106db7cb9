"""The models of notebooks 04 to 08, which are part of the repository (tools/masked_model.py)."""

import json
from dataclasses import replace

import numpy as np
from safetensors.torch import load_file

import scale
from scale.notebook import masked_folder, samples
from scale.studies import NOTHING, Context, mask_words, score_masked
from scale.training.run import RunFolder

MOST_BYTES = 5_000_000


def files():
    return {
        path: path.stat().st_mtime_ns
        for path in masked_folder().parent.rglob("*")
        if path.is_file()
    }


def test_they_are_small_and_loaded_without_training():
    """Their weights are stored in half precision, and loading writes and trains nothing."""
    before = files()
    assert sum(path.stat().st_size for path in before) < MOST_BYTES
    for words in (False, True):
        folder = masked_folder(words)
        run = scale.load(folder)
        stored = load_file(RunFolder(folder).checkpoint("best") / "model.safetensors")
        assert {str(tensor.dtype) for tensor in stored.values()} == {"torch.float16"}
        for name, weight in run.model.state_dict().items():
            assert np.array_equal(weight.numpy(), stored[name].float().numpy()), name
    assert files() == before


def test_a_picture_reveals_the_hidden_colour():
    """Of unseen titles that name a colour, and of their products' pictures alone."""
    shop = samples()
    colours = sorted({product.labels["colour"] for product in shop})
    named = [
        replace(p, video=None, audio=None, table=None)
        for p in shop.split("test").products
        if p.text and p.image and {*p.text.lower().split()} & {*colours}
    ]
    run = scale.load(masked_folder(words=True))
    data = run.dataset(replace(shop, products=tuple(named)))
    contexts = {
        "none": NOTHING,
        "own": Context(("image",)),
        "other": Context(("image",), other_products=True),
    }
    found = score_masked(run.model, mask_words(data, colours), "text", len(data), contexts)
    right = {name: np.nanmean(scores.correct_P) for name, scores in found.items()}
    assert right["own"] > 2 * max(right["none"], right["other"])
    assert np.nanmean(found["other"].loss_P - found["own"].loss_P) > 0.5


def test_the_folder_says_how_it_was_made():
    for words, steps in ((False, 1), (True, 3)):
        made = json.loads((masked_folder(words) / "made.json").read_text(encoding="utf-8"))
        assert len(made["steps"]) == steps
        assert sum(made["steps"]) == scale.load(masked_folder(words)).config.train.steps
        assert made["command"].startswith("python -m tools.masked_model")
