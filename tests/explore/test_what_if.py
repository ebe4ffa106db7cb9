"""Other contents of a product are read as those of a catalogue, and nothing is stored."""

import os
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

import scale.explore.what_if as what_if_module
from scale.data.media import MediaError, load_video
from scale.explore.masking import MaskingExplorer
from scale.explore.scores import ScoreExplorer
from scale.explore.source import ExplorerSource
from scale.explore.what_if import (
    MAX_BYTES,
    Edits,
    MemoryFile,
    WhatIf,
    edited_source,
    parse_table,
    parse_title,
    shortened_clip,
)
from scale.modalities import CONTINUOUS, INDEX, MODALITIES
from scale.studies.single_product import ProductEditor, product_outputs
from tests.explore.test_scores import cells, listed


def complete(source):
    return [r for r in source.rows.tolist() if source.data.present_NM[r].all()]


def of(source, row):
    """All contents of a product as typed texts and uploaded files."""
    product = source.product(row)
    files = {m: MemoryFile(Path(getattr(product, m)).read_bytes(), f"{m}.bin") for m in CONTINUOUS}
    return Edits(product.text, product.table, files)


def test_typed_and_uploaded_contents_equal_those_of_the_catalogue(source):
    row, other = complete(source)[:2]
    edited = edited_source(source, row, of(source, other))
    expected, found = source.data.collate([other]), edited.data.collate([0])
    for m in MODALITIES:
        np.testing.assert_allclose(
            found.tokens[m].values, expected.tokens[m].values, atol=1e-6, err_msg=m
        )
    assert edited.data.ids == (source.data.ids[row],)
    # New contents are duplicates of none.
    assert (edited.data.content_id_NM[0] > source.data.content_id_NM.max(0)).all()


def test_a_donor_gives_its_content_and_its_number(source):
    row, donor = complete(source)[:2]
    edited = edited_source(source, row, Edits(donors={"audio": donor}))
    place = INDEX["audio"]
    assert edited.data.content_id_NM[0, place] == source.data.content_id_NM[donor, place]
    expected = source.data.collate([donor]).tokens["audio"].values
    np.testing.assert_array_equal(edited.data.collate([0]).tokens["audio"].values, expected)
    for m in MODALITIES[:-1]:
        clean = source.data.collate([row]).tokens[m].values
        np.testing.assert_array_equal(edited.data.collate([0]).tokens[m].values, clean)


