"""Operations on texts: what may change and what must not, with the numbers that chance should give."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from rosenblatt.data import text
from rosenblatt.data.transforms import TokenRows

pytestmark = pytest.mark.quick
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]


def generator(seed=0):
    return np.random.default_rng(seed)


def several(f, tokens=WORDS, n=400, **options):
    """n results with seeds of their own; the input stays, and a seed gives the same result again."""
    before = list(tokens)
    out = [f(tokens, generator(i), **options) for i in range(n)]
    assert list(tokens) == before and f(tokens, generator(3), **options) == out[3]
    return out


def test_shuffle_words():
    out = several(text.shuffle_words)
    assert all(Counter(o) == Counter(WORDS) for o in out)
    first = Counter(o[0] for o in out)
    assert set(first) == set(WORDS) and 0.13 < first["the"] / 400 < 0.32  # two of nine
    near = several(text.shuffle_words, tokens=list(range(20)), window=3)
    moves = np.array([[abs(o.index(t) - t) for t in range(20)] for o in near])
    assert moves.max() == 2 and (moves > 0).mean() > 0.3  # never by 3 or more
    assert all(o == WORDS for o in several(text.shuffle_words, n=5, window=1))


def test_shuffle_sentences():
    tokens = ["a", "b", ".", "c", "!", "d", "e", "f", "?", "g"]
    out = several(text.shuffle_sentences, tokens)
    parts = ["a b .", "c !", "d e f ?", "g"]
    orders = set()
    for o in out:
        joined = " ".join(o)
        assert sorted(joined) == sorted(" ".join(tokens)) and all(p in joined for p in parts)
        orders.add(joined)
    assert len(orders) == 24
    assert text.shuffle_sentences([], generator()) == []


def test_synonyms():
    known = {"quick": ["fast", "rapid"], "lazy": ["idle"], "fox": []}
    out = several(text.replace_synonyms, synonyms=known, p=0.4)
    quick = Counter(o[1] for o in out)
    assert set(quick) == {"quick", "fast", "rapid"} and 0.5 < quick["quick"] / 400 < 0.7
    assert abs(quick["fast"] - quick["rapid"]) < 60
    for o in out:
        assert len(o) == 9 and [w for i, w in enumerate(o) if i not in (1, 7)] == [
            w for i, w in enumerate(WORDS) if i not in (1, 7)
        ]
    assert text.replace_synonyms(WORDS, generator(), synonyms=known, p=1.0)[7] == "idle"
    seldom = several(text.replace_synonyms, synonyms=known)  # a tenth by default
    assert 0.06 < np.mean([o[1] != "quick" for o in seldom]) < 0.14


def test_insert():
    out = several(text.insert_words, words=["NEW"], count=2)
    assert all(len(o) == 11 and [w for w in o if w != "NEW"] == WORDS for o in out)
    places = Counter(i for o in out for i, w in enumerate(o) if w == "NEW")
    assert set(places) == set(range(11))
    near = several(text.insert_words, words={"fox": ["vixen"], "dog": ["hound"]})
    assert {w for o in near for w in o} - set(WORDS) == {"vixen", "hound"} and {len(o) for o in near} == {10}
    assert text.insert_words(["a"], generator(), words={"b": ["c"]}) == ["a"]
    with pytest.raises(ValueError, match="at least one word"):
        text.insert_words(WORDS, generator(), words=[])


def test_delete():
    out = several(text.delete_words, p=0.3)
    assert np.mean([len(o) for o in out]) == pytest.approx(0.7 * 9, abs=0.25)
    for o in out:
        rest = iter(WORDS)
        assert all(w in rest for w in o)  # in order
    ones = several(text.delete_words, p=1.0)
    assert {len(o) for o in ones} == {1} and len({o[0] for o in ones}) == 8  # one stays, any
    assert text.delete_words([], generator()) == []


def test_swap():
    out = several(text.swap_words, tokens=list(range(6)))
    assert all(sum(a != b for a, b in zip(o, range(6), strict=True)) == 2 for o in out)
    assert len({tuple(o) for o in out}) == 15  # every pair
    assert text.swap_words(["a"], generator(), count=3) == ["a"]


SENTENCE = "(S (NP (DT the) (JJ old) (NN dog)) (VP (VBZ sleeps) (ADVP soundly) (PP (IN on) (NP (DT the) (NN mat)))))"


def test_parse_tree():
    tree = text.parse_tree(SENTENCE)
    assert (
        str(tree) == SENTENCE and str(text.parse_tree(SENTENCE.replace(" ", "\n  ").replace("(S", "( S"))) == SENTENCE
    )
    assert tree.words() == ["the", "old", "dog", "sleeps", "soundly", "on", "the", "mat"]
    assert [t.label for t in tree.subtrees()][:4] == ["S", "NP", "DT", "JJ"]
    assert tree.children[1].children[2].label == "PP"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("", r"a tree"),
        ("(S (NP a)", "1 more"),
        ("(S a))", r"found '\)' behind"),
        ("a", "expected '\\('"),
        ("(S ())", "label"),
        ("(S (NP))", "parts of 'NP'"),
        ("(S a) b", "found 'b' behind"),
        ("((S a))", "label"),
        ("(A " * 300 + "x" + ")" * 300, "200 levels"),
        ("(S", "1 more"),
        ("(", "1 more"),
    ],
)
def test_trees_that_are_none(bad, words):
    with pytest.raises(ValueError, match=words):
        text.parse_tree(bad)


def test_rotate_children():
    tree = text.parse_tree(SENTENCE)
    assert text.rotate_children(tree, generator(), p=0.0) == tree
    out = [text.rotate_children(tree, generator(i), p=1.0, labels=["NP"]) for i in range(60)]
    first = {" ".join(t.words()[:3]) for t in out}
    assert first == {"old dog the", "dog the old"}  # around the circle, never "dog old the"
    assert {" ".join(t.words()[-2:]) for t in out} == {"mat the"}
    top = text.rotate_children(tree, generator(), p=1.0, labels=["S"])
    assert [c.label for c in top.children] == ["VP", "NP"]


def test_drop_adjuncts():
    tree = text.parse_tree(SENTENCE)
    bare = text.drop_adjuncts(tree, generator(), p=1.0)
    assert str(bare) == "(S (NP (DT the) (NN dog)) (VP (VBZ sleeps)))"
    out = Counter(" ".join(text.drop_adjuncts(tree, generator(i)).words()) for i in range(400))
    assert len(out) == 8 and min(out.values()) > 25  # old, soundly, on the mat: each stays or goes
    assert text.drop_adjuncts(tree, generator(), p=1.0, labels=["NP", "VP"]).words() == ["the", "old", "dog"]


def test_replace_subtrees():
    tree = text.parse_tree(SENTENCE)
    other = text.parse_tree("(S (NP (NNS cats)) (VP (VBP purr)))")
    assert text.replace_subtrees(tree, generator(), bank=[other], p=1.0) == other
    out = {" ".join(text.replace_subtrees(tree, generator(i), bank=[other], p=0.5).words()) for i in range(200)}
    assert out == {
        "the old dog sleeps soundly on the mat",
        "cats sleeps soundly on the mat",
        "the old dog purr",
        "cats purr",
        "the old dog sleeps soundly on cats",
        "cats sleeps soundly on cats",
    }
    assert text.replace_subtrees(tree, generator(), bank=[], p=1.0) == tree


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32])
def test_rows_of_tokens(dtype):
    x = np.zeros((50, 8), dtype)
    x[:, :5] = np.arange(1, 6)
    x[0] = np.arange(1, 9)
    x[1] = 0
    y = TokenRows(text.shuffle_words)(x, generator())
    assert y.dtype == dtype and not y[2:, 5:].any() and not y[1].any()
    assert (np.sort(y[2:, :5], 1) == np.arange(1, 6)).all() and len({r.tobytes() for r in y}) > 30
    more = TokenRows(text.insert_words, options={"words": [9], "count": 2})(x, generator())
    assert (more[2:] == 9).sum() == 96 and (more[2:, 7] == 0).all() and (more[0] != 0).all()  # padded, and cut to T
    fewer = TokenRows(text.delete_words, pad=-1, options={"p": 1.0})(x, generator())
    assert ((fewer != -1).sum(1) == 1).all()
    some = TokenRows(text.shuffle_words, p=0.5)(np.tile(np.arange(1, 9), (400, 1)).astype(dtype), generator())
    assert 0.4 < (some != np.arange(1, 9)).any(1).mean() < 0.6
    assert np.array_equal(TokenRows(text.shuffle_words)(x, generator()), y)


def test_wrong_calls():
    with pytest.raises(ValueError, match="token numbers"):
        TokenRows(text.shuffle_words)(np.full((2, 3), 0.5), generator())
    with pytest.raises(ValueError, match="token numbers"):
        TokenRows(text.shuffle_words)(np.zeros(3, int), generator())
    for f, options in (
        (text.delete_words, {"p": 2}),
        (text.swap_words, {"count": -1}),
        (text.shuffle_words, {"window": 0}),
        (text.replace_synonyms, {"synonyms": {}, "p": -1}),
        (text.insert_words, {"words": ["a"], "count": 1.5}),
    ):
        with pytest.raises(ValueError, match=f.__name__):
            f(WORDS, generator(), **options)
