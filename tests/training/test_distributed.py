"""Several processes (gloo, CPU) equal one process, whatever products each of them has."""

import shutil
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.commands.launch import launch_command, launch_command_parser
from accelerate.utils import DistributedType, DynamoBackend
from safetensors.torch import load_file

from scale.cli import main
from scale.training import distributed
from scale.training import trainer as training_step
from scale.training.checkpoint_manager import CheckpointManager
from scale.training.distributed import make_accelerator
from scale.training.logging import read_metrics, read_scores
from scale.training.run import RunFolder, seeded_model
from scale.training.trainer import Trainer
from tests.processes import run_several, run_two, start
from tests.training import small_data


@pytest.fixture(scope="module")
def folder_of_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    run_two(small_data.train_all, folder)
    return folder


def found_by(folder, ending="", count=2, names=tuple(small_data.SETTINGS)):
    """Return the results of all processes by setting."""
    return {
        name: [load_file(folder / f"{number}-{rank}{ending}.safetensors") for rank in range(count)]
        for number, name in enumerate(small_data.SETTINGS)
        if name in names and (not ending or name in small_data.SHARDED)
    }


@pytest.fixture(scope="module")
def two_processes(folder_of_two):
    return found_by(folder_of_two)


@pytest.fixture(scope="module")
def sharded(folder_of_two):
    return found_by(folder_of_two, "-fsdp")


@pytest.fixture(scope="module")
def one_process():
    """The results of one process by setting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_step, "batch_indices", None)  # Restored afterwards.
        return {name: small_data.train_steps(name) for name in small_data.SETTINGS}


@pytest.mark.parametrize("name", small_data.SETTINGS)
def test_two_processes_equal_one_in_losses_gradient_and_weights(two_processes, one_process, name):
    check_replicated(two_processes[name], one_process[name])


def check_replicated(processes, one):
    assert sum(value.abs().sum() for key, value in one.items() if "gradient" in key) > 0
    for found in processes:
        for key in one.keys() | found.keys():
            if key not in one:
                assert not found[key].any(), f"{key}: unused, DDP returns zeros"
                continue
            torch.testing.assert_close(found[key], one[key], rtol=0, atol=1e-6, msg=key)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", small_data.SHARDED)
def test_sharded_training_equals_one_process(sharded, one_process, name):
    """With FSDP2, each process holds half of the weights and of the moments."""
    assert [found["local share"].item() for found in sharded[name]] == pytest.approx(
        [0.5, 0.5], abs=0.02
    )
    check_sharded(sharded[name], one_process[name], name)


def check_sharded(processes, one, name):
    last = "1" if name in small_data.TWO_STEPS else "0"
    one = {key: value for key, value in one.items() if key[0] <= last}
    for found in processes:
        for key in one.keys() | found.keys() - {"local share"}:
            if name == "dropout":
                # Encoders that run only for the other process draw random numbers too.
                torch.testing.assert_close(found[key], processes[0][key], msg=key)
            elif key not in one:
                assert not found[key].any(), f"{key}: unused"
            elif "/weight/" in key and f"0/gradient/{key.split('/', 2)[2]}" not in one:
                # The gradient is 0 instead of None, so AdamW's decay continues.
                torch.testing.assert_close(found[key], one[key], rtol=1e-4, atol=0, msg=key)
            else:
                torch.testing.assert_close(found[key], one[key], rtol=0, atol=1e-6, msg=key)


MORE = ("default", "one process without media", "no audio", "logits")
"""Settings that are also trained with more processes: of eight, each has one product."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [4, 8])
def test_more_processes_equal_one(count, one_process, tmp_path):
    """With DDP and with FSDP2, also if most processes lack media."""
    run_several(count, small_data.train_all, tmp_path, MORE)
    replicated = found_by(tmp_path, "", count, MORE)
    sharded = found_by(tmp_path, "-fsdp", count, MORE)
    for name in MORE:
        check_replicated(replicated[name], one_process[name])
        check_sharded(sharded[name], one_process[name], name)
        shares = [found["local share"].item() for found in sharded[name]]
        assert sum(shares) == pytest.approx(1)
        assert max(shares) < 1.5 / count


def test_settings_differ_and_clipping_acts(two_processes):
    norms = {name: found[0]["0/grad_norm"].item() for name, found in two_processes.items()}
    assert len({round(norm, 6) for norm in norms.values()}) == len(norms)
    assert any(norm > 1 for norm in norms.values()), "no gradient is clipped"
    gradients = two_processes["no audio"][0].keys()
    assert "0/gradient/encoders.image.project.weight" in gradients
    assert "0/gradient/encoders.audio.project.weight" not in gradients


def test_rank_and_size_of_a_single_process():
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.own_share(7) == slice(0, 7)
    rows = torch.ones(2, 3)
    assert distributed.gather(rows) is rows
    assert torch.equal(distributed.all_reduce_sum(rows), rows)
    for value in (True, False):
        assert distributed.broadcast_from_main(value, torch.device("cpu")) is value
    distributed.barrier()