def test_uploads_leave_no_file(source, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    row, other = complete(source)[:2]
    edits = of(source, other)
    paths = [file.path for file in edits.files.values()]
    edited_source(source, row, edits)
    assert all(path.exists() for path in paths)
    if hasattr(os, "memfd_create"):
        assert all(str(path).startswith("/proc/self/fd/") for path in paths)
    del edits
    assert not any(path.exists() for path in paths)
    assert not list(tmp_path.rglob("*"))


def test_damaged_uploads_are_messages_with_the_name_of_the_file(source):
    explorer = ScoreExplorer(source)
    for m in CONTINUOUS:
        explorer.what_if.upload(m, b"%PDF-1.4 not media", "secret.pdf")
        assert "secret.pdf" in explorer.error
        assert "/proc" not in explorer.error
        explorer.what_if.clear()
        assert explorer.error == ""


def test_large_uploads_are_refused(source):
    changed = []
    what_if = WhatIf(source, changed.append, "en")
    upload = what_if.uploads["image"]
    upload._receive(None, {"name": "big.png"}, [bytes(MAX_BYTES + 1)])
    assert "big.png is larger than 8 MB" in what_if.message.html
    upload._receive(None, {"name": "<b>", "large": True}, [])
    assert "<b>" not in what_if.message.html
    upload._receive(None, {"file": 3}, [b"x"])
    assert not changed
    assert not what_if.edits().modalities


def clip_of(count, side=48):
    """A file with moving stripes: MPEG-4, a key frame every 12 frames."""
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = side
        for k in range(count):
            pixels_HWC = np.full((side, side, 3), k % 256, dtype=np.uint8)
            pixels_HWC[:, k % side] = 255
            frame = av.VideoFrame.from_ndarray(pixels_HWC, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def test_of_a_long_clip_only_the_frames_that_are_read_are_decoded(source, monkeypatch):
    side, count, frames = 48, 400, source.data.config.video_frames
    content = clip_of(count, side)
    whole = MemoryFile(content)
    assert shortened_clip(whole, frames) == (whole, 0, True)
    monkeypatch.setattr(what_if_module, "MAX_DECODED", count * side * side)
    explorer = ScoreExplorer(source)
    explorer.what_if.upload("video", content, "<long>.mp4")
    assert f"long clip of ≈ {count} frames" in explorer.what_if.message.html
    assert "<long>" not in explorer.what_if.message.html
    short = explorer.what_if.edits().files["video"]
    np.testing.assert_array_equal(load_video(short.path, frames), load_video(whole.path, frames))
    with av.open(str(short.path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == frames
    explorer.what_if.clear()
    assert explorer.what_if.message.html == ""


def test_a_long_clip_without_times_is_refused(monkeypatch):
    """H.264 in an MPEG program stream: one time for the 60 frames, which are in one packet."""
    frame = av.VideoFrame.from_ndarray(np.zeros((48, 48, 3), np.uint8), format="rgb24")
    buffer = BytesIO()
    with av.open(buffer, "w", format="mpeg") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 48
        for k in range(60):
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    monkeypatch.setattr(what_if_module, "MAX_DECODED", 60 * 48 * 48)
    with pytest.raises(MediaError, match="cannot be searched"):
        shortened_clip(MemoryFile(buffer.getvalue()), 4)


def test_titles_and_tables_are_parsed_as_in_a_catalogue():
    assert parse_title("  A\tred\n mug \x07") == "A red mug"
    assert parse_table("Colour: red\n\nSize：3:4", "en") == (("Colour", "red"), ("Size", "3:4"))
    for text, message in (("no colon", "colon"), ("a:", "empty value"), (": b", "empty attribute")):
        with pytest.raises(ValueError, match=message):
            parse_table(text, "en")


def test_scores_and_neighbours_follow_a_typed_title(source):
    explorer = ScoreExplorer(source)
    before, near = explorer.matrices.html, listed(explorer.near_before)
    row, other = explorer.picker.row, complete(source)[1]
    explorer.what_if.typed["text"].value = source.product(other).text
    explorer.flush()
    edited = edited_source(source, row, Edits(source.product(other).text))
    expected = product_outputs(source.run.model, ProductEditor(edited.data).batch(0, {}))
    np.testing.assert_allclose(cells(explorer.matrices.html), expected.weighted_MM, atol=0.0051)
    assert listed(explorer.near_before) == near
    assert "<mark>" in explorer.columns["text"].content.html
    assert "data-change" in explorer.matrices.html
    explorer.reset()
    assert explorer.matrices.html == before
    assert explorer.what_if.message.html == ""


def test_a_missing_modality_can_be_added(source):
    row = next(r for r in source.rows.tolist() if not source.data.present_NM[r].all())
    m = next(m for m in MODALITIES if not source.data.present_NM[row, INDEX[m]])
    assert m == "table"
    explorer = ScoreExplorer(source, source.data.ids[row])
    assert np.isnan(cells(explorer.matrices.html)[INDEX[m]]).all()
    explorer.what_if.typed[m].value = "colour: green"
    assert explorer.error == ""
    assert np.isfinite(cells(explorer.matrices.html)[INDEX[m], INDEX[m]])
    assert not explorer.columns[m].present.disabled


def test_masked_predictions_follow_a_typed_title(source):
    explorer = MaskingExplorer(source)
    words = list(explorer._content.names.values())
    explorer.what_if.typed["text"].value = "red green"
    explorer.flush()
    assert list(explorer._content.names.values()) == ["red", "green"]
    explorer.hide({1})
    explorer.flush()
    assert "hidden (1 of 2): green" in repr(explorer)
    explorer.what_if.clear()
    explorer.flush()
    assert list(explorer._content.names.values()) == words


def test_an_unreadable_edit_is_a_message(source):
    explorer = MaskingExplorer(source)
    explorer.what_if.typed["table"].value = "no colon here"
    assert "needs a colon" in explorer.error
    explorer.what_if.typed["table"].value = ""
    explorer.what_if.donors["text"].value = "p999"
    assert "p999" in explorer.error
    explorer.what_if.clear()
    assert explorer.error == ""


def test_two_checkpoints_and_two_runs_are_shown_side_by_side(source):
    other = ExplorerSource(source.run, source.data)
    explorer = ScoreExplorer(source, others=[other])
    assert explorer.compared.html == ""
    alone = explorer.matrices.html
    explorer.columns["image"].present.value = False
    folder = source.run.folder.folder.name
    for key in ("0/untrained", "1/best"):
        explorer.beside.value = key
        tables = explorer.compared.html.split('data-matrix="weighted"')[1:]
        shown = [cells('data-matrix="weighted"' + table) for table in tables]
        assert len(shown) == 2
        np.testing.assert_array_equal(shown[0], cells(explorer.matrices.html))
        same = np.allclose(shown[0], shown[1], equal_nan=True)
        assert same == (key == "1/best")
        assert len(listed(explorer.compared)) == 5
    assert explorer.beside.label.startswith(f"{folder}: ")
    explorer.beside.value = ""
    explorer.columns["image"].present.value = True
    assert (explorer.compared.html, explorer.matrices.html) == ("", alone)


def test_predictions_of_two_models_are_shown_side_by_side(source):
    other = ExplorerSource(source.run, source.data)
    explorer = MaskingExplorer(source, others=[other])
    explorer.second.value = "1/best"
    assert explorer.answer.html in explorer.compared.html
    explorer.second.value = "0/untrained"
    assert explorer.error == ""
    assert explorer.answer.html not in explorer.compared.html
    assert "xm-losses" in explorer.compared.html
