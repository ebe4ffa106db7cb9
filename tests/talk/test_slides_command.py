"""`scale slides`, as a user types it: the whole talk of a small run, in both languages."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from pptx import Presentation
from pptx.enum.dml import MSO_COLOR_TYPE, MSO_FILL, MSO_THEME_COLOR
from pptx.enum.shapes import MSO_SHAPE_TYPE, PP_PLACEHOLDER

from scale import cli
from scale.data.catalogue import Catalogue
from scale.evaluation.bootstrap import Estimate
from scale.evaluation.report import write_json
from scale.inference.evaluate import evaluate_run
from scale.studies.statistics import summarise
from scale.talk import material, page, slides_method, slides_results
from scale.talk.deck import problems
from scale.talk.material import headline, prose
from scale.talk.plan import SLIDES, find_talk, outline, read_talk, standard_talk
from scale.training.run import TrainedRun
from scale.viz import registry
from scale.viz.illustrations.masked_words import ColourGuess
from scale.viz.illustrations.space import modality_gap, points_of_stages
from scale.viz.theme import contrast
from scale.viz.words import label
from scale.viz.writing import write_pictures
from tests.talk.stated_numbers import Data, shown, stated

pytestmark = pytest.mark.slow

STUDIES = Path(__file__).parents[2] / "figures" / "studies"
EVERYTHING = list(SLIDES)


@pytest.fixture(scope="module")
def shop(small_catalogue, tmp_path_factory):
    """The small catalogue with the colour of each product as a label."""
    folder = tmp_path_factory.mktemp("coloured") / small_catalogue.name
    shutil.copytree(small_catalogue, folder)
    records = [json.loads(line) for line in (folder / "products.jsonl").read_text().splitlines()]
    records = [r | {"labels": {"colour": r["title"].partition(" ")[0]}} for r in records]
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, records)))
    return folder


@pytest.fixture(scope="module", autouse=True)
def flat_maps():
    """The first two features in place of UMAP, which takes half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slides_results, "kept_umap", lambda emb_ND, seed: emb_ND[:, :2])
        yield


@pytest.fixture(scope="module")
def studies(shop, tmp_path_factory):
    """The studies of the shop, under the small catalogue's name."""
    folder = tmp_path_factory.mktemp("studies")
    for path in STUDIES.glob("*-data_samples.parquet"):
        study = path.name.removesuffix("-data_samples.parquet")
        shutil.copy(path, folder / f"{study}-{shop.name}.parquet")
    return folder


@pytest.fixture(scope="module")
def measured(run_folder, shop, tmp_path_factory):
    """The small run with its results."""
    out = tmp_path_factory.mktemp("runs") / "small"
    shutil.copytree(run_folder, out)
    results = evaluate_run(
        TrainedRun.load(out), Catalogue.open(shop), "test", tune=False, progress=False
    )
    write_json(out / "results.json", results)
    return out


@pytest.fixture(scope="module")
def make(measured, shop, studies):
    """Runs `scale slides` with further arguments; returns its exit code."""

    def run(*arguments, run=measured, studies=studies):
        given = ["--run", run, "--catalogue", shop, "--studies", studies]
        given += ["--date", "2026-11-25", *arguments]
        return cli.main(["slides", *map(str, given)])

    return run


