"""One product under changes, and the outputs of a model for it, against slow twins."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.config import LossConfig, MissingConfig
from scale.data.media import MediaError
from scale.evaluation.index import SearchIndex
from scale.modalities import INDEX, MODALITIES
from scale.studies import damage
from scale.studies.noise import KINDS, Noise, apply_noise
from scale.studies.single_product import (
    ModalityChange,
    ProductEditor,
    logged_weights,
    missing_token_count,
    nearest_products,
    product_outputs,
    with_policy,
)

STRENGTHS = {
    "gaussian": 60.0, "blur": 2.0, "jpeg": 5.0, "frame_drop": 0.5, "frame_shuffle": 1.0,
    "snr": 0.0, "word_drop": 0.5, "typo": 1.0, "attribute_swap": 1.0,
}  # fmt: skip
DAMAGES = [(kind, m) for kind in STRENGTHS for m in KINDS[kind].modalities]
SEED = 3


@pytest.fixture(scope="module")
def data(small_data):
    return small_data[0]


@pytest.fixture
def probe(data):
    return ProductEditor(data, SEED)


@pytest.fixture(scope="module")
def row(data):
    """A product that has everything."""
    return int(data.present_NM.all(1).argmax())


def alone(kind, modality, strength=1.0):
    """Noises of which only the one at the modality's place acts."""
    noises = [Noise("missing", m, share=0.0) for m in MODALITIES]
    noises[INDEX[modality]] = Noise(kind, modality, strength)
    return noises


def sequence(data, modality, row):
    column = data.columns[modality]
    return column.values[column.start_N[row] :][: column.length_N[row]]


@pytest.mark.parametrize(("kind", "modality"), DAMAGES)
def test_damage_equals_that_of_apply_noise(data, probe, kind, modality):
    noises = alone(kind, modality, STRENGTHS[kind])
    noisy = apply_noise(data, noises, SEED).dataset
    changed = 0
    for row in data.present_NM[:, INDEX[modality]].nonzero()[0][:5].tolist():
        content = probe.content(row, modality, ModalityChange(damage=(kind, STRENGTHS[kind])))
        assert np.array_equal(content.sequence, sequence(noisy, modality, row))
        changed += not np.array_equal(content.sequence, sequence(data, modality, row))
        if modality in ("text", "table"):
            assert content.shown == getattr(noisy.products[row], modality)
    assert changed


@pytest.mark.parametrize("modality", MODALITIES)
def test_mismatch_equals_that_of_apply_noise(data, probe, modality):
    noisy = apply_noise(data, alone("mismatch", modality), SEED)
    compared = 0
    for row in data.present_NM[:, INDEX[modality]].nonzero()[0].tolist():
        if noisy.true_NM[row, INDEX[modality]]:
            continue  # its neighbour in the ring has equal content: the probe goes on
        content = probe.content(row, modality, ModalityChange(mismatch=True))
        assert np.array_equal(content.sequence, sequence(noisy.dataset, modality, row))
        assert np.array_equal(content.sequence, sequence(data, modality, content.donor))
        compared += 1
    assert compared > 3


def test_mismatch_never_takes_equal_content(data, probe):
    for m in MODALITIES:
        for row in data.present_NM[:, INDEX[m]].nonzero()[0].tolist():
            giver = probe.donor(row, m)
            assert data.content_id_NM[giver, INDEX[m]] != data.content_id_NM[row, INDEX[m]]
            assert data.content_id_NM[giver, INDEX[m]] >= 0


def test_mismatch_without_other_content_raises(data, row):
    one = ProductEditor(data.subset([row]))
    assert one.donor(0, "image") is None
    with pytest.raises(ValueError, match=rf"{data.ids[row]}.*no other.*image"):
        one.content(0, "image", ModalityChange(mismatch=True))


def test_damage_is_applied_after_mismatch(data, probe, row):
    both = probe.content(row, "text", ModalityChange(mismatch=True, damage=("word_drop", 0.5)))
    other = probe.content(row, "text", ModalityChange(mismatch=True))
    assert both.donor == other.donor != row
    assert len(both.shown) < len(other.shown)


def test_batch_without_changes_equals_the_datasets(data, probe):
    for row in range(len(data)):
        batch, expected = probe.batch(row, {}), data.collate([row])
        batch.check()
        assert torch.equal(batch.present_BM, expected.present_BM)
        for m, tokens in batch.tokens.items():
            assert torch.equal(tokens.values, expected.tokens[m].values)
            assert torch.equal(tokens.padding_RL, expected.tokens[m].padding_RL)


