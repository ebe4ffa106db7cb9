"""Pretraining, search, evaluation and shards with frozen models for every modality."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from scale.config import Config, FeatureConfig
from scale.data.catalogue import Catalogue
from scale.data.shards.reader import ShardDataset
from scale.data.shards.writer import write_shards
from scale.explore.masking import MaskingExplorer
from scale.explore.scores import ScoreExplorer
from scale.explore.source import ExplorerSource
from scale.losses.masking import WordPieces, mask_batch
from scale.modalities import MODALITIES, TASKS
from scale.run import Run
from scale.studies import Noise, apply_noise, mask_entities, mask_words
from scale.training.pretrain import pretrain
from tests.data.test_backbones import save_audio, save_bert, save_model
from tests.training.small_data import MODEL


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Settings with a random model for every modality."""
    folder = tmp_path_factory.mktemp("models")
    bert, vit = save_bert(folder / "bert"), folder / "vit"
    save_model(vit, "test_vit", img_size=48)
    return FeatureConfig(
        text_features=str(bert), table_features=str(bert), image_features=str(vit),
        video_features=str(vit), audio_features=str(save_audio(folder / "audio", "whisper")),
        text_length=8, table_length=14, image_grid=2, video_frames=3, audio_frames=6,
        audio_seconds=1.0, vocab_size=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def config(features):
    sizes = {f"{m}_{kind}": 0 for m in MODALITIES for kind in ("length", "features")}
    model = replace(MODEL, **sizes, vocab_size=0)
    config = Config(features=features, model=model)
    train = replace(config.train, steps=4, batch_size=8, eval_every=2, checkpoint_every=2)
    return replace(config, train=replace(train, device="cpu"))


@pytest.fixture(scope="module")
def run(config, small_catalogue, cache_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "vectors"
    pretrain(config, small_catalogue, folder, progress=False)
    return Run.load(folder, "last")


def test_every_modality_is_a_regression(run, small_catalogue):
    assert all(run.config.model.continuous(m) for m in MODALITIES)
    sizes = {m: run.config.model.feature_size(m) for m in MODALITIES}
    assert sizes == {"text": 16, "table": 16, "image": 64, "video": 64, "audio": 16}
    data = run.dataset(Catalogue.open(small_catalogue))
    batch = data.collate(range(12))
    masked = mask_batch(batch, run.config.mask, WordPieces.of(data.tokenizer), (0,), TASKS)
    output = run.model(masked.batch, masked.hidden)
    for m, predicted in output.predictions.items():
        assert predicted.shape == masked.targets[m].shape == (masked.hidden[m].sum(), sizes[m])
    # Whole attributes or values are masked, and structure never.
    table, hidden_RL = batch.tokens["table"], masked.hidden["table"]
    for entity_L, hidden_L in zip(table.entity_RL, hidden_RL, strict=True):
        chosen = set(entity_L[hidden_L].tolist())
        assert chosen
        assert -1 not in chosen
        assert torch.equal(torch.isin(entity_L, torch.tensor(sorted(chosen))), hidden_L)
    shown = masked.batch.tokens["table"]
    assert bool((shown.values[hidden_RL] == 0).all())
    # Nor do the word pieces contain the hidden ones.
    assert bool((shown.pieces_RL[hidden_RL] == -1).all())
    assert torch.equal(shown.pieces_RL[~hidden_RL], table.pieces_RL[~hidden_RL])
    part = table.select(torch.tensor([1, 0])).to("cpu")
    assert torch.equal(part.pieces_RL, table.pieces_RL[[1, 0]])


def test_search_scores_and_evaluation(run, small_catalogue):
    catalogue = Catalogue.open(small_catalogue)
    hits = run.search("red thing number 4", catalogue, k=3)
    assert len(hits) == 3
    assert run.search("red thing number 4", catalogue, k=3).equals(hits)
    assert not run.search("dark view", catalogue, k=3).similarity.equals(hits.similarity)
    scores = run.scores(catalogue[1])
    assert torch.isfinite(scores.weighted_BMM).all()
    assert len(run.evaluate(catalogue)) > 10
    assert run.untrained().config == run.model.config


def test_a_stopped_run_continues_to_the_bit(run, config, small_catalogue, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        from scale.training.trainer import Trainer

        step = Trainer.train_step

        def stopped(self, number, *rest):
            if number == 2:
                raise KeyboardInterrupt
            return step(self, number, *rest)

        patch.setattr(Trainer, "train_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, small_catalogue, tmp_path, progress=False)
    pretrain(config, small_catalogue, tmp_path, resume=True, progress=False)
    resumed = Run.load(tmp_path, "last").model.state_dict()
    for name, weight in run.model.state_dict().items():
        assert torch.equal(weight, resumed[name]), name


def test_shards_hold_the_same_vectors(run, small_catalogue, cache_folder, tmp_path):
    write_shards(small_catalogue, run.config, tmp_path, products_per_shard=20, workers=1)
    shards = ShardDataset.open(tmp_path)
    data = run.dataset(Catalogue.open(small_catalogue))
    assert shards.feature_sizes == data.feature_sizes
    rows = [0, 25, 5, 40, 11]
    for m, tokens in shards.collate(rows).tokens.items():
        expected = data.collate(rows).tokens[m]
        np.testing.assert_allclose(tokens.values, expected.values, atol=1e-3)
        assert torch.equal(tokens.rows_R, expected.rows_R)
        if m == "table":
            assert torch.equal(tokens.entity_RL, expected.entity_RL)
        if m in ("text", "table"):
            assert torch.equal(tokens.pieces_RL, expected.pieces_RL)


def test_damaged_words_become_vectors(run, small_catalogue):
    data = run.dataset(Catalogue.open(small_catalogue))
    noisy = apply_noise(data, [Noise("typo", "text", 1.0), Noise("attribute_swap", "table")], 0)
    clean, changed = (d.collate([0]).tokens for d in (data, noisy.dataset))
    assert changed["text"].values.shape[2] == 16
    assert changed["text"].pieces_RL.shape == changed["text"].padding_RL.shape
    assert not torch.equal(changed["text"].values, clean["text"].values)
    # Standardised like the clean ones.
    assert changed["text"].values.abs().max() < 3 * clean["text"].values.abs().max()


def test_the_masking_explorer_shows_losses_and_says_why_there_are_no_words(run, small_catalogue):
    source = ExplorerSource.open(run, small_catalogue, None)
    explorer = MaskingExplorer(source, "p01", "MLM")
    assert explorer.hidden
    assert "no words to predict" in explorer.answer.html
    assert "green" in explorer.prompt.html
    assert "loss" in explorer.summary()
    explorer.task.value = "MEM"
    explorer.flush()
    assert "no words to predict" in explorer.answer.html
    with pytest.raises(ValueError, match="vectors of a frozen model"):
        explorer.picture()
    explorer.task.value = "MAM"
    explorer.flush()
    assert "contain no colours" in explorer.answer.html
    with pytest.raises(ValueError, match="no spectrogram to draw"):
        explorer.picture()
    assert "audio" in ScoreExplorer(source, "p01").summary()
    with pytest.raises(ValueError, match="vectors of a frozen model"):
        mask_words(source.data, ["red"])
    assert mask_entities(source.data, ["kind"]).targets["table"].shape[1] == 16


def test_old_settings_have_word_pieces():
    config = Config()
    old = config.to_dict()
    for name in ("text_features", "table_features", "backbone_size", "image_grid"):
        old["features"].pop(name)
    for name in ("text_features", "table_features"):
        old["model"].pop(name)
    assert Config.from_dict(old) == config
    assert not config.model.continuous("text")
    vectors = config.with_features(text_features="minilm")
    assert vectors.model.continuous("text")
    assert not vectors.model.continuous("table")
    assert vectors.with_features(text_features="pieces") == config
    assert asdict(config.model)["text_features"] == 0
    with pytest.raises(ValueError, match=r"model.text_features is 5"):
        replace(config.underived(), model=replace(config.underived().model, text_features=5))
