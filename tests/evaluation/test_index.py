"""Search in memory and on disk agrees with a loop over cosines; damage is detected."""

import json
import shutil
import struct
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from scale import cli
from scale.commands.models import Index
from scale.evaluation import index, index_build
from scale.evaluation.embed import (
    ProductEmbeddings,
    StoreError,
    finish_store,
    piece_name,
    unit,
    write_piece,
)
from scale.evaluation.index import ProductIndex, SearchIndex, exact_search
from scale.evaluation.index_build import build_index, measure_recall, overlap, sample
from scale.evaluation.index_settings import IndexSettings
from scale.evaluation.index_update import update_index
from scale.files import locked, sha256


@pytest.fixture
def gallery():
    return 3 * np.random.default_rng(0).normal(size=(500, 24)).astype(np.float32)


@pytest.fixture
def few_queries():
    return np.random.default_rng(1).normal(size=(20, 24)).astype(np.float32)


def test_the_nearest_by_cosine_are_found(gallery, few_queries):
    ids = [f"p{i}" for i in range(500)]
    index = SearchIndex.build(gallery, ids)
    found = index.query(few_queries, k=7)
    for q, query in enumerate(few_queries):
        cosine = gallery @ query / np.linalg.norm(gallery, axis=1) / np.linalg.norm(query)
        best = np.argsort(-cosine)[:7]
        assert found.place_QK[q].tolist() == best.tolist()
        assert found.ids[q] == tuple(ids[i] for i in best)
        assert found.score_QK[q] == pytest.approx(cosine[best], abs=1e-5)


def test_a_product_is_nearest_to_itself_and_k_is_capped(gallery):
    index = SearchIndex.build(gallery[:5], list("abcde"))
    found = index.query(gallery[:5], k=10)
    assert [ids[0] for ids in found.ids] == list("abcde")
    assert found.score_QK.shape == (5, 5)
    assert found.score_QK[:, 0] == pytest.approx(np.ones(5), abs=1e-6)
    assert index.query(gallery[:0], k=3).ids == ()


def test_equal_scores_come_in_the_gallery_order():
    index = SearchIndex.build(np.eye(3, dtype=np.float32)[[2, 0, 1, 0, 0]], list("abcde"))
    found = index.query(np.eye(3, dtype=np.float32)[:1], k=3)
    assert found.ids == (("b", "d", "e"),)


def test_many_queries_run_in_blocks(gallery, few_queries, monkeypatch):
    index = SearchIndex.build(gallery, list(map(str, range(500))))
    whole = index.query(few_queries, k=4)
    monkeypatch.setattr("scale.evaluation.index.BLOCK", 1500)
    assert index.query(few_queries, k=4).ids == whole.ids


def test_invalid_galleries_and_queries_are_refused(gallery, few_queries):
    with pytest.raises(ValueError, match="with 3 ids"):
        SearchIndex.build(gallery, ["a", "b", "c"])
    with pytest.raises(ValueError, match="cannot index"):
        SearchIndex.build(gallery[:0], [])
    with pytest.raises(ValueError, match="not finite"):
        SearchIndex.build(gallery * np.nan, ["x"] * 500)
    index = SearchIndex.build(gallery, list(map(str, range(500))))
    with pytest.raises(ValueError, match="queries of shape"):
        index.query(few_queries[:, :5])
    with pytest.raises(ValueError, match="k is 0"):
        index.query(few_queries, k=0)


COUNT, WIDTH = 3000, 32


