"""The site's link check and its search of Chinese text; tests/browser opens the site."""

from tools import book


def test_broken_links_are_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.html").write_text('<h1 id="one">One</h1><img src="../p.png">')
    (tmp_path / "p.png").write_bytes(b"")
    right = (
        '<a href="sub/a%20b.html#one"></a><a href="#here" id="here"></a><a href="https://x.org">'
    )
    (tmp_path / "right.html").write_text(right)
    assert book.find_broken_links(tmp_path) == []
    wrong = '<a href="none.html"><a href="sub/a%20b.html#two"><script src="https://x.org/y.js">'
    (tmp_path / "wrong.html").write_text(wrong)
    assert book.find_broken_links(tmp_path) == [
        "wrong.html: no file none.html",
        "wrong.html: no heading sub/a%20b.html#two",
        "wrong.html: embeds https://x.org/y.js of another host",
    ]


def test_search_splits_chinese_text_into_pairs():
    search = book.BilingualSearch({})
    assert search.split("S′ 得分矩阵, of batch_BMM") == [
        "S",
        "得分",
        "分矩",
        "矩阵",
        "of",
        "batch_BMM",
    ]


def test_every_page_of_the_documentation_is_in_the_navigation():
    page = book.front_page("en")
    for path in (book.ROOT / "docs").glob("*.md"):
        assert f"docs/{path.stem}\n" in page, path.name
