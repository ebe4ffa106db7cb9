"""The page of code of notebook 17."""

from scale.viz.illustrations.hundred_lines import _layers, code_page


def test_layers_of_a_line_add_up_to_it():
    for line in (
        "    for m in MODALITIES:",
        "x = where(a)  # if missing",
        "format(inner)",
    ):
        layers = [text for text, _ in _layers(line)]
        merged = [
            max(column) for column in zip(*(text.ljust(len(line)) for text in layers), strict=True)
        ]
        assert "".join(merged) == line


def test_page_counts_lines_that_are_not_empty():
    figure = code_page({"sizes": "A = 1\n\nB = 2", "weights": "C = 3"}, lang="en")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "SCALE in 3 lines of PyTorch" in texts
    assert "sizes · 2 lines" in texts
