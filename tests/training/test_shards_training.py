"""Training from shards equals training from the catalogue bit by bit, also when resumed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scale.cli import main
from scale.config import Config
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.shards.format import ShardsError
from scale.data.shards.reader import ShardDataset
from scale.data.shards.writer import write_shards
from scale.evaluation.embed import embed_dataset
from scale.training.distributed import destroy_processes
from scale.training.logging import read_metrics
from scale.training.pretrain import pretrain
from scale.training.run import RunFolder, TrainedRun
from tests.processes import run_two
from tests.training.stops import Stopped, before_the_optimizer, stop_in_step


def write(config, catalogue, out, cache, products_per_shard):
    write_shards(catalogue, config, out, products_per_shard=products_per_shard, workers=1,
                 cache=cache, progress=False)  # fmt: skip
    return out


@pytest.fixture(scope="module")
def one_shard(small, small_catalogue, cache, tmp_path_factory):
    """All products in one shard, for a normaliser bit-identical to the catalogue's."""
    return write(small, small_catalogue, tmp_path_factory.mktemp("one") / "s", cache, 64)


@pytest.fixture(scope="module")
def shards(small, small_catalogue, cache, tmp_path_factory):
    return write(small, small_catalogue, tmp_path_factory.mktemp("many") / "s", cache, 5)


@pytest.fixture(scope="module")
def sharded_run(small, shards, tmp_path_factory):
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "sharded"
    pretrain(small, shards, out, progress=False)
    return out