@pytest.fixture(scope="module", autouse=True)
def small_pictures():
    """Pictures of 60 instead of 220 dots per inch: no test reads their pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "DOTS", 60)
        yield


@pytest.fixture(scope="module")
def draw_once():
    """`draw` for two decks: the second one gets empty figures of the same sizes."""
    sizes = {}

    def draw(name, sources, lang):
        if name in sizes:
            return Figure(figsize=sizes[name])
        figure = registry.draw(name, sources, lang)
        sizes[name] = figure.get_size_inches()
        return figure

    return draw


@pytest.fixture(scope="module", params=["en", "zh"])
def talk(request, make, draw_once, tmp_path_factory):
    """Language, and the deck with all slides."""
    folder = tmp_path_factory.mktemp("talk")
    (folder / "talk.toml").write_text(f"slides = {EVERYTHING}".replace("'", '"'))
    out = folder / "deck.pptx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(material, "draw", draw_once)
        assert make("--lang", request.param, "--talk", folder / "talk.toml", "--out", out) == 0
    return request.param, Presentation(str(out))


def test_the_standard_talk_has_22_to_31_slides():
    assert 22 <= len(standard_talk().slides) <= 31


def test_every_slide_is_there_with_its_number_and_footer(talk):
    lang, deck = talk
    assert len(deck.slides) == len(EVERYTHING)
    for slide in deck.slides:
        assert slide.shapes.title.text_frame.text.strip()
        kinds = {p.placeholder_format.type: p for p in slide.placeholders}
        number = kinds[PP_PLACEHOLDER.SLIDE_NUMBER]
        assert number._element.xpath(".//a:fld[@type='slidenum']")
        footer = kinds[PP_PLACEHOLDER.FOOTER].text_frame.text
        assert "small" in footer
        assert footer.endswith("2026-11-25")
        assert ("提交" in footer) == (lang == "zh")


def test_nothing_overflows_and_all_has_a_description(talk):
    assert problems(talk[1]) == []


def filled_texts(shapes):
    """Yield text, its colour and the fill behind it, of all shapes with an RGB fill."""
    for shape in shapes:
        if shape.shape_type == MSO_SHAPE_TYPE.GROUP:
            yield from filled_texts(shape.shapes)
        elif shape.has_text_frame and shape.fill.type == MSO_FILL.SOLID:
            fill = shape.fill.fore_color
            for run in (r for p in shape.text_frame.paragraphs for r in p.runs):
                colour = run.font.color
                if fill.type == colour.type == MSO_COLOR_TYPE.RGB:
                    yield run.text, f"#{colour.rgb}", f"#{fill.rgb}"
                elif colour.type == MSO_COLOR_TYPE.SCHEME:
                    assert colour.theme_color != MSO_THEME_COLOR.BACKGROUND_1, run.text


def test_text_on_coloured_shapes_is_legible(talk):
    found = [each for slide in talk[1].slides for each in filled_texts(slide.shapes)]
    assert len(found) > 20
    for text, colour, fill in found:
        assert contrast(colour, fill) >= 4.5, (text, colour, fill)


def test_shapes_of_a_slide_have_different_ids(talk):
    for slide in talk[1].slides:
        ids = slide.shapes._spTree.xpath(".//p:cNvPr/@id")
        assert len(ids) == len(set(ids)), slide.shapes.title.text_frame.text


def test_notes_can_be_spoken(talk):
    lang, deck = talk
    for slide in deck.slides:
        notes = slide.notes_slide.notes_text_frame.text
        assert "{" not in notes
        if lang == "en":
            assert 60 <= len(notes.split()) <= 120, notes
        else:
            assert 100 <= len(re.findall("[一-鿿]", notes)) <= 220, notes


def test_charts_and_tables_are_native(talk):
    shapes = [shape for slide in talk[1].slides for shape in slide.shapes]
    assert sum(shape.has_chart for shape in shapes) >= 9
    assert sum(shape.has_table for shape in shapes) >= 4


def test_numbers_are_those_of_the_results(talk, measured):
    _, deck = talk
    tree = json.loads((measured / "results.json").read_text())["retrieval"]["category"]
    slide = deck.slides[EVERYTHING.index("retrieval")]
    (chart,) = [shape.chart for shape in slide.shapes if shape.has_chart]
    everything = "text+table+image+video+audio"
    for series, stage in zip(
        chart.plots[0].series, ("trained", "untrained", "chance"), strict=True
    ):
        assert series.values[0] == pytest.approx(tree[stage][everything]["mAP@5"]["value"])


def test_every_number_is_in_the_data_that_the_slide_shows(talk, measured, shop, studies):
    """Numbers and counts of titles, points and notes, in digits and in words."""
    data, wrong = Data(measured, shop, studies), []
    for key, slide in zip(EVERYTHING, talk[1].slides, strict=True):
        texts = [slide.notes_slide.notes_text_frame.text]
        texts += [p.text_frame.text for p in slide.placeholders
                  if p.has_text_frame and p.placeholder_format.idx < 10]  # fmt: skip
        known = data.known(key) | shown(slide)
        wrong += [f"{key}: {n.text}" for t in texts for n in stated(t) if not n.in_data(known)]
    assert not wrong, "; ".join(wrong)


def test_the_same_inputs_give_the_same_bytes(make, tmp_path):
    (tmp_path / "talk.toml").write_text('slides = ["title", "data", "scores", "retrieval"]')
    for name in ("a", "b"):
        assert make("--talk", tmp_path / "talk.toml", "--out", tmp_path / f"{name}.pptx") == 0
    assert (tmp_path / "a.pptx").read_bytes() == (tmp_path / "b.pptx").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pptx", "b.pptx", "talk.toml"]


def test_slides_without_material_are_left_out_and_listed(make, run_folder, tmp_path, capsys):
    out = tmp_path / "deck.pptx"
    (tmp_path / "talk.toml").write_text('slides = ["title", "retrieval", "faults", "training"]')
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    (run / "scores.parquet").unlink()
    # Another test may have evaluated the shared run.
    (run / "results.json").unlink(missing_ok=True)
    arguments = ("--talk", tmp_path / "talk.toml", "--out", out)
    assert make(*arguments, run=run, studies=tmp_path / "none") == 0
    said = capsys.readouterr().out
    assert "left out: retrieval: no " in said
    assert "scale evaluate" in said
    assert "left out: faults: " in said
    assert "left out: training: no logged scores" in said
    assert "1 slide, 3 left out" in said
    assert len(Presentation(str(out)).slides) == 1


def test_the_outline_draws_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["slides", "--outline", "--lang", "zh", "--run", "nowhere"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(standard_talk().slides)
    assert lines[0].split()[:2] == ["1", "title"]
    assert "五种模态" in lines[0]
    assert lines[1].endswith("(figure contrastive_idea)")
    assert not list(tmp_path.iterdir())


def test_own_slides(make, tmp_path):
    Image.new("RGB", (60, 40), "red").save(tmp_path / "lab.png")
    Image.new("L", (90, 20)).save(tmp_path / "wide.gif")
    (tmp_path / "talk.toml").write_text(
        'slides = ["lab", "questions", "break", "wide"]\n'
        '[own.lab]\ntitle = "Our {lab}"\npoints = ["a", "b"]\npicture = "lab.png"\n'
        'alt = "A lab"\nnotes = "Hello."\nsource = "May"\n'
        '[own.break]\ntitle = "Break"\n'
        '[own.wide]\ntitle = "Wide"\npicture = "wide.gif"\n'
    )
    assert make("--talk", tmp_path / "talk.toml", "--out", tmp_path / "d.pptx") == 0
    deck = Presentation(str(tmp_path / "d.pptx"))
    lab, _, pause, wide = deck.slides
    assert lab.shapes.title.text_frame.text == "Our {lab}"
    assert lab.notes_slide.notes_text_frame.text == "Hello."
    (picture,) = lab.shapes._spTree.xpath(".//p:pic")
    assert picture.xpath(".//p:cNvPr/@descr") == ["A lab"]
    assert pause.slide_layout.name == "Section"
    assert len(wide.shapes._spTree.xpath(".//p:pic")) == 1


def test_a_faulty_talk_is_an_error(tmp_path):
    path = tmp_path / "talk.toml"
    (tmp_path / "bad.csv").write_text("name,a\nx,many\n")
    (tmp_path / "ragged.csv").write_text("name,a\nx,1\ny\n")
    for toml, message in (
        ('slides = ["idee"]', "no slide named 'idee'; known: title, idea, modalities"),
        ('slides = ["idea", "idea"]', "the slide idea occurs twice"),
        ("slides = []", "slides must be a list of names"),
        ('slids = ["idea"]', "unknown key slids; known: slides, own, slide, minutes, speaker"),
        ('slide = ["idea"]', "slide must contain a table per slide"),
        ("speaker = 3", "speaker must be a text"),
        ("[minutes]\nidea = 0", r"minutes\.idea: 0 is no positive number"),
        ("[minutes]\nidea = inf", r"minutes\.idea: inf is no positive number"),
        ("[minutes]\nidee = 1", r"minutes\.idee: the talk has no slide of this name"),
        ('[slide.idee]\ntitle = "X"', r"slide\.idee: no slide of this name; known: title, idea"),
        ('[slide.idea]\nafter = "title"', "order slides by `slides`"),
        ('[own.x]\ntitle = "X"\nafter = "nowhere"', "own.x: the talk has no slide 'nowhere'"),
        ('[own.x]\ntitle = "X"\nchart = "a.csv"\ntable = "a.csv"', "give one of chart, table"),
        ('[own.x]\ntitle = "X"\nchart = "none.csv"', "none.csv: no such file"),
        ('[own.x]\ntitle = "X"\nchart = "bad.csv"', r"bad\.csv: 'many' is no number"),
        ('[own.x]\ntitle = "X"\ntable = "ragged.csv"', "row 3: 1 columns, the header has 2"),
        ('[own.x]\ntitle = "X"\nchart = "bad.csv"\nkind = "pie"', "kind: one of columns, bars"),
        ("slides = [", "not a TOML file"),
        ('[own.x]\ntitel = "X"', r"unknown key own\.x\.titel; known: after, alt, axis"),
        ('[own.x]\npoints = ["a"]', "own.x.*title"),
        ('[own.x]\ntitle = "X"\npoints = [1]', r"own\.x\.points must be texts"),
        ('[own.idea]\ntitle = "X"', "own.idea: the talk already has a slide of this name"),
        ('[own.x]\ntitle = "X"\npicture = "none.png"', "none.png: no such file"),
        ('[own.x]\ntitle = "X"\npicture = "talk.toml"', "not a picture"),
    ):
        path.write_text(toml)
        with pytest.raises(ValueError, match=message):
            read_talk(path)


def _alt(shape):
    return shape._element.xpath(".//p:cNvPr")[0].get("descr", "")


def keys_of(talk):
    return [slide.key for slide in talk.slides]


def test_own_slides_are_placed(tmp_path):
    standard = keys_of(standard_talk())
    own = '[own.x]\ntitle = "X"\n'
    for toml, expected in (
        (own, [*standard, "x"]),
        (own + 'after = "title"', ["title", "x", *standard[1:]]),
        (own + 'before = "title"', ["x", *standard]),
        ('slides = ["idea", "loss"]\n' + own + 'after = "idea"', ["idea", "x", "loss"]),
        ('slides = ["idea", "loss"]\n' + own, ["idea", "loss"]),
    ):
        (tmp_path / "talk.toml").write_text(toml)
        assert keys_of(read_talk(tmp_path / "talk.toml")) == expected


def test_a_talk_changes_slides_and_adds_charts_and_tables(make, tmp_path):
    Image.new("RGB", (60, 40), "red").save(tmp_path / "new.png")
    (tmp_path / "gain.csv").write_text("design,R@1,R@1 low,R@1 high\nA,0.5,0.4,0.6\nB,0.7,,\n")
    (tmp_path / "facts.csv").write_text("name,number\nproducts,48\n", encoding="utf-8-sig")
    (tmp_path / "talk.toml").write_text(
        'speaker = "Li Lei"\naffiliation = "Lab 5"\ndate = "2026-12-03"\n'
        'slides = ["title", "idea", "data", "gain", "facts"]\n'
        '[slide.title]\npoints = ["Own line"]\n'
        '[slide.idea]\ntitle = "Mine"\npoints = []\nnotes = "Speak."\npicture = "new.png"\n'
        '[slide.data]\ntitle = "{complete} of {all} in {catalogue}"\n'
        '[own.gain]\ntitle = "Gain"\nchart = "gain.csv"\nkind = "bars"\nalt = "a chart"\n'
        '[own.facts]\ntitle = "Facts"\ntable = "facts.csv"\npoints = ["p"]\n'
    )
    assert make("--date", "", "--talk", tmp_path / "talk.toml", "--out", tmp_path / "d.pptx") == 0
    deck = Presentation(str(tmp_path / "d.pptx"))
    title, idea, data, gain, facts = deck.slides
    assert title.placeholders[1].text_frame.text.splitlines() == ["Li Lei, Lab 5", "Own line"]
    assert deck.core_properties.author == "Li Lei"
    footers = [p for p in title.placeholders if p.placeholder_format.type == PP_PLACEHOLDER.FOOTER]
    assert footers[0].text_frame.text.endswith("2026-12-03")
    assert idea.shapes.title.text_frame.text == "Mine"
    assert idea.notes_slide.notes_text_frame.text == "Speak."
    assert idea.slide_layout.name == "Wide picture"
    texts = [p.text_frame.text for p in idea.placeholders if p.has_text_frame]
    assert not any("contrastive_idea" in text for text in texts)
    assert re.fullmatch(r"\d+ of 48 in .*", data.shapes.title.text_frame.text)
    assert "products" in data.notes_slide.notes_text_frame.text
    (chart,) = [shape.chart for shape in gain.shapes if shape.has_chart]
    assert list(chart.plots[0].series[0].values) == [0.5, 0.7]
    assert len(chart._chartSpace.xpath(".//c:errBars//c:plus//c:pt")) == 1
    (table,) = [shape.table for shape in facts.shapes if shape.has_table]
    assert [c.text for c in table.rows[1].cells] == ["products", "48"]


def test_a_changed_title_with_an_unknown_value_is_an_error(make, tmp_path, capsys):
    (tmp_path / "talk.toml").write_text('slides = ["data"]\n[slide.data]\ntitle = "{nothing}"\n')
    assert make("--talk", tmp_path / "talk.toml", "--out", tmp_path / "d.pptx") == 2
    assert "'nothing' is no value of the slide; known: all, catalogue" in capsys.readouterr().err


def test_points_without_a_place_are_an_error(make, tmp_path, capsys):
    for key, message in (("framework", "leaves no place for points"), ("data_sets", "of 12 rows")):
        (tmp_path / "talk.toml").write_text(f'slides = ["{key}"]\n[slide.{key}]\npoints = ["a"]\n')
        assert make("--talk", tmp_path / "talk.toml", "--out", tmp_path / "d.pptx") == 2
        assert message in capsys.readouterr().err


def test_the_outline_has_changed_titles(tmp_path):
    (tmp_path / "talk.toml").write_text('slides = ["idea"]\n[slide.idea]\ntitle = "Mine"\n')
    assert outline(read_talk(tmp_path / "talk.toml"), "en").split("  ")[-2] == "Mine"


@pytest.fixture(scope="module")
def other_catalogue(shop, tmp_path_factory):
    """The small catalogue without one product's sound: as many products, other contents."""
    folder = tmp_path_factory.mktemp("other") / shop.name
    shutil.copytree(shop, folder)
    lines = [json.loads(line) for line in (folder / "products.jsonl").read_text().splitlines()]
    next(line for line in lines if line.get("audio"))["audio"] = None
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_a_catalogue_other_than_the_runs_is_refused(make, measured, other_catalogue, tmp_path,
                                                    capsys):  # fmt: skip
    out = tmp_path / "d.pptx"
    assert make("--catalogue", other_catalogue, "--out", out) == 2
    assert f"was not trained on {other_catalogue}" in capsys.readouterr().err
    assert not out.exists()


