"""`scale embed` to a folder, `scale index`, `scale search` from disk: as a user types them."""

import json
import os
import shutil
import socket
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from scale import cli
from scale.data.catalogue import Catalogue
from scale.evaluation.embed import EmbeddingStore, StoreError, read_embeddings
from scale.files import locked
from scale.inference import embedding
from scale.inference.embedding import embed_pieces, run_fingerprint
from scale.training.run import TrainedRun


@pytest.fixture(scope="module")
def run(run_folder):
    return TrainedRun.load(run_folder)


@pytest.fixture(scope="module")
def folder(run, small_catalogue, tmp_path_factory):
    """All 48 products, seven a piece."""
    out = tmp_path_factory.mktemp("embedded") / "pieces"
    embed_pieces(run, small_catalogue, out, piece_size=7, progress=False)
    return out


@pytest.fixture(scope="module")
def flat(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("indexed") / "index"
    assert cli.main(["index", str(folder), "--out", str(out), "--kind", "flat"]) == 0
    return out


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_the_pieces_hold_what_the_one_file_holds(run_folder, small_catalogue, folder, tmp_path):
    one = tmp_path / "one.parquet"
    command = ["embed", str(run_folder), "--catalogue", str(small_catalogue), "--out", str(one)]
    assert cli.main(command) == 0
    expected, _ = read_embeddings(one)
    blocks = list(EmbeddingStore.open(folder).blocks())
    assert len(blocks) == 7
    assert tuple(i for block in blocks for i in block.ids.to_pylist()) == expected.ids
    emb_ND = np.concatenate([block.emb_PD for block in blocks])
    assert emb_ND == pytest.approx(expected.emb_ND, abs=1e-3)


def test_two_processes_write_the_pieces_of_one(run, run_folder, small_catalogue, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    embed_pieces(run, small_catalogue, one, piece_size=9, progress=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["embed", str(run_folder), "--catalogue", str(small_catalogue), "--out", str(two),
               "--piece-size", "9"]  # fmt: skip
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    logs = [tmp_path / f"{rank}.txt" for rank in "01"]
    children = []
    for rank, log in zip("01", logs, strict=True):
        # A fork has imported everything.
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.environ.update(group, RANK=rank, LOCAL_RANK=rank)
                torch.set_num_threads(1)
                AcceleratorState._reset_state(reset_partial_state=True)
                with log.open("w") as out, redirect_stdout(out), redirect_stderr(out):
                    code = cli.main(command)
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    printed = [log.read_text() for log in logs]
    assert codes == [0, 0], printed
    assert contents(one) == contents(two)
    assert [out.count("48 products in 6 pieces") for out in printed] == [1, 0]
    pieces = [json.loads((out / "manifest.json").read_text())["pieces"] for out in (one, two)]
    assert pieces[0] == pieces[1]


def test_what_was_killed_goes_on_with_what_is_missing(
    run, small_catalogue, folder, tmp_path, monkeypatch
):
    out, made = tmp_path / "out", []
    write = embedding.write_piece

    def killed_at_the_third(path, *facts):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(path.name)
        write(path, *facts)

    monkeypatch.setattr(embedding, "write_piece", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        embed_pieces(run, small_catalogue, out, piece_size=7, progress=False)
    assert sorted(contents(out)) == made
    with pytest.raises(StoreError, match="no such file; scale embed"):
        EmbeddingStore.open(out)
    # One of them is cut short, as by a full disk.
    half = out / made[1]
    half.write_bytes(half.read_bytes()[:100])
    monkeypatch.setattr(embedding, "write_piece", write)
    before = (out / made[0]).stat().st_mtime_ns, (out / made[2]).stat().st_mtime_ns
    embed_pieces(run, small_catalogue, out, piece_size=7, progress=False)
    assert ((out / made[0]).stat().st_mtime_ns, (out / made[2]).stat().st_mtime_ns) == before
    assert contents(out) == contents(folder)


def test_a_second_process_that_writes_the_same_folder_is_refused(run, small_catalogue, tmp_path):
    with locked(tmp_path / "out"), pytest.raises(ValueError, match="out is in use by process"):
        embed_pieces(run, small_catalogue, tmp_path / "out", piece_size=7, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_pieces_of_other_lines_subset_or_run_are_made_again(
    run, small_catalogue, tmp_path, monkeypatch
):
    made = []
    write = embedding.write_piece
    monkeypatch.setattr(
        embedding, "write_piece", lambda path, *facts: (made.append(path.name), write(path, *facts))
    )

    def again(catalogue=small_catalogue, run=run, **options):
        made.clear()
        embed_pieces(run, catalogue, tmp_path / "out", piece_size=20, progress=False, **options)
        return len(made)

    assert again() == 3
    assert again() == 0
    assert again(subset=("text",)) == 3
    assert again(split="train", subset=("text",)) == 3
    other = tmp_path / "catalogue"
    other.mkdir()
    lines = (small_catalogue / "products.jsonl").read_text().splitlines()
    titles = [json.dumps({k: json.loads(line)[k] for k in ("id", "title", "split")})
              for line in lines]  # fmt: skip
    (other / "products.jsonl").write_text("\n".join(titles))
    assert again(other) == 3
    (other / "products.jsonl").write_text("\n".join([*titles[:25], titles[25].replace("thing", "x"),
                                                     *titles[26:]]))  # fmt: skip
    assert again(other) == 1
    changed = TrainedRun.load(run.folder.folder)
    with torch.no_grad():
        next(changed.model.parameters())[0] += 1
    assert run_fingerprint(changed) != run_fingerprint(run)
    assert again(other, changed) == 3
    (other / "products.jsonl").write_text("\n".join(titles[:15]))
    assert again(other, changed) == 1
    assert len(contents(tmp_path / "out")) == 1, "pieces that no longer are have gone"


def test_a_subset_that_some_pieces_lack_and_a_split(run, small_catalogue, tmp_path):
    store = embed_pieces(run, small_catalogue, tmp_path / "v", ("image", "audio"), "test",
                         piece_size=2, progress=False)  # fmt: skip
    catalogue = Catalogue.open(small_catalogue).split("test")
    have = [p.id for p in catalogue if p.image is not None or p.audio is not None]
    assert [i for block in store.blocks() for i in block.ids.to_pylist()] == have
    assert sum(piece.left_out for piece in store.pieces) == len(catalogue) - len(have)
    assert 0 in [piece.rows for piece in store.pieces]


def test_the_pieces_of_a_product_twice_are_named(run, tmp_path):
    lines = [json.dumps({"id": f"p{n % 9}", "title": f"t {n}"}) for n in range(12)]
    (tmp_path / "products.jsonl").write_text("\n".join(lines))
    with pytest.raises(StoreError, match=r"'p\d' appears twice, in part-000000\S* and .*000002"):
        embed_pieces(run, tmp_path, tmp_path / "out", piece_size=4, progress=False)


def test_search_from_disk_equals_search_in_memory(
    run_folder, small_catalogue, folder, flat, tmp_path, capsys
):
    picture = next(p for p in Catalogue.open(small_catalogue) if p.image).image
    # Another file: products that contain the file of the query come first, if they are known.
    Image.open(picture).save(tmp_path / "picture.bmp")
    for query in ("green thing", str(tmp_path / "picture.bmp")):
        capsys.readouterr()
        command = ["search", query, "--run", str(run_folder), "--k", "6"]
        assert cli.main([*command, "--catalogue", str(small_catalogue)]) == 0
        memory = capsys.readouterr().out
        assert cli.main([*command, "--index", str(flat), "--catalogue", str(small_catalogue)]) == 0
        disk = capsys.readouterr().out
        assert cli.main([*command, "--index", str(flat)]) == 0
        alone = capsys.readouterr().out
        expected, found, bare = (rows(table) for table in (memory, disk, alone))
        assert [row[:3] for row in found] == [row[:3] for row in bare]
        titles = {row[2]: row[3:] for row in expected}
        assert all(row[3:] == titles[row[2]] for row in found if row[2] in titles)
        # float16 may swap products whose cosines differ by less than its rounding.
        for row, same in zip(found, expected, strict=True):
            assert float(row[1]) == pytest.approx(float(same[1]), abs=0.002)
        assert sum(row[2] in titles for row in found) >= 5


def rows(table):
    """Rank, cosine, id and the rest of each line but the heading."""
    return [line.split() for line in table.splitlines()[1:]]


def test_the_index_says_its_recall(folder, tmp_path, capsys):
    assert cli.main(["index", str(folder), "--out", str(tmp_path / "i"), "--kind", "flat"]) == 0
    said = capsys.readouterr().out
    assert "48 products of width 16" in said
    assert "recall@10  exact: 1.000 [1.000, 1.000] (48 queries)" in said


def test_an_index_of_another_run_or_width_is_refused(run, run_folder, flat, folder, tmp_path):
    from scale.evaluation.index import ProductIndex
    from scale.inference.search import parse_query, search_index

    index = ProductIndex.open(flat)
    query = parse_query("green thing")
    assert len(search_index(run, index, query, 3)) == 3
    trained = TrainedRun.load(run_folder)
    with torch.no_grad():
        next(trained.model.parameters())[0] += 1
    with pytest.raises(ValueError, match="built from another run"):
        search_index(trained, index, query, 3)
    wider = replace(index, emb_ND=np.zeros((48, 24), np.float16))
    with pytest.raises(ValueError, match="in an index of width 24: it was built from another run"):
        search_index(run, wider, query, 3)


def test_failures_are_one_plain_line(run_folder, small_catalogue, folder, flat, tmp_path, capsys):
    run, shop, out = run_folder, small_catalogue, tmp_path / "out"
    for arguments, message in (
        (["embed", run, "--catalogue", shop, "--out", out, "--piece-size", "0"],
         "pieces of 0 products"),
        (["embed", run, "--catalogue", shop, "--out", shop], "which is not a file of embeddings"),
        (["index", shop, "--out", out], "manifest.json: no such file; scale embed"),
        (["index", folder, "--out", out], "48 products are too few for ivfpq"),
        (["index", folder, "--out", folder, "--kind", "flat"], "not the manifest of an index"),
        (["search", "a cup", "--run", run], "give --catalogue or --index"),
        (["search", "a cup", "--run", run, "--index", folder], "not the manifest of an index"),
        (["search", "a cup", "--run", run, "--index", flat, "--subset", "text"],
         "an index has its own subset"),
        (["search", "  ", "--run", run, "--index", flat], "the text is empty"),
    ):  # fmt: skip
        assert cli.main(list(map(str, arguments))) == 2, arguments
        lines = [line for line in capsys.readouterr().err.splitlines() if message in line]
        assert len(lines) == 1, arguments
        assert "Traceback" not in lines[0]


def test_a_query_that_the_model_does_not_take_is_refused(run, flat, small_catalogue):
    from scale.inference.search import embed_query, parse_query

    sound = next(p for p in Catalogue.open(small_catalogue) if p.audio).audio
    model = replace(run.config.model, modalities=("text", "image"))
    deaf = replace(run, config=replace(run.config, model=model))
    with pytest.raises(ValueError, match="it has audio, but the model reads only text, image"):
        embed_query(deaf, parse_query(str(sound)))


def test_one_file_is_not_for_several_processes(run_folder, small_catalogue, tmp_path, monkeypatch):
    from scale.commands.models import Embed
    from scale.training import distributed

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    out = tmp_path / "v.parquet"
    with pytest.raises(ValueError, match="several processes write to a folder"):
        Embed(run_folder, small_catalogue, out).run()
    assert not out.exists()


def test_a_piece_in_float16_takes_half_the_bytes(folder):
    schema = pq.read_schema(next(folder.glob("*.parquet")))
    assert str(schema.field("embedding").type) == "fixed_size_list<element: halffloat>[16]"


@pytest.mark.parametrize("name", ["v", "v.parquet"])
def test_a_lost_modality_stops_and_keeps_the_earlier_vectors(
    run_folder, small_catalogue, tmp_path, capsys, name
):
    """Links that leave the folder make all pictures missing: vectors of the rest look as good."""
    shop = tmp_path / "shop"
    shutil.copytree(small_catalogue, shop)
    command = ["embed", str(run_folder), "--catalogue", str(shop), "--out", str(tmp_path / name)]
    assert cli.main(command) == 0
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.parquet")}
    (tmp_path / "elsewhere").mkdir()
    for path in shop.glob("*.png"):
        path.symlink_to(path.rename(tmp_path / "elsewhere" / path.name))
    (shop / "products.jsonl").write_text((shop / "products.jsonl").read_text() + "\n")
    assert cli.main(command) == 2
    assert "image: 40 of 40 are lost (0.0% in training), e.g." in capsys.readouterr().err
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.parquet")} == before
    assert cli.main([*command, "--subset", "text"]) == 0
    assert cli.main([*command, "--allow-missing"]) == 0