def test_shards_equal_the_catalogue(small, one_shard, whole_run, same_run, tmp_path):
    pretrain(small, one_shard, tmp_path / "run", progress=False)
    same_run(tmp_path / "run", whole_run)
    for name in ("config.json", "data.json", "normaliser.safetensors", "problems.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (whole_run / name).read_bytes(), name


def test_shards_have_no_second_views(small, shards, tmp_path, caplog):
    config = replace(small, train=replace(small.train, second_views=True, steps=1))
    run = pretrain(config, shards, tmp_path / "run", progress=False)
    assert not run.config.train.second_views
    assert "shards contain no second views" in caplog.text


def stopped_in(step, *arguments, **options):
    """Pretrain until this step."""
    with pytest.MonkeyPatch.context() as patch:
        stop_in_step(patch, step, before_the_optimizer)
        with pytest.raises(Stopped):
            pretrain(*arguments, progress=False, **options)


def test_stopped_in_the_middle_of_an_epoch_it_resumes_bit_identically(
    small, shards, sharded_run, same_run, tmp_path
):
    """An epoch is 3 batches."""
    out = tmp_path / "run"
    for step in (2, 4, 7):
        stopped_in(step, small, shards, out, resume=True)
    pretrain(small, shards, out, resume=True, progress=False)
    same_run(out, sharded_run)


def test_run_from_the_catalogue_resumes_from_shards(
    small, small_catalogue, cache, one_shard, whole_run, same_run, tmp_path
):
    """Products, tokens and order are the same."""
    out = tmp_path / "run"
    stopped_in(7, small, small_catalogue, out, cache=cache)
    pretrain(small, one_shard, out, resume=True, progress=False)
    same_run(out, whole_run)


@pytest.mark.slow
def test_run_with_shuffled_shards_resumes_bit_identically(
    small, small_catalogue, shards, sharded_run, same_run, tmp_path
):
    config = replace(small, train=replace(small.train, shuffle_shards=2))
    pretrain(config, shards, tmp_path / "whole", progress=False)
    stopped_in(7, config, shards, tmp_path / "run")
    pretrain(config, shards, tmp_path / "run", resume=True, progress=False)
    same_run(tmp_path / "run", tmp_path / "whole")
    losses = [
        [line["loss/total"] for line in read_metrics(run) if "loss/total" in line]
        for run in (tmp_path / "whole", sharded_run)
    ]
    assert losses[0] != losses[1], "the order must differ"
    with pytest.raises(ValueError, match="shuffle_shards is for shards"):
        pretrain(config, small_catalogue, tmp_path / "catalogue", progress=False)


def test_features_of_shards_equal_those_of_the_catalogue(
    sharded_run, small_catalogue, shards, cache
):
    assert any("val/Recall@10" in line for line in read_metrics(sharded_run))
    assert any("val/mAP@1" in line for line in read_metrics(sharded_run))
    run = TrainedRun.load(sharded_run)
    catalogue = run.dataset(Catalogue.open(small_catalogue), "test", cache=cache)
    sharded = ShardDataset.open(shards, run.normaliser)
    sharded = sharded.subset(sharded.rows_of("test"))
    found, wanted = (embed_dataset(run.model, d, progress=False) for d in (sharded, catalogue))
    assert found.ids == wanted.ids
    assert (found.pooled_NMD == wanted.pooled_NMD).all()


def test_shards_of_other_settings_raise(small, shards, tmp_path):
    other = replace(small, features=replace(small.features, mel_bins=6),
                    model=replace(small.model, audio_features=6))  # fmt: skip
    with pytest.raises(ShardsError, match=r"written with other features\.mel_bins"):
        pretrain(other, shards, tmp_path / "run", progress=False)


def test_unfinished_shards_raise(small, shards, tmp_path):
    copy = Path(shutil.copytree(shards, tmp_path / "s"))
    (copy / "manifest.json").unlink()
    with pytest.raises(ShardsError, match="unfinished"):
        pretrain(small, copy, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_products_raises(small, small_catalogue, cache, sharded_run, tmp_path):
    catalogue = Catalogue.open(small_catalogue)
    fewer = replace(catalogue, products=catalogue.products[:40])
    other = write(small, fewer, tmp_path / "s", cache, 5)
    out = Path(shutil.copytree(sharded_run, tmp_path / "run"))
    with pytest.raises(ValueError, match=r"tokenizer|differs from that of the run to resume"):
        pretrain(small, other, out, resume=True, progress=False)


def test_damaged_shard_raises_with_the_product(small, shards, tmp_path, capsys):
    copy = Path(shutil.copytree(shards, tmp_path / "s"))
    for path in copy.glob("shard-*.bin"):
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1  # The last product of each.
        path.write_bytes(raw)
    small.save(tmp_path / "config.json")
    with pytest.raises(ShardsError, match=r"shard-00000\d\.bin: product 'p\d\d' is damaged"):
        pretrain(small, copy, tmp_path / "run", progress=False)


def train_one_of_two(config: Config, shards: Path, out: Path) -> None:
    pretrain(config, shards, out, progress=False)
    destroy_processes()


@pytest.mark.slow
def test_two_processes_equal_one(small, shards, tmp_path):
    """Each reads its half of every batch."""
    train = replace(small.train, device="cpu", steps=4)
    config = replace(small, train=train, model=replace(small.model, dropout=0.0))
    pretrain(config, shards, tmp_path / "one", progress=False)
    run_two(train_one_of_two, config, shards, tmp_path / "two")
    one, two = (
        [line for line in read_metrics(tmp_path / name) if "loss/total" in line]
        for name in ("one", "two")
    )
    assert len(one) == len(two) == 4
    for a, b in zip(one, two, strict=True):
        assert a["loss/total"] == pytest.approx(b["loss/total"], abs=2e-4)
    facts = [json.loads(RunFolder(tmp_path / n).data.read_text()) for n in ("one", "two")]
    assert facts[0] == facts[1]


def test_command_trains_from_shards(small_catalogue, cache_folder, tmp_path, capsys):
    shards, out = str(tmp_path / "s"), str(tmp_path / "run")
    size = ["--preset", "tiny", "--model.width", "16", "--model.heads", "2"]
    write = ["shards", "--catalogue", str(small_catalogue), "--out", shards, "--workers", "1"]
    assert main([*write, *size]) == 0
    train = ["--train.steps", "3", "--train.batch-size", "8"]
    assert main(["pretrain", "--catalogue", shards, "--out", out, *size, *train]) == 0
    assert f"scale evaluate {out} --catalogue CATALOGUE" in capsys.readouterr().out
    wrong = ["pretrain", "--catalogue", shards, "--out", f"{out}2", "--preset", "micro", *train]
    assert main(wrong) == 2
    message = capsys.readouterr().err
    assert "written with other features.audio_frames" in message
    assert "Traceback" not in message


def test_lengths_are_chosen_by_the_training_products(
    small, small_catalogue, cache, tmp_path, caplog
):
    config = replace(small.underived(), train=replace(small.train, steps=1, eval_every=0))
    config = config.with_features(text_length="auto", table_length="auto")
    write(config, small_catalogue, tmp_path / "shards", cache, 100)
    features = []
    for source in (tmp_path / "shards", small_catalogue):
        run = pretrain(config, source, tmp_path / "run", cache=cache, resume=True, progress=False)
        features.append(run.config.features)
    assert features[0].text_length == run.config.model.text_length == 24
    assert features[0].table_length == run.config.model.table_length == 24
    assert features[0] == features[1]
    assert "cut" not in caplog.text
    with pytest.raises(ValueError, match="text_length is auto: choose_lengths"):
        ProductDataset.build(Catalogue.open(small_catalogue), config.features, None)
    with pytest.raises(ValueError, match="table_length is 'automatic', not int"):
        Config.from_dict({"features": {"table_length": "automatic"}})