def test_a_figure_of_a_run_of_another_catalogue_carries_the_fact(
    measured, shop, other_catalogue, tmp_path
):
    for catalogue, same in ((shop, True), (other_catalogue, False)):
        sources = registry.Sources(measured, catalogue, tmp_path)
        out = tmp_path / str(same)
        write_pictures(("retrieval_by_subset",), sources, out)
        record = json.loads((out / "retrieval_by_subset_en.json").read_text())
        assert record["same_catalogue"] is same
        assert ("another catalogue" in record["caption"]) == (not same)


def test_results_of_other_products_are_not_shown(make, measured, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(measured, run)
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps(results | {"products": results["products"] + 1}))
    (tmp_path / "talk.toml").write_text('slides = ["title", "retrieval"]')
    assert make("--talk", tmp_path / "talk.toml", "--out", tmp_path / "d.pptx", run=run) == 0
    assert "left out: retrieval: " in capsys.readouterr().out


def test_bad_input_is_an_error(make, tmp_path, capsys):
    assert cli.main(["slides", "--run", str(tmp_path / "none")]) == 2
    assert "make demo" in capsys.readouterr().err
    assert make("--out", "/proc/none/d.pptx") == 2
    assert "/proc: the folder cannot be written" in capsys.readouterr().err
    assert make("--date", "yesterday") == 2
    assert "write it as 2026-11-25" in capsys.readouterr().err
    (tmp_path / "talk.toml").write_text('slides = ["x"]\n[own.x]\ntitle = "' + 40 * "long " + '"')
    assert make("--talk", tmp_path / "talk.toml", "--out", tmp_path / "d.pptx") == 2
    assert "slide x: at 24 points" in capsys.readouterr().err
    assert not (tmp_path / "d.pptx").exists()


