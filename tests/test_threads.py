"""Choice of the number of threads."""

import os
from dataclasses import replace

import pytest
import torch

from scale import threads
from scale.config import base, finetune, micro, pretrained, small, tiny
from scale.threads import available_cores, choose_threads, torch_threads


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets the number of cores and the environment of a process."""

    def make(cores=4, torch_number=4, **variables):
        monkeypatch.setattr(threads, "available_cores", lambda: cores)
        torch.set_num_threads(torch_number)
        for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return make


@pytest.mark.parametrize("preset", [micro, tiny, pretrained])
def test_small_models_use_one_thread(machine, preset):
    machine()
    assert choose_threads(preset()) == 1


@pytest.mark.parametrize("preset", [small, base, finetune])
def test_large_models_use_the_share_of_the_cores(machine, preset):
    config = preset()
    config = replace(config, train=replace(config.train, device="cpu"))
    machine(cores=4)
    assert choose_threads(config) == 4
    machine(cores=3)  # fewer than torch's: a quota
    assert choose_threads(config) == 3
    machine(torch_number=2)  # torch.set_num_threads(2)
    assert choose_threads(config) == 2
    machine(LOCAL_WORLD_SIZE="3")
    assert choose_threads(config) == 1
    # torchrun sets one thread for several processes.
    machine(torch_number=1, LOCAL_WORLD_SIZE="2", OMP_NUM_THREADS="1")
    assert choose_threads(config) == 2


def test_the_users_number_comes_first(machine):
    machine(torch_number=3, OMP_NUM_THREADS="3")
    assert choose_threads(tiny()) == 3
    config = replace(tiny(), train=replace(tiny().train, threads=2))
    assert choose_threads(config) == 2


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 8), ("250000 100000", 2),
                                              ("50000 100000", 1)])  # fmt: skip
def test_cores_are_those_of_the_affinity_and_of_the_quota(tmp_path, monkeypatch, quota, cores):
    path = tmp_path / "cpu.max"
    path.write_text(quota + "\n")
    monkeypatch.setattr(threads, "CPU_QUOTA", path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_cores() == cores


def test_the_number_is_restored():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with pytest.raises(KeyError), torch_threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before