def test_indivisible_batch_raises(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(ValueError, match=r"8 products a step .* among 3 processes: choose another"):
        distributed.own_share(8)
    assert distributed.own_share(9) == slice(0, 3)


def test_weight_fn_with_micro_batches_raises():
    present, config = small_data.SETTINGS["posterior"]
    data = small_data.SmallData(present)
    with pytest.raises(ValueError, match="the whole batch at once: one process and"):
        Trainer(config, seeded_model(config), data, weight_fn=lambda *_: None)


def test_unsupported_distributed_type_raises(monkeypatch):
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(
        ValueError, match=r"configured for FSDP, which .*--train.fsdp.*docs/scaling.md"
    ):
        make_accelerator("cpu", "no")


@pytest.fixture(scope="module")
def command(small_catalogue):
    """A short pretraining, in which some processes do not need all encoders."""
    return (
        "pretrain", "--catalogue", str(small_catalogue), "--preset", "micro", "--model.width", "16",
        "--model.heads", "2", "--model.encoder-layers", "1", "--missing.policy", "skip",
        "--train.steps", "4", "--train.batch-size", "8", "--train.log-every", "1",
        "--train.eval-every", "2", "--train.checkpoint-every", "2", "--train.keep-every", "2",
        "--train.keep-last", "2", "--out",
    )  # fmt: skip


@pytest.fixture(scope="module")
def one(command, cache_folder, tmp_path_factory):
    """The run of one process."""
    out = tmp_path_factory.mktemp("one") / "run"
    assert main([*command, str(out)]) == 0
    return out


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_launched_pretraining_equals_one_process_and_resumes_bit_identically(
    command, one, same_run, tmp_path, monkeypatch
):
    """The whole run with accelerate launch, then its second half."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    two, resumed, log = tmp_path / "two", tmp_path / "resumed", tmp_path / "log"
    launched = start(accelerate_launch, "-m", "scale.cli", *command, str(two), log=log)
    launched.join()
    assert launched.exitcode == 0, log.read_text()[-3000:]
    assert log.read_text().count("trained:") == 1
    check_metrics(one, two)
    assert len(read_scores(two)) == len(read_scores(one))
    assert files(two) == files(one)

    shutil.copytree(two, resumed)
    remove_step_4(resumed)
    run_two(run_command, *command, str(resumed), "--resume")
    same_run(resumed, two)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sharded_pretraining_equals_one_process_and_resumes_bit_identically(
    command, one, same_run, tmp_path
):
    """With FSDP2, resumed with FSDP2 and in one process."""
    two, resumed = tmp_path / "two", tmp_path / "resumed"
    run_two(run_command, *command, str(two), "--train.fsdp")
    check_metrics(one, two)
    assert files(two) == files(one)

    shutil.copytree(two, resumed)
    remove_step_4(resumed)
    run_two(run_command, *command, str(resumed), "--train.fsdp", "--resume")
    same_run(resumed, two)
    remove_step_4(resumed)
    assert main([*command, str(resumed), "--resume"]) == 0
    check_metrics(one, resumed)


def accelerate_launch(*arguments: str) -> None:
    """Run `accelerate launch` with two processes."""
    options = (
        "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
        "--dynamo_backend", "no", "--main_process_port", "0",
    )  # fmt: skip
    launch_command(launch_command_parser().parse_args([*options, *arguments]))


def run_command(*arguments: str) -> None:
    assert main([*arguments]) == 0


def check_metrics(one: Path, other: Path) -> None:
    a, b = read_metrics(one), read_metrics(other)
    assert [line["step"] for line in a] == [line["step"] for line in b]
    for left, right in zip(a, b, strict=True):
        for key in left.keys() - {"products_per_second"}:
            assert right[key] == pytest.approx(left[key], rel=1e-5, abs=1e-6), key


def remove_step_4(run: Path) -> None:
    saved = RunFolder(run).checkpoints
    for name, step in CheckpointManager(saved).steps().items():
        if step == 4:
            shutil.rmtree(saved / name)


def files(folder: Path) -> set[Path]:
    found = {path.relative_to(folder) for path in folder.rglob("*")}
    return {path for path in found if path.parts[0] != "tensorboard"}


def test_the_environment_of_accelerate_does_not_change_training(monkeypatch, caplog):
    """With 4 accumulated steps, accelerate divides the gradient by 4."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")
    accelerator = make_accelerator("cpu", "no")
    weight = torch.ones(1, requires_grad=True)
    accelerator.backward(2 * weight.sum())
    assert weight.grad.item() == 2
    assert accelerator.state.dynamo_plugin.backend == DynamoBackend.NO
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4 in the environment is ignored" in caplog.text
    assert "ACCELERATE_DYNAMO_BACKEND=EAGER in the environment is ignored" in caplog.text