SIGNED = (
    "retrieval", "map", "gap", "words", "loss", "study_missing", "paper_modalities",
    "paper_models", "study_parts", "study_weighting", "study_objective", "faults",
)  # fmt: skip
"""Slides whose title states an answer."""


def negated(estimate):
    ends = (None if e is None else -e for e in (estimate.value, estimate.high, estimate.low))
    return Estimate(*ends, estimate.n)


@pytest.fixture
def reverse(measured, shop, studies):
    """Titles of the slides in both languages, from the data or with all differences reversed."""

    def titles(sign, patch):
        def summary(study, records):
            found = summarise(study, records)
            verdict = "supported" if sign > 0 else "contradicted"
            outcomes = [replace(o, verdict=verdict) for o in found.outcomes]
            if sign < 0:
                outcomes = [replace(o, seeds=negated(o.seeds)) for o in outcomes]
            return replace(found, outcomes=tuple(outcomes))

        def maps(emb_ND, seed):
            """A point per category, or all products in a row, categories in turn."""
            kinds = [p.category for p in sources.test.products]
            place = {kind: k for k, kind in enumerate(dict.fromkeys(kinds))}
            far = np.array([[place[kind], n / 1000] for n, kind in enumerate(kinds)])
            return far if sign > 0 else far[:, ::-1] * (1, 1e-3)

        def guess(sources):
            chances = dict(zip(("title", "picture"), (0.2, 0.4)[::sign], strict=True))
            guesses = {name: [("red", p)] for name, p in chances.items()}
            return ColourGuess(sources.test.products[0], "__ thing", "red", guesses, chances, 9)

        sources = registry.Sources(measured, shop, studies)
        points = sorted(points_of_stages(sources).values(), key=modality_gap)
        stages = dict(zip(("trained", "untrained"), points[::sign], strict=True))
        losses = [9.0, 3.0][::sign]
        rows = [{"step": k, "loss/contrastive": loss} for k, loss in enumerate(losses)]
        results = json.loads((measured / "results.json").read_text())
        for tree in results["retrieval"]["differences"]["trained"].values():
            tree["mAP@5"] |= {
                "value": 0.2 * sign,
                "low": 0.2 * sign - 0.1,
                "high": 0.2 * sign + 0.1,
            }
        patch.setattr(material, "summarise", summary)
        patch.setattr(material.Material, "results", results)
        patch.setattr(material.Material, "render", lambda *_: page.Picture(b"", 1.0))
        patch.setattr(slides_results, "kept_umap", maps)
        patch.setattr(slides_results, "points_of_stages", lambda _: stages)
        patch.setattr(slides_method, "guess_colour", guess)
        patch.setattr(slides_method, "read_metrics", lambda _: rows)
        found = {}
        for lang in ("en", "zh"):
            m = material.Material(sources, lang)
            for key in SIGNED:
                content = SLIDES[key].draw(m)
                values = {"run": "", "catalogue": "", "seed": 0, **content.values}
                text = prose(key, lang, values, content.variant)
                found[lang, key] = re.sub(r"[\d.]+ ?%?", "#", text.title), text.notes
        return found

    return titles


