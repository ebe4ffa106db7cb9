"""The named systems: of one size, each different from the others, each documented."""

from dataclasses import asdict, replace

import pytest
import torch

from scale.config import LossConfig, tiny
from scale.modalities import MODALITIES, TASKS
from scale.model.scale import ScaleModel
from scale.studies.systems.model import TOLERANCE, build_system, count_parameters, find_size
from scale.studies.systems.named import SYSTEMS

METHOD = {
    "VL-BERT", "ImageBERT", "VideoBERT", "MMT", "HERO", "VisualBERT", "UNITER", "ViLBERT",
    "LXMERT", "CLIP", "SCALE",
}  # fmt: skip


def narrow():
    config = tiny()
    return replace(config, model=replace(config.model, width=32, encoder_layers=1, jct_layers=1))


@pytest.mark.parametrize("preset", [tiny, narrow])
@pytest.mark.parametrize("name", SYSTEMS)
def test_as_many_parameters_as_scale(name, preset):
    for system in (SYSTEMS[name](), SYSTEMS[name]().everywhere()):
        for modalities in {MODALITIES, system.modalities}:
            config = preset()
            config = replace(config, model=replace(config.model, modalities=modalities))
            with torch.device("meta"):
                wanted = count_parameters(ScaleModel(config.model, config.missing))
                found = count_parameters(build_system(system, config, seed=0))
            assert abs(found / wanted - 1) <= TOLERANCE


def test_the_systems_of_the_method_page():
    assert {make().name for make in SYSTEMS.values()} == METHOD


def test_no_two_systems_are_the_same():
    told = {"name", "paper", "faithful", "adapted"}
    made = [
        tuple(v for k, v in asdict(make()).items() if k not in told) for make in SYSTEMS.values()
    ]
    assert len(set(made)) == len(made)
    everywhere = [
        tuple(v for k, v in asdict(make().everywhere()).items() if k not in told | {"modalities"})
        for make in SYSTEMS.values()
    ]
    assert len(set(everywhere)) == len(everywhere)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_says_what_it_is(name):
    system = SYSTEMS[name]()
    assert SYSTEMS[name].__doc__.startswith(system.name)
    assert "arXiv" in system.paper
    assert system.faithful.endswith(".")
    assert system.adapted.endswith(".")
    assert system.everywhere().modalities == MODALITIES


def test_tasks_for_the_masking():
    of = {name: make().loss_tasks for name, make in SYSTEMS.items()}
    assert of["visualbert"] == ("MLM",)
    assert of["uniter"] == ("MLM", "MRP")
    assert of["hero"] == ("MLM", "MFP")
    assert of["mmt"] == of["clip"] == ("contrastive",)
    assert of["scale_itself"] == ("contrastive", *TASKS)
    assert SYSTEMS["visualbert"]().everywhere().loss_tasks == ("MLM", "MEM")
    for tasks in of.values():
        LossConfig(tasks=tasks)


def test_scale_is_scale():
    config = narrow()
    model = build_system(SYSTEMS["scale_itself"](), config, seed=0)
    assert isinstance(model, ScaleModel)
    assert model.config == config.model


def test_what_cannot_be_built_is_an_error():
    config = narrow()
    audio = replace(config, model=replace(config.model, modalities=("audio",)))
    with pytest.raises(ValueError, match="UNITER sees"):
        build_system(SYSTEMS["uniter"](), audio, seed=0)
    # Two streams of one layer are too many where SCALE has next to nothing.
    flat = replace(config.model, encoder_layers=0, jct_layers=0, vocab_size=64)
    with pytest.raises(ValueError, match="no depth gives"):
        find_size(SYSTEMS["lxmert"](), replace(config, model=flat))
