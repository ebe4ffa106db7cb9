"""Noise on datasets: hits, exchange and damage, and no other changes."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from scale.config import FeatureConfig
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.features import from_patches, load_media, log_mel, to_patches
from scale.data.media import MediaError, fit_image
from scale.data.tokenizer import encode_texts, train_tokenizer
from scale.modalities import INDEX, MODALITIES
from scale.studies import damage
from scale.studies.damage import (
    DamageJob,
    DamageStep,
    add_white_noise,
    compress,
    damaged_features,
    name_hashes,
)
from scale.studies.noise import (
    DAMAGE_STREAM,
    KINDS,
    Noise,
    apply_noise,
    mismatch_everywhere,
    mismatch_uneven,
    missing_at_random,
)

CONFIG = FeatureConfig(
    text_length=12, table_length=24, image_size=8, patch_size=4, video_frames=4, frame_size=8,
    audio_seconds=0.5, audio_frames=6, mel_bins=10,
)  # fmt: skip
STRENGTHS = {
    "gaussian": 60.0, "blur": 2.0, "jpeg": 5.0, "frame_drop": 0.5, "frame_shuffle": 1.0,
    "snr": 0.0, "word_drop": 0.5, "typo": 1.0, "attribute_swap": 1.0,
}  # fmt: skip
DAMAGES = [Noise(k, m, s) for k, s in STRENGTHS.items() for m in KINDS[k].modalities]


@pytest.fixture(scope="module")
def build(small_catalogue, tmp_path_factory):
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    catalogue = Catalogue.open(small_catalogue)
    tokenizer = train_tokenizer(catalogue, 200)

    def build(config=CONFIG, **options):
        return ProductDataset.build(catalogue, config, tokenizer, cache=cache, **options)

    return build


@pytest.fixture(scope="module")
def dataset(build):
    return build()


def sequence(dataset, m, row):
    """The tokens of one product, unpadded."""
    column = dataset.columns[m]
    start, length = column.start_N[row], column.length_N[row]
    return column.values[start : start + length]


def same(one, other, m, row, other_row=None):
    other_row = row if other_row is None else other_row
    return np.array_equal(sequence(one, m, row), sequence(other, m, other_row))


def check(noisy):
    """Check that batches are valid and that products, columns and contents agree on presence."""
    dataset = noisy.dataset
    dataset.collate(range(len(dataset))).check()
    listed_NM = np.array([[m in p.present for m in MODALITIES] for p in dataset.products])
    assert np.array_equal(listed_NM, dataset.present_NM)
    for m, column in dataset.columns.items():
        assert np.array_equal(column.length_N > 0, dataset.present_NM[:, INDEX[m]])
    dataset.subset([3, 1, 30]).collate([0, 1, 2]).check()
    assert not (noisy.true_NM & ~dataset.present_NM).any()


EVERYTHING = (
    *DAMAGES,
    *mismatch_uneven(),
    *missing_at_random(0.2),
    Noise("missing_category", "image", share=0.5),
    *DAMAGES,
)


def test_all_noises_together_are_valid_and_repeatable(dataset):
    before = dataset.content_id_NM.copy()
    noisy, again = (apply_noise(dataset, EVERYTHING, 5) for _ in range(2))
    check(noisy)
    assert noisy.dataset.products == again.dataset.products
    assert np.array_equal(noisy.hit_NM, again.hit_NM)
    for m in MODALITIES:
        assert all(same(noisy.dataset, again.dataset, m, row) for row in range(len(dataset)))
    assert np.array_equal(dataset.content_id_NM, before)


def test_noise_depends_on_the_seed(dataset):
    one, other = (apply_noise(dataset, missing_at_random(0.3), seed) for seed in (0, 1))
    assert not np.array_equal(one.hit_NM, other.hit_NM)


def test_share_zero_shares_the_tokens(dataset):
    noisy = apply_noise(dataset, [Noise("missing", "text", share=0.0)], 0)
    assert np.array_equal(noisy.true_NM, dataset.present_NM)
    assert not noisy.hit_NM.any()
    assert noisy.dataset.products == dataset.products
    for m, column in dataset.columns.items():
        assert noisy.dataset.columns[m].values is column.values


def test_missing_is_nested_over_rates(dataset):
    gone = [apply_noise(dataset, missing_at_random(r), 2).hit_NM for r in (0.1, 0.3, 0.6, 1.0)]
    for less, more in pairwise(gone):
        assert not (less & ~more).any()
    assert 0.02 < gone[0].mean() < 0.2
    assert (gone[2].sum(0) > 12).all()


def test_missing_keeps_the_last_modality(dataset):
    noisy = apply_noise(dataset, missing_at_random(1.0), 3)
    check(noisy)
    assert (noisy.dataset.present_NM.sum(1) == 1).all()
    assert (noisy.dataset.present_NM.sum(0) > 0).all()
    assert np.array_equal(noisy.hit_NM, dataset.present_NM & ~noisy.dataset.present_NM)
    left = apply_noise(noisy.dataset, [Noise("missing", m) for m in MODALITIES[::-1]], 4)
    assert not left.hit_NM.any()


def test_missing_by_category_removes_all_or_none(dataset):
    noisy = apply_noise(dataset, [Noise("missing_category", "text", share=0.5)], 0)
    categories = np.array([p.category for p in dataset.products])
    shares = [noisy.hit_NM[categories == c, INDEX["text"]].mean() for c in np.unique(categories)]
    assert set(shares) == {0.0, 1.0}
    bare = [replace(p, category=None) for p in dataset.products]
    noisy = apply_noise(
        replace(dataset, products=tuple(bare)), [Noise("missing_category", "text")], 0
    )
    assert not noisy.hit_NM.any()


@pytest.mark.parametrize("m", MODALITIES)
def test_mismatch_permutes_the_contents_of_hit_products(dataset, m):
    noisy = apply_noise(dataset, [Noise("mismatch", m, share=0.6)], 1)
    check(noisy)
    place, now = INDEX[m], noisy.dataset
    assert sorted(now.content_id_NM[:, place]) == sorted(dataset.content_id_NM[:, place])
    starts, before = now.columns[m].start_N, dataset.columns[m].start_N
    (hit,) = noisy.hit_NM[:, place].nonzero()
    assert len(hit) > 10
    assert not (starts[hit] == before[hit]).any()
    assert sorted(starts[hit]) == sorted(before[hit])
    for row in hit:
        donor = hit[before[hit].tolist().index(starts[row])]
        assert same(now, dataset, m, row, donor)
        assert getattr(now.products[row], m) == getattr(dataset.products[donor], m)
        equal = dataset.content_id_NM[row, place] == dataset.content_id_NM[donor, place]
        assert noisy.true_NM[row, place] == equal
    others = np.delete(np.arange(len(dataset)), hit)
    assert np.array_equal(noisy.true_NM[others], dataset.present_NM[others])


def test_mismatch_of_one_two_and_three_products(dataset):
    one = dataset.subset([1])
    noisy = apply_noise(one, mismatch_everywhere(1.0), 0)
    assert not noisy.hit_NM.any()
    assert np.array_equal(noisy.true_NM, one.present_NM)
    two = dataset.subset([1, 2])
    noisy = apply_noise(two, [Noise("mismatch", "text")], 0)
    assert noisy.hit_NM[:, INDEX["text"]].all()
    assert [p.text for p in noisy.dataset.products] == [p.text for p in two.products[::-1]]
    # Of three products, the one that lacks the modality takes no part.
    three = dataset.subset([4, 5, 6])
    noisy = apply_noise(three, [Noise("mismatch", "table")], 0)
    assert noisy.hit_NM[:, INDEX["table"]].tolist() == [True, False, True]
    tables = [p.table for p in three.products]
    assert [p.table for p in noisy.dataset.products] == [tables[2], None, tables[0]]


@pytest.mark.parametrize("noise", [Noise("mismatch", "text"), Noise("typo", "text", 0.5)])
def test_hits_are_nested_over_shares(dataset, noise):
    column = INDEX[noise.modality]
    hits = [
        apply_noise(dataset, [replace(noise, share=share)], 2).hit_NM[:, column]
        for share in (0.2, 0.5, 0.8, 1.0)
    ]
    for fewer_N, more_N in pairwise(hits):
        assert not (fewer_N & ~more_N).any()
        assert fewer_N.sum() < more_N.sum()
    assert np.array_equal(hits[-1], dataset.present_NM[:, column])


def test_mismatch_moves_recorded_content_hashes(dataset):
    products = [replace(p, content={"text": p.id, "x": "y"}) for p in dataset.products]
    noisy = apply_noise(replace(dataset, products=tuple(products)), [Noise("mismatch", "text")], 0)
    owner = {p.text: p.id for p in dataset.products}
    assert all(p.content == {"text": owner[p.text], "x": "y"} for p in noisy.dataset.products)


@pytest.mark.parametrize("noise", DAMAGES, ids=lambda n: f"{n.kind}-{n.modality}")
def test_damage_changes_only_the_hit_products(dataset, noise):
    half = replace(noise, share=0.5)
    noisy = apply_noise(dataset, [half], 0)
    check(noisy)
    m, place = noise.modality, INDEX[noise.modality]
    (hit,) = noisy.hit_NM[:, place].nonzero()
    assert 5 < len(hit) < dataset.present_NM[:, place].sum()
    for row in range(len(dataset)):
        kept = [n for n in MODALITIES if n != m or row not in hit]
        assert all(same(noisy.dataset, dataset, n, row) for n in kept)
    changed = [not same(noisy.dataset, dataset, m, row) for row in hit]
    assert np.mean(changed) > 0.8
    assert np.array_equal(noisy.dataset.content_id_NM, dataset.content_id_NM)
    assert np.array_equal(noisy.true_NM, dataset.present_NM)
    assert not np.delete(noisy.hit_NM, place, axis=1).any()
    # It does not depend on the other products.
    rows = [*hit[[3, 0, 2]], *np.delete(np.arange(len(dataset)), hit)[:2]]
    few = apply_noise(dataset.subset(rows), [half], 0)
    assert np.array_equal(few.hit_NM, noisy.hit_NM[rows])
    for at, row in enumerate(rows):
        assert same(few.dataset, noisy.dataset, m, at, row)


def test_damage_equals_that_of_the_decoded_signal(dataset):
    row = int(dataset.present_NM[:, [INDEX["image"], INDEX["audio"]]].all(1).nonzero()[0][0])
    product = dataset.products[row]
    noises = [Noise("jpeg", "image", 5.0), Noise("snr", "audio", 3.0)]
    noisy = apply_noise(dataset, noises, 4).dataset
    pixels_HWC = fit_image(load_media("image", product.image, CONFIG), 8)
    patches_LF = to_patches(compress(pixels_HWC, 5.0, None), 4).astype(np.float16)
    assert np.array_equal(sequence(noisy, "image", row), patches_LF)
    sound_S = load_media("audio", product.audio, CONFIG)
    seed = int(name_hashes([product.id], 4, 1, DAMAGE_STREAM)[0])
    sound_S = add_white_noise(sound_S, 3.0, np.random.default_rng(seed))
    expected_LF = log_mel(sound_S, CONFIG).astype(np.float16)
    assert np.array_equal(sequence(noisy, "audio", row), expected_LF)
    assert noisy.normaliser is dataset.normaliser


def test_damaged_titles_are_tokenized_again(dataset):
    noisy = apply_noise(dataset, [Noise("word_drop", "text", 0.5)], 0).dataset
    for row, product in enumerate(noisy.products):
        assert product.text != dataset.products[row].text
        ids_NL, _ = encode_texts(dataset.tokenizer, [product.text], CONFIG.text_length)
        assert np.array_equal(sequence(noisy, "text", row), ids_NL[0])


def test_padding_of_images_is_not_damaged(tmp_path):
    Image.new("RGB", (40, 10), (100, 100, 100)).save(tmp_path / "wide.png")
    job = DamageJob(tmp_path / "wide.png", (DamageStep("gaussian", 50.0, 1),))
    (patches_LF,) = damaged_features("image", [job], CONFIG, FeatureCache(tmp_path))
    pixels_HWC = from_patches(patches_LF.astype(np.float32), 4)
    assert (pixels_HWC[[0, 1, 2, 5, 6, 7]] == 255).all()
    assert pixels_HWC[3:5].std() > 25


def test_missing_media_file_raises(tmp_path):
    job = DamageJob(tmp_path / "gone.png", (DamageStep("blur", 1.0, 0),))
    with pytest.raises(MediaError, match=r"gone\.png: unreadable"):
        damaged_features("image", [job], CONFIG, FeatureCache(tmp_path))


def test_frame_damage_of_vectors_equals_that_of_decoded_frames(dataset):
    for kind in ("frame_drop", "frame_shuffle"):
        moved = Noise(kind, "video", 0.5)
        vectors = apply_noise(dataset, [moved], 0).dataset
        decoded = apply_noise(dataset, [moved, Noise("gaussian", "video", 0.0)], 0).dataset
        assert all(same(vectors, decoded, "video", row) for row in range(len(dataset)))


def test_damage_moves_with_its_content(dataset):
    noises = [
        Noise("typo", "text", 1.0),
        Noise("mismatch", "text"),
        Noise("missing", "text", share=0.5),
    ]
    first = apply_noise(dataset, noises[:1], 0).dataset
    second = apply_noise(dataset, noises[:2], 0).dataset
    assert sorted(p.text for p in first.products) == sorted(p.text for p in second.products)
    check(apply_noise(dataset, noises, 0))


def test_damaged_features_are_cached(dataset, monkeypatch):
    noise = [Noise("gaussian", m, 31.0) for m in ("image", "video")]
    first = apply_noise(dataset, noise, 0)

    def fail(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(damage, "load_media", fail)
    again = apply_noise(dataset, noise, 0)
    assert same(first.dataset, again.dataset, "image", 1)
    with pytest.raises(AssertionError, match="decoded again"):
        apply_noise(dataset, noise, 1)


def test_deterministic_damage_is_shared_by_all_seeds(dataset, monkeypatch):
    noise = [Noise("blur", "image", 1.25), Noise("jpeg", "image", 33.0)]
    apply_noise(dataset, noise, 0)
    monkeypatch.setattr(damage, "load_media", None)
    apply_noise(dataset, noise, 1)


def test_maximum_lengths_apply_after_damage(build):
    short = build(lengths={"image": 3, "text": 5, "audio": 2})
    noises = [Noise("gaussian", "image", 9.0), Noise("typo", "text"), Noise("snr", "audio", 9.0)]
    noisy = apply_noise(short, noises, 0).dataset
    assert [noisy.columns[m].length_N.max() for m in ("text", "image", "audio")] == [5, 3, 2]


def test_backbone_receives_the_damaged_image(dataset, monkeypatch, tmp_path):
    class Mean:
        size = 8

        def prepare(self, modality, picture):
            return np.asarray(picture, np.float32)

        def encode(self, modality, prepared, config):
            return [pixels_HWC.mean(axis=(0, 1))[None] for pixels_HWC in prepared]

    monkeypatch.setattr(damage, "load_backbone", lambda modality, config: Mean())
    config = replace(CONFIG, image_features="some_model")
    path = dataset.products[1].image or dataset.products[2].image
    job = DamageJob(path, (DamageStep("blur", 1.0, 0),))
    (features_LF,) = damaged_features("image", [job], config, FeatureCache(tmp_path))
    assert features_LF.shape == (1, 3)


def test_features_from_files_cannot_be_damaged(dataset):
    files = replace(dataset, config=replace(CONFIG, image_features="file"))
    with pytest.raises(ValueError, match="image_features is 'file': only features exist"):
        apply_noise(files, [Noise("blur", "image", 2.0)], 0)
    apply_noise(files, [Noise("missing", "image"), *mismatch_everywhere(0.5)], 0)


def test_unused_modalities_are_not_hit(build):
    part = build(modalities=("text", "image"))
    noisy = apply_noise(part, EVERYTHING, 0)
    assert not noisy.hit_NM[:, [INDEX[m] for m in ("table", "video", "audio")]].any()


INVALID = [
    (("fog", "image"), "unknown noise 'fog'; known: missing, missing_category, mismatch"),
    (("snr", "image"), "snr does not apply to 'image'; it does to: audio"),
    (("missing", "smell"), "missing does not apply to 'smell'; it does to: text, table, image"),
    (("jpeg", "image", 0.0), "jpeg: strength 0.0 is outside 1 to 95 JPEG quality"),
    (("typo", "text", 1.5), "typo: strength 1.5 is outside 0 to 1 share of the words"),
    (("missing", "text", 0.5), "missing: strength 0.5 is outside .*has no strength"),
    (("gaussian", "image", float("nan")), "strength nan is outside"),
    (("missing", "text", 1.0, 1.5), "missing: share 1.5 is outside 0 to 1"),
]


def test_invalid_noises_raise():
    for values, message in INVALID:
        with pytest.raises(ValueError, match=message):
            Noise(*values)


def test_predefined_noises():
    assert [n.share for n in mismatch_uneven()] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert [n.modality for n in missing_at_random(0.2)] == list(MODALITIES)
    assert {(n.kind, n.share) for n in mismatch_everywhere(0.3)} == {("mismatch", 0.3)}
    assert {n.modality for n in DAMAGES} == set(MODALITIES)