def test_change_affects_only_its_modality(probe, row):
    clean = probe.batch(row, {})
    changed = probe.batch(
        row, {"image": ModalityChange(damage=("blur", 2.0)), "text": ModalityChange(False)}
    )
    assert "text" not in changed.tokens
    assert not torch.equal(changed.tokens["image"].values, clean.tokens["image"].values)
    for m in ("table", "video", "audio"):
        assert torch.equal(changed.tokens[m].values, clean.tokens[m].values)


def test_shown_content_is_the_damaged_content(data, probe, row):
    blurred = probe.content(row, "image", ModalityChange(damage=("blur", 2.0))).shown
    sharp = probe.content(row, "image", ModalityChange()).shown
    assert blurred.shape == sharp.shape == (1, *sharp.shape[1:3], 3)
    assert max(sharp.shape[1:3]) == data.config.image_size
    assert blurred.std() < sharp.std()


def test_shuffled_frames_keep_their_positions(probe, row):
    clean = probe.content(row, "video", ModalityChange())
    moved = probe.content(row, "video", ModalityChange(damage=("frame_shuffle", 1.0)))
    assert clean.place_T.tolist() == list(range(len(clean.shown)))
    assert moved.place_T.tolist() != clean.place_T.tolist()
    assert np.array_equal(moved.shown, clean.shown[moved.place_T])
    assert np.array_equal(moved.sequence, clean.sequence[moved.place_T])


def test_entities_read_by_the_model(data, probe, row):
    read = probe.content(row, "table", ModalityChange()).entities_read
    assert read
    assert max(read) < 2 * len(data.products[row].table)


def test_decoded_media_are_cached(probe, row, monkeypatch):
    loaded = []
    load = damage.load_media
    monkeypatch.setattr(damage, "load_media", lambda *a: loaded.append(a[0]) or load(*a))
    for strength in (1.0, 2.0, 3.0):
        change = ModalityChange(damage=("blur", strength))
        probe.batch(row, {"image": change, "video": change})
    assert sorted(loaded) == ["audio", "image", "video"]


def test_feature_files_allow_only_frame_damage(data, row):
    config = replace(data.config, video_features="file", image_features="file")
    probe = ProductEditor(replace(data, config=config))
    assert probe.kinds("image") == ()
    assert probe.kinds("video") == ("frame_drop", "frame_shuffle")
    moved = probe.content(row, "video", ModalityChange(damage=("frame_shuffle", 1.0)))
    assert moved.shown is None
    assert np.array_equal(moved.sequence, sequence(data, "video", row)[moved.place_T])


def test_kinds_of_damage_by_modality(probe):
    assert probe.kinds("text") == ("word_drop", "typo")
    assert probe.kinds("audio") == ("snr",)


def test_missing_media_file_raises(data, row, tmp_path):
    gone = replace(data.products[row], image=tmp_path / "gone.png")
    products = (*data.products[:row], gone, *data.products[row + 1 :])
    with pytest.raises(MediaError, match=r"gone\.png"):
        ProductEditor(replace(data, products=products)).batch(row, {})


def test_missing_modality_stays_missing(data, probe):
    row, m = next((r, k) for r, k in zip(*np.where(~data.present_NM), strict=True))
    change = ModalityChange(mismatch=True, damage=None)
    assert probe.content(int(row), MODALITIES[m], change) is None


def test_strength_outside_its_limits_raises(probe, row):
    with pytest.raises(ValueError, match="outside"):
        probe.content(row, "image", ModalityChange(damage=("jpeg", 0.0)))


def unit(vector):
    return vector / np.sqrt((vector * vector).sum())


@pytest.mark.parametrize("subset", [MODALITIES, ("text", "image", "audio"), ("video",)])
def test_scores_equal_a_loop(make_model, make_batch, subset):
    model, batch = make_model(), make_batch([subset])
    reading = product_outputs(model, batch)
    with torch.no_grad():
        pooled_MD = model.embed(batch).pooled_BMD[0].double().numpy()
    expected = np.zeros((4, 5, 5))
    here = [INDEX[m] for m in subset]
    for i in here:
        cosine = {j: float(unit(pooled_MD[i]) @ unit(pooled_MD[j])) for j in here}
        total = sum(np.exp(value) for value in cosine.values())
        row = {j: value * np.exp(value) / total for j, value in cosine.items()}
        norm = np.sqrt(sum(value**2 for value in row.values()))
        for j in here:
            share = np.exp(cosine[j]) / total
            expected[:, i, j] = cosine[j], share, row[j], row[j] / norm
    found = reading.cosine_MM, reading.softmax_MM, reading.weighted_MM, reading.normalised_MM
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-6)
    emb_D = unit(sum(unit(pooled_MD[i]) for i in here))
    np.testing.assert_allclose(reading.emb_D, emb_D, atol=1e-6)
    assert reading.present_M.tolist() == [m in subset for m in MODALITIES]