def test_titles_that_state_an_answer_follow_the_sign_of_the_data(reverse):
    signed = {key for key in SLIDES if " / " in headline(key, "en")}
    assert signed == {*SIGNED, "modalities"}
    with pytest.MonkeyPatch.context() as patch:
        forward = reverse(1, patch)
    with pytest.MonkeyPatch.context() as patch:
        backward = reverse(-1, patch)
    for place, (title, _) in forward.items():
        assert title != backward[place][0], place
    assert "narrows" in forward["en", "gap"][0]
    assert "does not narrow" in backward["en", "gap"][0]
    assert "It falls" not in backward["en", "gap"][1]


def test_the_short_talk_takes_25_minutes(make, tmp_path, capsys):
    talk = read_talk(find_talk(Path("short")))
    assert 14 <= len(talk.slides) <= 16
    assert set(talk.minutes) == set(keys_of(talk))
    assert sum(talk.minutes.values()) == 25
    for key, minutes in talk.minutes.items():
        english, chinese = (material._read(lang)[key]["notes"] for lang in ("en", "zh"))
        assert len(english.split()) <= 125 * minutes, key
        assert len(re.findall("[一-鿿]", chinese)) <= 240 * minutes, key
    (tmp_path / "talk.toml").write_text(
        'slides = ["title", "questions"]\n[minutes]\ntitle = 1.995\nquestions = 2.505\n'
    )
    assert make("--talk", tmp_path / "talk.toml", "--out", tmp_path / "d.pptx") == 0
    assert "2 slides, 4.5 minutes" in capsys.readouterr().out
    notes = [s.notes_slide.notes_text_frame.text for s in Presentation(tmp_path / "d.pptx").slides]
    assert notes[1].splitlines()[0] == "2.505 min, from 2:00 to 4:30"
    assert make("--talk", tmp_path / "long", "--out", tmp_path / "d.pptx") == 2
    assert "no such file, and no talk of the package (short)" in capsys.readouterr().err


def test_slides_of_the_method_show_their_place_in_the_framework(talk):
    for key, slide in zip(EVERYTHING, talk[1].slides, strict=True):
        marks = [s for s in slide.shapes if _alt(s).startswith(label("position", talk[0], part=""))]
        assert len(marks) == bool(SLIDES[key].part), key
        for mark in marks:
            title = slide.shapes.title
            assert title.left + title.width < mark.left
            assert not any(s.has_text_frame and s.text_frame.text for s in mark.shapes)
