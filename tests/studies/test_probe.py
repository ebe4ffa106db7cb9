"""One product under changes: the same content as `apply_noise` gives, media decoded once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.data.media import MediaError
from scale.modalities import INDEX, MODALITIES
from scale.studies import damage
from scale.studies.noise import KINDS, Noise, apply_noise
from scale.studies.single_product import ModalityChange, ProductEditor

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
def test_damage_is_that_of_apply_noise(data, probe, kind, modality):
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
def test_a_mismatch_takes_what_apply_noise_gives(data, probe, modality):
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


def test_a_mismatch_never_takes_equal_content(data, probe):
    for m in MODALITIES:
        for row in data.present_NM[:, INDEX[m]].nonzero()[0].tolist():
            giver = probe.donor(row, m)
            assert data.content_id_NM[giver, INDEX[m]] != data.content_id_NM[row, INDEX[m]]
            assert data.content_id_NM[giver, INDEX[m]] >= 0


def test_a_mismatch_needs_another_content(data, row):
    one = ProductEditor(data.subset([row]))
    assert one.donor(0, "image") is None
    with pytest.raises(ValueError, match=rf"{data.ids[row]}.*no other.*image"):
        one.content(0, "image", ModalityChange(mismatch=True))


def test_damage_comes_after_the_mismatch(data, probe, row):
    both = probe.content(row, "text", ModalityChange(mismatch=True, damage=("word_drop", 0.5)))
    other = probe.content(row, "text", ModalityChange(mismatch=True))
    assert both.donor == other.donor != row
    assert len(both.shown) < len(other.shown)


def test_without_changes_the_batch_is_that_of_the_dataset(data, probe):
    for row in range(len(data)):
        batch, expected = probe.batch(row, {}), data.collate([row])
        batch.check()
        assert torch.equal(batch.present_BM, expected.present_BM)
        for m, tokens in batch.tokens.items():
            assert torch.equal(tokens.values, expected.tokens[m].values)
            assert torch.equal(tokens.padding_RL, expected.tokens[m].padding_RL)


def test_a_change_touches_its_own_modality_alone(probe, row):
    clean = probe.batch(row, {})
    changed = probe.batch(
        row, {"image": ModalityChange(damage=("blur", 2.0)), "text": ModalityChange(False)}
    )
    assert "text" not in changed.tokens
    assert not torch.equal(changed.tokens["image"].values, clean.tokens["image"].values)
    for m in ("table", "video", "audio"):
        assert torch.equal(changed.tokens[m].values, clean.tokens[m].values)


def test_what_is_shown_is_what_was_encoded(data, probe, row):
    blurred = probe.content(row, "image", ModalityChange(damage=("blur", 2.0))).shown
    sharp = probe.content(row, "image", ModalityChange()).shown
    assert blurred.shape == sharp.shape == (1, *sharp.shape[1:3], 3)
    assert max(sharp.shape[1:3]) == data.config.image_size
    assert blurred.std() < sharp.std()


def test_frames_that_moved_are_shown_with_their_places(probe, row):
    clean = probe.content(row, "video", ModalityChange())
    moved = probe.content(row, "video", ModalityChange(damage=("frame_shuffle", 1.0)))
    assert clean.place_T.tolist() == list(range(len(clean.shown)))
    assert moved.place_T.tolist() != clean.place_T.tolist()
    assert np.array_equal(moved.shown, clean.shown[moved.place_T])
    assert np.array_equal(moved.sequence, clean.sequence[moved.place_T])


def test_entries_that_the_model_reads(data, probe, row):
    read = probe.content(row, "table", ModalityChange()).entities_read
    assert read
    assert max(read) < 2 * len(data.products[row].table)


def test_media_are_decoded_once(probe, row, monkeypatch):
    loaded = []
    load = damage.load_media
    monkeypatch.setattr(damage, "load_media", lambda *a: loaded.append(a[0]) or load(*a))
    for strength in (1.0, 2.0, 3.0):
        change = ModalityChange(damage=("blur", strength))
        probe.batch(row, {"image": change, "video": change})
    assert sorted(loaded) == ["audio", "image", "video"]


def test_of_feature_files_only_whole_vectors_can_move(data, row):
    config = replace(data.config, video_features="file", image_features="file")
    probe = ProductEditor(replace(data, config=config))
    assert probe.kinds("image") == ()
    assert probe.kinds("video") == ("frame_drop", "frame_shuffle")
    moved = probe.content(row, "video", ModalityChange(damage=("frame_shuffle", 1.0)))
    assert moved.shown is None
    assert np.array_equal(moved.sequence, sequence(data, "video", row)[moved.place_T])


def test_kinds_that_take_a_whole_modality_are_no_damage(probe):
    assert probe.kinds("text") == ("word_drop", "typo")
    assert probe.kinds("audio") == ("snr",)


def test_a_file_that_is_gone_is_named(data, row, tmp_path):
    gone = replace(data.products[row], image=tmp_path / "gone.png")
    products = (*data.products[:row], gone, *data.products[row + 1 :])
    with pytest.raises(MediaError, match=r"gone\.png"):
        ProductEditor(replace(data, products=products)).batch(row, {})


def test_what_a_product_lacks_stays_missing(data, probe):
    row, m = next((r, k) for r, k in zip(*np.where(~data.present_NM), strict=True))
    change = ModalityChange(mismatch=True, damage=None)
    assert probe.content(int(row), MODALITIES[m], change) is None


def test_a_strength_outside_its_limits_is_refused(probe, row):
    with pytest.raises(ValueError, match="outside"):
        probe.content(row, "image", ModalityChange(damage=("jpeg", 0.0)))