def test_policy_changes_only_fused_features(make_model, make_batch):
    model, batch = make_model("zero"), make_batch([("text", "image")])
    zero, skip, drop = (
        product_outputs(with_policy(model, p), batch) for p in ("zero", "skip", "drop")
    )
    for other in (skip, drop):
        assert np.array_equal(zero.weighted_MM, other.weighted_MM)
        assert np.array_equal(zero.emb_D, other.emb_D)
        assert not np.allclose(zero.fused_MD, other.fused_MD)
    assert np.array_equal(skip.fused_MD, drop.fused_MD)
    assert skip.missing_token_M.sum() == 0


def test_policy_is_irrelevant_for_complete_products(make_model, make_batch):
    model, batch = make_model("zero"), make_batch([MODALITIES])
    zero, skip = (product_outputs(with_policy(model, p), batch) for p in ("zero", "skip"))
    np.testing.assert_allclose(zero.fused_MD, skip.fused_MD, atol=1e-6)
    assert zero.missing_token_M.sum() == 0
    assert zero.token_M.min() > 0


def test_learned_policy_without_learned_tokens_raises(make_model):
    with pytest.raises(ValueError, match="'zero': it has no learned tokens"):
        with_policy(make_model("zero"), "learned")


def test_learned_tokens_can_be_disabled(make_model, make_batch):
    learned, batch = make_model("learned"), make_batch([("text",)])
    zero = with_policy(learned, "zero")
    assert with_policy(learned, "learned") is learned
    assert product_outputs(learned, batch).missing_token_M.tolist() == [0, 1, 1, 1, 1]
    assert np.array_equal(
        product_outputs(learned, batch).weighted_MM, product_outputs(zero, batch).weighted_MM
    )


def test_with_policy_shares_weights_and_keeps_the_generator(make_model):
    model = make_model("zero")
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    other = with_policy(model, "skip")
    assert torch.equal(torch.rand(1), expected)
    assert not other.training
    weights = dict(other.named_parameters())
    for name, weight in model.named_parameters():
        assert weights[name].data_ptr() == weight.data_ptr()


def test_missing_token_count_equals_the_encoders(make_model):
    model = make_model("zero")
    for m in MODALITIES:
        assert missing_token_count(model, m) == model.encoders[m].impute_zeros().shape[1]
        assert missing_token_count(make_model("skip"), m) == 0


def test_outputs_of_a_model_of_two_modalities(make_model, make_batch):
    model = make_model("zero", modalities=("text", "image"))
    reading = product_outputs(model, make_batch([MODALITIES]).only(("text", "image")))
    assert reading.token_M.nonzero()[0].tolist() == [0, 2]
    assert reading.missing_token_M.sum() == 0


def test_empty_product_and_two_products_raise(make_model, make_batch):
    with pytest.raises(ValueError, match="no product"):
        product_outputs(make_model(), make_batch([()]))
    with pytest.raises(ValueError, match="expected a batch of one product, got 2"):
        product_outputs(make_model(), make_batch([("text",), ("text",)]))


@pytest.mark.parametrize("normalise", [False, True])
def test_logged_weights_follow_the_loss_settings(make_model, make_batch, normalise):
    reading = product_outputs(make_model(), make_batch([("text", "image")]))
    loss = LossConfig(row_normalise=normalise)
    expected = reading.normalised_MM if normalise else reading.weighted_MM
    assert np.array_equal(logged_weights(reading, loss), expected)
    fused = logged_weights(reading, replace(loss, weight_features="fused"))
    assert not np.allclose(fused, expected)
    assert (fused[1] == 0).all()


def test_nearest_products_exclude_the_product_itself():
    emb_GD = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    index = SearchIndex.build(emb_GD, [f"p{k}" for k in range(9)])
    cosine_G = index.emb_GD @ index.emb_GD[3]
    order = [k for k in np.argsort(-cosine_G) if k != 3]
    found = nearest_products(index, index.emb_GD[3], "p3")
    assert [name for name, _ in found] == [f"p{k}" for k in order[:5]]
    np.testing.assert_allclose([c for _, c in found], cosine_G[order[:5]], atol=1e-6)
    assert len(nearest_products(index, index.emb_GD[3], "p3", 20)) == 8


def test_with_policy_sets_the_config(make_model):
    model = make_model("zero")
    assert with_policy(model, "skip").missing == MissingConfig("skip")
