"""Problems as a file and as a few lines."""

from scale.data.product import Problem, read_problems, summarise_problems, write_problems


def test_problems_are_written_and_summed_up(tmp_path):
    problems = [
        Problem("p1", "image", "a.jpg", "does not decode: truncated"),
        Problem("红", "image", "b\ud800.jpg", "does not decode: not a picture"),
        Problem("line 3", None, "products.jsonl:3", "malformed line"),
    ]
    write_problems(problems, tmp_path / "problems.jsonl")
    assert read_problems(tmp_path / "problems.jsonl") == problems
    assert [p.name for p in tmp_path.iterdir()] == ["problems.jsonl"]
    lines = summarise_problems(problems).splitlines()
    assert lines[0] == "3 problems:"
    assert lines[1].split() == ["2", "image", "does", "not", "decode,", "e.g.", "'p1'"]
    assert lines[2].split()[:2] == ["1", "record"]
    assert summarise_problems([]) == "no problems"