@pytest.fixture(scope="module")
def emb_ND():
    """A hundred clusters; rounded as the pieces keep them, some twice."""
    random = np.random.default_rng(0)
    centre = random.normal(size=(100, WIDTH))[random.integers(0, 100, COUNT)]
    emb_ND = unit((centre + 0.5 * random.normal(size=(COUNT, WIDTH))).astype(np.float32))
    emb_ND[50:60] = emb_ND[70]
    return emb_ND.astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(1).normal(size=(40, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(emb_ND, tmp_path_factory):
    out = tmp_path_factory.mktemp("embeddings")
    write(out, emb_ND, [f"p{i}" for i in range(len(emb_ND))], 701)
    return out


def write(out, emb_ND, ids, size):
    starts = range(0, len(emb_ND), size)
    for number, first in enumerate(starts):
        part = emb_ND[first : first + size]
        there = np.ones((len(part), 5), bool)
        piece = ProductEmbeddings(tuple(ids[first : first + size]), part, there)
        write_piece(out / piece_name(number), piece, {})
    finish_store(out, len(starts), {"run": "r"}, {})


@pytest.fixture(scope="module")
def flat(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("flat") / "index"
    return build_index(folder, out, IndexSettings(kind="flat", queries=50))


@pytest.fixture(scope="module")
def ivfpq(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("ivfpq") / "index"
    return build_index(folder, out, IndexSettings(lists=30, probes=4, candidates=60, queries=100))


def slow_search(emb_ND, query_QD, k):
    """Cosines one by one in float64."""
    places = []
    for query in query_QD.astype(np.float64):
        cosine = [float(query @ e) for e in emb_ND.astype(np.float64)]
        places.append(sorted(range(len(emb_ND)), key=lambda n: (-cosine[n], n))[:k])
    return np.array(places)


def test_flat_from_disk_equals_the_slow_twin_and_search_in_memory(flat, emb_ND, queries):
    found = flat.query(queries, 7)
    assert np.array_equal(found.place_QK, slow_search(emb_ND, queries, 7))
    memory = SearchIndex.build(emb_ND, [f"p{i}" for i in range(COUNT)]).query(queries, 7)
    assert found.ids == memory.ids
    assert found.score_QK == pytest.approx(memory.score_QK, abs=1e-3)


def test_exact_search_in_blocks_equals_the_slow_twin(emb_ND, queries):
    expected = slow_search(emb_ND, unit(queries), 11)
    for block in (64, 999, 10_000):
        score_QK, place_QK = exact_search(emb_ND.astype(np.float16), unit(queries), 11, block)
        assert np.array_equal(place_QK, expected)
        cosine_QK = np.take_along_axis(unit(queries) @ emb_ND.T, expected, 1)
        assert score_QK == pytest.approx(cosine_QK, abs=1e-5)


def test_equal_products_come_in_their_order(flat, emb_ND):
    for found in (flat.query(emb_ND[70:71], 5).place_QK,
                  exact_search(emb_ND.astype(np.float16), emb_ND[70:71], 5, 55)[1]):  # fmt: skip
        assert found.tolist() == [[50, 51, 52, 53, 54]]


def test_ivfpq_with_all_lists_and_all_candidates_is_exact(ivfpq, flat, queries):
    found = ivfpq.query(queries, 9, probes=30, candidates=COUNT)
    exact = flat.query(queries, 9)
    assert np.array_equal(found.place_QK, exact.place_QK)
    assert found.score_QK == pytest.approx(exact.score_QK, abs=1e-5)
    assert found.ids == exact.ids


def test_ranking_again_gives_exact_scores_and_helps(ivfpq, flat, emb_ND, queries):
    exact_QK = flat.query(queries, 10).place_QK
    coarse, again = (ivfpq.query(queries, 10, 30, c) for c in (0, 60))
    cosine_QK = np.take_along_axis(unit(queries) @ emb_ND.T, again.place_QK, 1)
    assert again.score_QK == pytest.approx(cosine_QK, abs=1e-5)
    assert coarse.score_QK != pytest.approx(
        np.take_along_axis(unit(queries) @ emb_ND.T, coarse.place_QK, 1), abs=1e-3
    )
    better = overlap(again.place_QK, exact_QK).mean(), overlap(coarse.place_QK, exact_QK).mean()
    assert better[0] > better[1] + 0.1


def test_reported_recall_is_that_of_a_recount(ivfpq, emb_ND):
    facts = json.loads((ivfpq.folder / "manifest.json").read_text())
    assert [(w["probes"], w["candidates"]) for w in facts["recall"]] == [
        (1, 0), (1, 60), (4, 0), (4, 60), (16, 0), (16, 60)
    ]  # fmt: skip
    place_Q = sample(COUNT, 100, 0)
    exact = slow_search(emb_ND, emb_ND[place_Q], 11)
    for way in facts["recall"]:
        found = ivfpq.query(emb_ND[place_Q], 11, way["probes"], way["candidates"]).place_QK
        shares = []
        for own, exact_K, found_K in zip(place_Q, exact, found, strict=True):
            others = [n for n in exact_K if n != own][:10]
            shares.append(len({n for n in found_K if n != own and n >= 0} & set(others)) / 10)
        assert way["value"] == pytest.approx(np.mean(shares), abs=0.002)
        assert way["low"] <= way["value"] <= way["high"]
        assert way["n"] == 100
    values = [way["value"] for way in facts["recall"]]
    assert values[5] > values[1], "more lists find more"
    assert facts["recall"] == measure_recall(ivfpq, 100, 0)


def test_a_flat_index_recalls_everything(flat):
    assert [way["value"] for way in flat.manifest["recall"]] == [1.0]


def test_an_index_whose_table_of_lists_and_codes_exceeds_its_file_opens(folder, tmp_path, emb_ND):
    """As that of any index of a realistic size; faiss compares it with the limit of its sizes."""
    settings = IndexSettings(lists=76, code_bytes=32, queries=5)
    built = build_index(folder, tmp_path / "index", settings)
    assert built.query(emb_ND[:1], 1).ids == (("p0",),)
    assert max(2**20, (tmp_path / "index" / "ivfpq.faiss").stat().st_size) < 76 * 32 * 1024


def test_too_few_in_the_lists_are_fewer_results(ivfpq, emb_ND):
    found = ivfpq.query(emb_ND[:1], 500, probes=1, candidates=500)
    there = int((found.place_QK >= 0).sum())
    assert 0 < there < 500
    assert len(found.ids[0]) == there
    assert np.isneginf(found.score_QK[0, there:]).all()


def test_the_same_embeddings_and_seed_give_the_same_files(folder, tmp_path, flat, ivfpq):
    for built in (flat, ivfpq):
        settings = replace(IndexSettings(**built.manifest["settings"]), queries=5)
        again = build_index(folder, tmp_path / settings.kind, settings)
        assert again.manifest["files"] == built.manifest["files"]


def test_defaults_by_size():
    cases = [
        (1_000_000, 768, (2000, 96, 80_000, 31)),
        (6_000_000, 768, (4899, 96, 195_960, 76)),
        (3000, 32, (76, 8, 3000, 8)),
    ]
    for count, width, expected in cases:
        s = IndexSettings().resolved(count, width)
        assert (s.lists, s.code_bytes, s.train_vectors, s.probes) == expected


def test_impossible_settings_are_refused(folder, tmp_path):
    cases = [
        (IndexSettings(code_bytes=7), "7 code bytes do not divide the width 32"),
        (IndexSettings(lists=300, train_vectors=256), "256 training vectors are too few"),
        (IndexSettings(train_vectors=100, lists=10), "100 training vectors are too few"),
        (IndexSettings(probes=-1), "negative"),
        (IndexSettings(target_recall=0.9, queries=99), "target recall of 0.9 with 99 queries"),
        (IndexSettings(target_recall=1.01), "it is above 0 and at most 1"),
        (IndexSettings(target_recall=float("nan")), "it is above 0 and at most 1"),
        (IndexSettings(kind="hnsw"), "unknown kind 'hnsw'; known: flat, ivfpq"),
    ]
    for settings, message in cases:
        with pytest.raises(ValueError, match=message):
            build_index(folder, tmp_path / "x", settings)
        assert not (tmp_path / "x").exists()


def test_few_products_need_a_flat_index(tmp_path, emb_ND):
    write(tmp_path / "v", emb_ND[:3], ["a", "b", "c"], 2)
    with pytest.raises(ValueError, match="3 products are too few for ivfpq"):
        build_index(tmp_path / "v", tmp_path / "x", IndexSettings())
    index = build_index(tmp_path / "v", tmp_path / "x", IndexSettings("flat"))
    assert index.query(emb_ND[1:2], 10).ids[0][0] == "b"
    assert len(index.query(emb_ND[1:2], 10).ids[0]) == 3


def test_invalid_queries_are_refused(flat, ivfpq):
    with pytest.raises(ValueError, match=r"queries of shape \(1, 5\) in an index of width 32"):
        flat.query(np.ones((1, 5), np.float32))
    with pytest.raises(ValueError, match="k is 0"):
        flat.query(np.ones((1, WIDTH), np.float32), 0)
    with pytest.raises(ValueError, match="not finite"):
        flat.query(np.full((1, WIDTH), np.nan, np.float32))
    with pytest.raises(ValueError, match="0 probes"):
        ivfpq.query(np.ones((1, WIDTH), np.float32), probes=0)


@pytest.mark.parametrize("name", ["vectors.faiss", "ivfpq.faiss", "ids.arrow"])
def test_damage_is_detected(ivfpq, tmp_path, name, monkeypatch):
    out = shutil.copytree(ivfpq.folder, tmp_path / "index")
    path = out / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=f"{name}: damaged"):
        ProductIndex.open(out)
    monkeypatch.setattr(index, "VERIFIED_BYTES", 0)
    ProductIndex.open(out)  # Larger than an index that is verified whenever it is opened.
    with pytest.raises(StoreError, match=f"{name}: damaged"):
        ProductIndex.open(out, verify=True)
    path.write_bytes(data[:-1])
    with pytest.raises(StoreError, match=f"{name}: damaged"):
        ProductIndex.open(out)
    path.unlink()
    with pytest.raises(StoreError, match=f"{name}: missing"):
        ProductIndex.open(out)


def test_search_among_some_places_is_exact_in_any_index(flat, ivfpq, emb_ND, queries):
    places = np.arange(1, COUNT, 7)
    expected = places[slow_search(emb_ND[places], queries, 9)]
    for built in (flat, ivfpq):
        found = built.query(queries, 9, probes=1, candidates=0, places=places)
        assert np.array_equal(found.place_QK, expected)
    memory = SearchIndex.build(emb_ND, [f"p{i}" for i in range(COUNT)])
    expected = places[slow_search(memory.emb_GD[places], queries, 9)]
    assert np.array_equal(memory.query(queries, 9, places).place_QK, expected)
    assert flat.query(queries[:1], 9, places=places[:4]).place_QK.shape == (1, 4)
    assert flat.query(queries[:1], 9, places=places[:0]).ids == ((),)
    assert ivfpq.places(["p9", "p2999", "p700", "unknown"]).tolist() == [9, 700, 2999]


@pytest.fixture(scope="module")
def changed(folder, emb_ND, tmp_path_factory):
    """Embeddings of 200 new products, ids to remove, and the folder of all that remain."""
    base = tmp_path_factory.mktemp("changed")
    new_ND = unit(np.random.default_rng(5).normal(size=(200, WIDTH)).astype(np.float32))
    new_ND = new_ND.astype(np.float16).astype(np.float32)
    write(base / "new", new_ND, [f"n{i}" for i in range(200)], 90)
    removed = [f"p{i}" for i in range(0, COUNT, 11)]
    kept = [i for i in range(COUNT) if i % 11]
    ids = [f"p{i}" for i in kept] + [f"n{i}" for i in range(200)]
    write(base / "all", np.concatenate([emb_ND[kept], new_ND]), ids, 777)
    return base / "new", removed, base / "all"


@pytest.fixture(scope="module")
def targeted(folder, tmp_path_factory):
    """An index that chose its setting for a recall of 0.9."""
    out = tmp_path_factory.mktemp("targeted") / "index"
    return build_index(folder, out, IndexSettings(lists=30, target_recall=0.9, queries=400))


def test_a_target_recall_chooses_the_cheapest_setting_that_reaches_it(targeted, emb_ND):
    """On small data, against exact search: all measured settings are searched again."""
    target, ways = targeted.manifest["target"], targeted.manifest["recall"]
    assert (target["recall"], target["reached"]) == (0.9, True)
    place_Q = sample(COUNT, 400, 0)
    cosine_QN = emb_ND[place_Q] @ emb_ND.T
    cosine_QN[np.arange(400), place_Q] = -2
    others = np.argsort(-cosine_QN, axis=1, kind="stable")[:, :10]

    def recount(probes, candidates):
        found = targeted.query(emb_ND[place_Q], 11, probes, candidates).place_QK
        return [len({n for n in row if n != own and n >= 0} & set(best)) / 10
                for row, own, best in zip(found, place_Q, others, strict=True)]  # fmt: skip

    for way in ways[:: len(ways) // 6]:
        again = np.mean(recount(way["probes"], way["candidates"])[::2])
        assert way["value"] == pytest.approx(again, abs=0.005), way
    chosen = target["probes"], target["candidates"]
    held_out = np.mean(recount(*chosen)[1::2])
    assert target["held_out"]["value"] == pytest.approx(held_out, abs=0.005)
    assert (target["held_out"]["n"], ways[0]["n"]) == (200, 200)
    assert held_out >= 0.87
    built = targeted.manifest["settings"]
    assert chosen == (built["probes"], built["candidates"]) == targeted.setting_for(0.9)
    bytes_a_query = {(way["probes"], way["candidates"]):
                     way["probes"] * COUNT / 30 * (8 + 8) + way["candidates"] * 2 * WIDTH
                     for way in ways}  # fmt: skip
    cheaper = [way for way in ways if bytes_a_query[way["probes"], way["candidates"]]
               < bytes_a_query[chosen]]  # fmt: skip
    assert cheaper
    assert all(way["low"] < 0.9 for way in cheaper), "a cheaper setting reaches the target"
    default, given = targeted.query(emb_ND[:5], 3), targeted.query(emb_ND[:5], 3, *chosen)
    assert np.array_equal(default.place_QK, given.place_QK)


def test_the_commands_report_and_use_a_target_recall(targeted, emb_ND, tmp_path, capsys):
    Index(targeted.folder)._report(targeted)
    lines = capsys.readouterr().out.splitlines()
    chosen = targeted.manifest["target"]
    setting = f"probes {chosen['probes']}, candidates {chosen['candidates']}"
    assert lines[1].startswith(f"target recall@10 0.9 reached: {setting}, on other queries: 0.9")
    values = [float(line.split(": ")[1].split()[0]) for line in lines[2:]]
    assert len(values) > 3
    assert values == sorted(set(values)), "a setting for which a cheaper one is as good"
    np.save(tmp_path / "query.npy", emb_ND[:3])
    command = [
        "search",
        str(tmp_path / "query.npy"),
        "--index",
        str(targeted.folder),
        "--json",
        "-",
    ]
    assert cli.main([*command, "--target-recall", "0.5"]) == 0
    found = capsys.readouterr().out
    probes, candidates = map(str, targeted.setting_for(0.5))
    assert cli.main([*command, "--probes", probes, "--candidates", candidates]) == 0
    assert found == capsys.readouterr().out
    for arguments, message in (
        ([*command, "--target-recall", "nan"], "--target-recall nan: not above 0"),
        ([*command, "--target-recall", "0"], "--target-recall 0.0: not above 0"),
        ([*command, "--target-recall", "0.5", "--probes", "2"], "omit --probes and --candidates"),
        (["index", "x", "--out", "y", "--target-recall", "0.5", "--candidates", "9"], "omit them"),
    ):
        assert cli.main(arguments) == 2
        assert message in capsys.readouterr().err


def test_another_target_is_chosen_from_the_measured_settings(targeted, flat):
    probes, candidates = targeted.setting_for(0.5)
    chosen = targeted.manifest["target"]
    assert probes <= chosen["probes"]
    assert candidates <= chosen["candidates"]
    assert flat.setting_for(0.99) == (None, None)
    with pytest.raises(ValueError, match=r"reaches a recall of 1\.1; the best lower end"):
        targeted.setting_for(1.1)


def test_a_target_that_no_setting_reaches_is_recorded_as_missed(ivfpq, monkeypatch):
    monkeypatch.setattr(index_build, "CANDIDATES", (0,))
    facts = index_build.choose_setting(ivfpq, 0.999, 200)
    assert facts["target"]["reached"] is False
    assert max(way["probes"] for way in facts["recall"]) == 30, "all lists were tried"
    best = max(facts["recall"], key=lambda way: (way["low"], way["value"]))
    assert facts["target"]["probes"] == best["probes"]


def test_adding_equals_an_index_of_everything_with_the_same_lists_and_codes(
    targeted, changed, emb_ND, queries, tmp_path
):
    """Approximate results, too; and the setting for the target recall is chosen again."""
    import faiss

    out = shutil.copytree(targeted.folder, tmp_path / "index")
    found = update_index(out, changed[0], changed[1])
    whole_ND = ProductIndex.open(out).emb_ND.astype(np.float32)
    trained = faiss.read_index(str(targeted.folder / "ivfpq.faiss"))
    trained.reset()
    trained.add(whole_ND)
    settings = faiss.SearchParametersIVF(nprobe=3)
    score_QR, place_QR = trained.search(unit(queries), 40, params=settings)
    expected = replace(found, ivfpq=trained)
    for candidates in (0, 40):
        a, b = (i.query(queries, 10, probes=3, candidates=candidates) for i in (found, expected))
        assert np.array_equal(a.place_QK, b.place_QK)
        assert a.ids == b.ids
    assert np.array_equal(found.search_codes(unit(queries), 40, 3)[0], score_QR)
    assert (place_QR >= COUNT - len(changed[1])).any(), "no added product was found"
    facts = index_build.choose_setting(found, 0.9, 400)
    assert {name: found.manifest[name] for name in ("recall", "target")} == facts
    assert found.manifest["settings"]["probes"] == facts["target"]["probes"]


def test_adding_and_removing_equals_a_rebuild(flat, ivfpq, changed, queries, tmp_path):
    new, removed, whole = changed
    rebuilt = build_index(whole, tmp_path / "rebuilt", IndexSettings("flat", queries=50))
    for built in (flat, ivfpq):
        out = shutil.copytree(built.folder, tmp_path / built.manifest["kind"])
        update_index(out, remove=removed)
        found = update_index(out, new)
        exact = found.query(queries, 9, probes=30, candidates=len(found))
        expected = rebuilt.query(queries, 9)
        assert np.array_equal(exact.place_QK, expected.place_QK)
        assert exact.ids == expected.ids
        assert exact.score_QK == pytest.approx(expected.score_QK, abs=1e-5)
        assert found.manifest["updates"] == {"added": 200, "removed": len(removed)}
        assert found.manifest["recall"] == measure_recall(
            found, found.manifest["settings"]["queries"]
        )
    files = (ProductIndex.open(tmp_path / "flat").manifest["files"], rebuilt.manifest["files"])
    assert files[0]["vectors.faiss"] == files[1]["vectors.faiss"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flat", "ivfpq", "rebuilt"]


def test_a_product_is_replaced_by_one_command(flat, folder, tmp_path, emb_ND):
    out = shutil.copytree(flat.folder, tmp_path / "index")
    write(tmp_path / "new", -emb_ND[:1], ["p3"], 1)
    found = update_index(out, tmp_path / "new", remove=["p3"])
    assert len(found) == COUNT
    assert found.query(-emb_ND[:1], 1).ids == (("p3",),)


def test_a_second_process_that_writes_the_same_index_is_refused(flat, folder, tmp_path):
    out = shutil.copytree(flat.folder, tmp_path / "index")
    with locked(out, beside=True):
        for write_index in (
            partial(update_index, out, remove=["p3"]),
            partial(build_index, folder, out, IndexSettings(kind="flat")),
        ):
            with pytest.raises(ValueError, match="index is in use by process"):
                write_index()
    assert update_index(out, remove=["p3"]).manifest["rows"] == COUNT - 1
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_impossible_updates_change_nothing(flat, changed, tmp_path, emb_ND):
    out = shutil.copytree(flat.folder, tmp_path / "index")
    before = (out / "manifest.json").read_bytes()
    write(tmp_path / "again", emb_ND[:2], ["x", "p4"], 1)
    other = shutil.copytree(changed[0], tmp_path / "other")
    facts = json.loads((other / "manifest.json").read_text())
    facts["made_from"]["run"] = "s"
    (other / "manifest.json").write_text(json.dumps(facts))
    for arguments, message in (
        ({"remove": ["p1", "q"]}, "does not contain 1 of the 2 ids to remove, e.g. 'q'"),
        ({"remove": [f"p{i}" for i in range(COUNT)]}, "no product would remain"),
        ({"add": tmp_path / "again"}, "product id 'p4' is in .* already"),
        ({"add": other}, "embedded with another run than the products of .*: s, not r"),
    ):
        with pytest.raises(StoreError, match=message):
            update_index(out, **arguments)
        assert (out / "manifest.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "index", "other"]


def test_an_index_killed_between_two_renames_opens(flat, tmp_path, changed):
    """Its earlier state has another name then."""
    shutil.copytree(flat.folder, tmp_path / "index.old")
    assert len(ProductIndex.open(tmp_path / "index")) == COUNT
    assert len(update_index(tmp_path / "index", changed[0])) == COUNT + 200
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_forged_files_with_fitting_checksums_are_refused(ivfpq, tmp_path):
    """Sizes, offsets and places that faiss and Arrow would follow out of their memory."""
    sizes = {
        "vectors.faiss": (8, 2**40),  # the number of vectors
        "ivfpq.faiss": (60, 2**40),  # the number of values of a vector
        "ids.arrow": (None, 2**31 - 1),  # the first offset of an id
    }
    for name, (at, value) in sizes.items():
        out = shutil.copytree(ivfpq.folder, tmp_path / name)
        content = bytearray((out / name).read_bytes())
        if at is None:
            at = content.index(struct.pack("<3i", 0, 2, 4)) + 4
            content[at : at + 4] = struct.pack("<i", value)
        else:
            content[at : at + 8] = struct.pack("<q", value)
        (out / name).write_bytes(content)
        facts = json.loads((out / "manifest.json").read_text())
        facts["files"][name]["sha256"] = sha256(out / name)
        (out / "manifest.json").write_text(json.dumps(facts))
        with pytest.raises(StoreError):
            ProductIndex.open(out)


def test_another_manifest_is_refused(ivfpq, tmp_path):
    with pytest.raises(StoreError, match="no such file; scale index writes it"):
        ProductIndex.open(tmp_path)
    texts = ("", "3", "{}", '{"format": 9, "kind": "flat"}', '{"format": 1, "kind": "flat"}')
    for text in texts:
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(StoreError, match="not the manifest of an index"):
            ProductIndex.open(tmp_path)
    facts = json.loads((ivfpq.folder / "manifest.json").read_text())
    settings, way = facts["settings"], facts["recall"][0]
    for change, message in (
        ({"settings": settings | {"lists": "many"}}, "settings"),
        ({"settings": settings | {"lists": 0}}, "settings"),
        ({"settings": {n: v for n, v in settings.items() if n != "seed"}}, "it lacks seed"),
        ({"recall": [way | {"probes": None}]}, "recall"),
        ({"recall": [{"probes": 1}]}, "'candidates'"),
        ({"target": {"recall": "high"}}, "'<='"),
        ({"target": {"recall": float("nan")}}, "target"),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps(facts | change))
        with pytest.raises(StoreError, match=rf"not the manifest of an index \({message}"):
            ProductIndex.open(tmp_path)


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_build_that_is_stopped_leaves_the_index_that_was_there(
    folder, tmp_path, monkeypatch, emb_ND
):
    out = tmp_path / "index"
    build_index(folder, out, IndexSettings("flat", queries=5))
    before = (out / "manifest.json").read_bytes()

    with monkeypatch.context() as patch:
        patch.setattr(index_build, "measure_recall", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build_index(folder, out, IndexSettings("flat", queries=6))
    assert (out / "manifest.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "index.partial"]
    assert ProductIndex.open(out).query(emb_ND[:1], 1).ids == (("p0",),)
    # A build of other files does not continue with these.
    build_index(folder, out, IndexSettings("flat", queries=6, seed=1))
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_an_interrupted_build_continues_with_the_first_incomplete_part(
    folder, tmp_path, monkeypatch, ivfpq
):
    settings = replace(IndexSettings(**ivfpq.manifest["settings"]), queries=5)
    parts = ["_write_vectors", "_train", "_add", "measure_recall"]
    for number, part in enumerate(parts):
        with monkeypatch.context() as patch:
            patch.setattr(index_build, part, interrupt)
            for done in parts[: max(0, number - 1)]:
                patch.setattr(index_build, done, lambda *_: pytest.fail("computed again"))
            with pytest.raises(KeyboardInterrupt):
                build_index(folder, tmp_path / "index", settings)
    with monkeypatch.context() as patch:
        for done in parts[:3]:
            patch.setattr(index_build, done, lambda *_: pytest.fail("computed again"))
        built = build_index(folder, tmp_path / "index", settings)
    assert built.manifest["files"] == ivfpq.manifest["files"]
    assert list(built.manifest["seconds"]) == ["vectors", "train", "add", "recall"]
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_partial_folder_with_other_files_is_kept_and_a_damaged_state_is_none(folder, tmp_path):
    partial = tmp_path / "index.partial"
    partial.mkdir()
    (partial / "notes.txt").write_text("mine")
    (partial / "state.json").write_text("{")
    with pytest.raises(StoreError, match=r"index\.partial: contains something other than"):
        build_index(folder, tmp_path / "index", IndexSettings("flat", queries=5))
    (partial / "notes.txt").unlink()
    build_index(folder, tmp_path / "index", IndexSettings("flat", queries=5))
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_an_index_of_one_product_has_no_target(targeted, tmp_path):
    out = shutil.copytree(targeted.folder, tmp_path / "index")
    found = update_index(out, remove=[f"p{i}" for i in range(1, COUNT)])
    assert (found.manifest["recall"], "target" in found.manifest) == ([], False)


def test_a_build_that_fails_leaves_no_files(folder, tmp_path, emb_ND):
    write(tmp_path / "v", emb_ND[:3], ["a", "b", "c"], 2)
    path = tmp_path / "v" / piece_name(1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StoreError, match="damaged"):
        build_index(tmp_path / "v", tmp_path / "index", IndexSettings("flat"))
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_an_index_does_not_replace_something_else(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="something other than an index"):
        build_index(folder, tmp_path, IndexSettings("flat"))
    with pytest.raises(StoreError, match="not the manifest of an index"):
        build_index(folder, folder, IndexSettings("flat"))
    assert (tmp_path / "notes.txt").exists()


def test_without_faiss_the_extra_is_named(folder, flat, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    for call in (lambda: build_index(folder, tmp_path / "x", IndexSettings("flat")),
                 lambda: ProductIndex.open(flat.folder)):  # fmt: skip
        with pytest.raises(ImportError, match=r"faiss is missing: .*scale-workbench\[search\]"):
            call()


def test_the_flat_file_equals_that_of_faiss(tmp_path, emb_ND):
    import faiss

    blocks = [emb_ND[:10].astype(np.float16), emb_ND[10:25].astype(np.float16)]
    index.write_flat(tmp_path / "ours", blocks, 25, WIDTH)
    own = faiss.IndexScalarQuantizer(WIDTH, faiss.ScalarQuantizer.QT_fp16, 0)
    own.add(emb_ND[:25])
    faiss.write_index(own, str(tmp_path / "theirs"))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    mapped = index.map_vectors(tmp_path / "ours", 25, WIDTH)
    assert np.array_equal(mapped, emb_ND[:25].astype(np.float16))


def test_flat_files_of_other_vectors_or_another_faiss_are_refused(tmp_path, emb_ND, monkeypatch):
    blocks = [emb_ND[:10].astype(np.float16)]
    with pytest.raises(ValueError, match="10 vectors, 11 expected"):
        index.write_flat(tmp_path / "a", blocks, 11, WIDTH)
    with pytest.raises(ValueError, match="width 32 among those of 16"):
        index.write_flat(tmp_path / "a", blocks, 10, 16)
    monkeypatch.setattr(index, "COUNT_OFFSET", 12)
    with pytest.raises(RuntimeError, match="in an unknown format"):
        index.write_flat(tmp_path / "a", blocks, 10, WIDTH)
