"""Titles and tables as word pieces: structure, entities, truncation, determinism."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scale.data.product import View
from scale.data.text_loss import measure_text_loss
from scale.data.tokenizer import (
    SPECIAL,
    _bare_tokenizer,
    check_tokenizer,
    encode_tables,
    encode_texts,
    load_tokenizer,
    select_columns,
    train_tokenizer,
)

PRODUCTS = (
    View(text="Red cotton dress, summer 2024", table=(("colour", "red"), ("material", "cotton"))),
    View(text="红色纯棉连衣裙", table=(("颜色", "红色"), ("材质", "棉"))),
    View(text="Steel kettle 1.5 l", table=(("capacity", "1.5 l"), ("material", "steel"))),
    View(text=None, table=(("brand", "Crème & Co"), ("size", "XXL"))),
    View(text="Blue steel watch", table=None),
)
TOKENIZER = train_tokenizer(PRODUCTS, 400)

words = st.text(alphabet="abcdersltuomi 红棉", min_size=1, max_size=12).filter(str.strip)
tables = st.lists(st.lists(st.tuples(words, words), min_size=1, max_size=5), max_size=4)


def pieces(string):
    return TOKENIZER(string, add_special_tokens=False)["input_ids"]


def slow_table(table, length):
    """One table, entity by entity, in the words of `encode_tables`' docstring."""
    room, ids, entity = length - 2, [], []
    sign = {0: pieces(":")[0], 1: pieces(";")[0]}
    for k, name in enumerate(name for pair in table for name in pair):
        own = pieces(name)
        alone = len(own) + (len(pieces(table[k // 2][0])) + 1 if k % 2 else 0)
        left = room - len(ids)
        if len(own) > left:
            if alone > room and left > 0:
                ids += own[:left]
                entity += [k] * left
            break
        ids += own
        entity += [k] * len(own)
        if len(ids) == room:
            break
        ids.append(sign[k % 2])
        entity.append(-1)
    return [TOKENIZER.cls_token_id, *ids, TOKENIZER.sep_token_id], [-1, *entity, -1]


def test_special_tokens_have_the_first_ids():
    assert [TOKENIZER.convert_tokens_to_ids(t) for t in SPECIAL.values()] == [0, 1, 2, 3, 4]
    assert TOKENIZER.pad_token_id == 0


def test_chinese_title_splits_by_character_and_latin_is_lowered():
    assert TOKENIZER.convert_ids_to_tokens(pieces("红色 RED 棉")) == ["红", "色", "red", "棉"]
    assert TOKENIZER.decode(pieces("Crème")) == "creme"


def test_marks_outside_latin_are_kept_and_unspaced_scripts_are_divided():
    """BERT's normaliser makes パン (bread) and バン (van) one word, and long runs [UNK]."""
    titles = ("ガラス カラス パン バン ข้าว ข่าว йогурт 한국", "Crème ÅNGSTRÖM İ ễ ❤️")
    tokenizer = train_tokenizer([View(text=title) for title in titles], 400)
    for a, b in (("ガラス", "カラス"), ("パン", "バン"), ("ข้าว", "ข่าว"), ("й", "и")):
        assert tokenizer.tokenize(a) != tokenizer.tokenize(b)
    assert tokenizer.decode(tokenizer(titles[1], add_special_tokens=False)["input_ids"]) == (
        "creme angstrom i e ❤"
    )
    split = _bare_tokenizer({}).pre_tokenizer.pre_tokenize_str
    assert [w for w, _ in split("ガラスのコップです")] == ["ガラス", "の", "コップ", "です"]
    assert [w for w, _ in split("ข้าวแท้")] == ["ข้า", "ว", "แท้"]
    for run in ("ラス" * 60, "ข้าวข่าว" * 60, "reme" * 60):
        assert tokenizer.unk_token not in tokenizer.tokenize(run)


def test_losses_of_titles_and_tables_are_counted():
    """Against the sequences themselves: what is not in them is reported, by attribute."""
    products = [
        View(text="red " * 40, table=(("colour", "red"), ("material", "cotton"), ("size", "XXL"))),
        View(text="steel 猫", table=(("size", "1.5 l"),)),
    ]
    for length in (8, 12, 16, 20):
        _, _, entity_NL = encode_tables(TOKENIZER, [p.table for p in products], length)
        kept = [(e % 2 == 1) & (e >= 0) for e in map(np.unique, entity_NL)]
        loss = measure_text_loss("table", products, TOKENIZER, length)
        assert sum(loss.lost.values()) == 4 - sum(k.sum() for k in kept), length
        assert loss.cut == (sum(loss.lost.values()) > 0)
    loss = measure_text_loss("table", products, TOKENIZER, 8)
    assert loss.lost == {"material": 1, "size": 1}
    assert str(measure_text_loss("table", products, TOKENIZER, loss.recommended)) == ""
    assert "1 of 2 tables (50.0%) are longer than 8 word pieces" in str(loss)
    assert "with 2 of 4 pairs (50.0%): material 1, size 1." in str(loss)
    loss = measure_text_loss("text", products, TOKENIZER, 10)
    assert (loss.cut, loss.unknown, loss.pieces) == (1, 1, 42)
    assert "2.38% of the word pieces of titles are [UNK]" in str(loss)


def test_columns_of_tables_are_chosen_and_ordered():
    table = (("colour", "red"), ("size", "XL"), ("colour", "blue"), ("brand", "A"))
    product = View(table=table)
    assert select_columns(product, ()).table == table
    assert select_columns(product, ("brand", "colour")).table == (table[3], table[0], table[2])
    assert select_columns(product, ("size", "...", "colour")).table == (
        table[1], table[3], table[0], table[2],
    )  # fmt: skip
    assert select_columns(product, ("none",)).table is None


def test_vocabulary_does_not_depend_on_order_or_process():
    code = (
        "import json, sys; from scale.data.product import View;"
        "from scale.data.tokenizer import train_tokenizer;"
        "views = [View(text=t, table=tuple(map(tuple, tb)) if tb else None)"
        " for t, tb in json.load(sys.stdin)];"
        "print(json.dumps(train_tokenizer(views, 400).get_vocab()))"
    )
    records = json.dumps([(p.text, p.table) for p in reversed(PRODUCTS)])
    run = subprocess.run(
        [sys.executable, "-c", code], input=records, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == TOKENIZER.get_vocab()


def test_vocabulary_stays_within_its_size_even_when_characters_do_not_fit():
    titles = ["".join(chr(0x4E00 + i) for i in range(k, k + 30)) for k in range(0, 600, 20)]
    small = train_tokenizer([View(text=t) for t in titles], 100)
    ids_NL, _ = encode_texts(small, titles, 40)
    assert len(small) <= 100
    assert ids_NL.max() < 100
    assert (ids_NL == small.unk_token_id).any()


def test_without_text_there_are_special_tokens_only():
    special = train_tokenizer([View()], 100)
    assert sorted(special.get_vocab(), key=special.get_vocab().get) == list(SPECIAL.values())


def test_no_product_or_no_room_is_an_error():
    with pytest.raises(ValueError, match="no training product"):
        train_tokenizer([], 100)
    with pytest.raises(ValueError, match="no room"):
        train_tokenizer(PRODUCTS, 7)
    with pytest.raises(ValueError, match="leaves no room"):
        encode_texts(TOKENIZER, ["a"], 2)


def test_texts_are_framed_padded_and_cut():
    titles = ["red", "red cotton dress, summer 2024"]
    ids_NL, padding_NL = encode_texts(TOKENIZER, titles, 6)
    assert ids_NL.dtype == np.int32
    assert ids_NL.shape == (2, 6)
    assert ids_NL[0].tolist() == [2, *pieces("red"), 3, 0, 0, 0]
    assert padding_NL[0].tolist() == [False] * 3 + [True] * 3
    assert ids_NL[1].tolist() == [2, *pieces(titles[1])[:4], 3]
    assert encode_texts(TOKENIZER, [], 6)[0].shape[0] == 0


def test_special_tokens_in_a_title_are_plain_characters():
    ids_NL, _ = encode_texts(TOKENIZER, ["red [MASK] [SEP] [PAD] dress"], 40)
    assert not np.isin(ids_NL[0, 1:-1], [0, 2, 3, 4]).any()


@settings(max_examples=150)
@given(batch=tables, length=st.integers(3, 40))
def test_tables_agree_with_a_slow_twin(batch, length):
    ids_NL, padding_NL, entity_NL = encode_tables(TOKENIZER, batch, length)
    assert ids_NL.shape == padding_NL.shape == entity_NL.shape
    assert ids_NL.shape[1] <= length
    for ids_L, padding_L, entity_L, table in zip(ids_NL, padding_NL, entity_NL, batch, strict=True):
        ids, entity = slow_table(table, length)
        assert ids_L[~padding_L].tolist() == ids
        assert entity_L[~padding_L].tolist() == entity
        assert (ids_L[padding_L] == 0).all()
        assert (entity_L[padding_L] == -1).all()


@settings(max_examples=100)
@given(batch=tables.filter(bool))
def test_a_table_reads_back_from_its_entities(batch):
    ids_NL, padding_NL, entity_NL = encode_tables(TOKENIZER, batch, 500)
    for row, table in enumerate(batch):
        strings = [name for pair in table for name in pair]
        read = [ids_NL[row, entity_NL[row] == k].tolist() for k in range(len(strings))]
        assert read == [pieces(s) for s in strings]
        rest = ids_NL[row, (entity_NL[row] == -1) & ~padding_NL[row]]
        signs = TOKENIZER.convert_ids_to_tokens(rest.tolist())
        assert signs == ["[CLS]", *([":", ";"] * len(table)), "[SEP]"]


def test_an_entity_longer_than_the_room_is_cut_and_a_shorter_one_never():
    long = "red steel blue watch cotton dress"
    _, _, entity_NL = encode_tables(TOKENIZER, [[("size", long)], [("red", "red"), (long, "x")]], 7)
    assert entity_NL[0].tolist() == [-1, 0, -1, 1, 1, 1, -1]
    assert entity_NL[1].tolist() == [-1, 0, -1, 1, -1, 2, -1]
    fits = "blue watch"
    _, _, entity_NL = encode_tables(TOKENIZER, [[("red", "red"), (fits, "x")]], 7)
    assert entity_NL[0].tolist() == [-1, 0, -1, 1, -1, -1]


def test_saved_tokenizer_loads_equal(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.get_vocab() == TOKENIZER.get_vocab()
    table = [PRODUCTS[0].table]
    for ours, theirs in zip(
        encode_tables(TOKENIZER, table, 30), encode_tables(loaded, table, 30), strict=True
    ):
        assert np.array_equal(ours, theirs)


def test_any_bert_tokenizer_works(tmp_path):
    from transformers import BertTokenizerFast

    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ":", ";", "red", "##dish", "colour"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocab) + "\n")
    BertTokenizerFast(vocab={v: i for i, v in enumerate(vocab)}).save_pretrained(tmp_path)
    ids_NL, _, entity_NL = encode_tables(load_tokenizer(tmp_path), [[("colour", "reddish")]], 30)
    assert ids_NL[0].tolist() == [2, 9, 5, 7, 8, 6, 3]
    assert entity_NL[0].tolist() == [-1, 0, -1, 1, 1, -1, -1]


def test_a_tokenizer_without_mask_is_refused_by_name(tmp_path):
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(
        tokenizer_object=_bare_tokenizer({"[UNK]": 0, "a": 1}), pad_token="[PAD]", unk_token="[UNK]"
    )
    with pytest.raises(ValueError, match="has no cls_token, sep_token, mask_token"):
        check_tokenizer(bare)
    bare.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="mask_token"):
        load_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="does not load"):
        load_tokenizer(tmp_path / "nothing")


def test_a_damaged_tokenizer_is_named(tmp_path):
    """`tokenizers` raises a plain Exception."""
    TOKENIZER.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"version": "1.0"', '"version": "q.0"'))
    with pytest.raises(ValueError, match="does not load: Unknown tokenizer version"):
        load_tokenizer(tmp_path)
