"""Operations on texts: shuffle, synonyms, insertion, deletion, swaps, and changes of a sentence's syntax tree.

A text is a sequence of tokens: words, characters or token numbers. Every function is called as
f(tokens, generator, ...) and returns a new list; nothing is drawn but from the generator. `TokenRows` carries them to
batches of token numbers [N,T], for `fit(augment=...)` and `train.Loader`.

Source of the simple ones: J. Wei, K. Zou, EDA: Easy data augmentation, EMNLP 2019.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .._options import whole
from ._arrays import Array, number

__all__ = [
    "ADJUNCTS",
    "TokenRows",
    "Tree",
    "delete_words",
    "drop_adjuncts",
    "insert_words",
    "parse_tree",
    "replace_subtrees",
    "replace_synonyms",
    "rotate_children",
    "shuffle_sentences",
    "shuffle_words",
    "swap_words",
]

Generator = np.random.Generator
Synonyms = Mapping[Any, Sequence[Any]]


def _pick(items: Sequence[Any], generator: Generator) -> Any:
    return items[int(generator.integers(len(items)))]


def _probability(who: str, p: Any) -> float:
    return number(who, "p", p, 0, 1)


def shuffle_words(tokens: Sequence[Any], generator: Generator, *, window: int | None = None) -> list[Any]:
    """The tokens in a random order; with `window`, each moves by less than `window` places.

    Source of the window: G. Lample et al., Unsupervised machine translation using monolingual corpora, ICLR 2018.
    """
    n = len(tokens)
    if window is None:
        order = generator.permutation(n)
    else:
        window = whole("shuffle_words", "window", window, 1)
        order = np.argsort(np.arange(n) + generator.uniform(0, window, n), kind="stable")
    return [tokens[i] for i in order.tolist()]


def shuffle_sentences(
    tokens: Sequence[Any], generator: Generator, *, ends: Sequence[Any] = (".", "!", "?")
) -> list[Any]:
    """The sentences in a random order, their inside untouched; a sentence goes up to a token of `ends`."""
    sentences: list[list[Any]] = [[]]
    for token in tokens:
        sentences[-1].append(token)
        if token in ends:
            sentences.append([])
    if not sentences[-1]:
        sentences.pop()
    return [token for i in generator.permutation(len(sentences)).tolist() for token in sentences[i]]


def replace_synonyms(tokens: Sequence[Any], generator: Generator, *, synonyms: Synonyms, p: float = 0.1) -> list[Any]:
    """Each token that `synonyms` knows becomes one of its synonyms with probability p; the length is kept."""
    p = _probability("replace_synonyms", p)
    chosen = generator.random(len(tokens)) < p
    return [
        _pick(synonyms[t], generator) if c and synonyms.get(t) else t
        for t, c in zip(tokens, chosen.tolist(), strict=True)
    ]


def insert_words(
    tokens: Sequence[Any], generator: Generator, *, words: Sequence[Any] | Synonyms, count: int = 1
) -> list[Any]:
    """`count` more tokens at random places: drawn from `words`, or, for a mapping, synonyms of random tokens here.

    A text without a token that the mapping knows stays as it is. Raises ValueError for an empty list of words.
    """
    count = whole("insert_words", "count", count, 0)
    out = list(tokens)
    if isinstance(words, Mapping):
        bank: list[Any] = [synonyms for t in tokens if (synonyms := words.get(t))]
    elif not len(words):
        raise ValueError("insert_words: expected at least one word to insert")
    for _ in range(count):
        if isinstance(words, Mapping):
            if not bank:
                break
            word = _pick(_pick(bank, generator), generator)
        else:
            word = _pick(words, generator)
        out.insert(int(generator.integers(len(out) + 1)), word)
    return out


def delete_words(tokens: Sequence[Any], generator: Generator, *, p: float = 0.1) -> list[Any]:
    """Each token left out with probability p; one, drawn at random, stays when all would go."""
    kept = generator.random(len(tokens)) >= _probability("delete_words", p)
    if len(tokens) and not kept.any():
        kept[int(generator.integers(len(tokens)))] = True
    return [t for t, k in zip(tokens, kept.tolist(), strict=True) if k]


def swap_words(tokens: Sequence[Any], generator: Generator, *, count: int = 1) -> list[Any]:
    """Two different places exchanged, `count` times; a text of one token stays as it is."""
    count = whole("swap_words", "count", count, 0)
    out = list(tokens)
    for _ in range(count if len(out) > 1 else 0):
        i, j = generator.choice(len(out), 2, replace=False).tolist()
        out[i], out[j] = out[j], out[i]
    return out


# --- syntax trees

# Labels of the Penn Treebank that usually can be left out: adverbs, adjectives, prepositional phrases, parentheses.
ADJUNCTS = ("ADVP", "PP", "ADJP", "PRN", "RB", "JJ", "SBAR")
_DEEPEST = 200  # levels; deeper nesting is no sentence


@dataclass(frozen=True)
class Tree:
    """A constituent of a sentence: its label and its parts, trees or words; str(tree) is the bracketed form."""

    label: str
    children: tuple[Tree | str, ...]

    def words(self) -> list[str]:
        """The sentence: all words from left to right."""
        return [w for c in self.children for w in ([c] if isinstance(c, str) else c.words())]

    def subtrees(self) -> Iterator[Tree]:
        """This tree and all below it, each before its parts, from left to right."""
        yield self
        for child in self.children:
            if isinstance(child, Tree):
                yield from child.subtrees()

    def __str__(self) -> str:
        return f"({' '.join([self.label, *map(str, self.children)])})"


def parse_tree(text: str) -> Tree:
    """The tree of a bracketed sentence, for example "(S (NP the cat) (VP (V sleeps) (ADVP soundly)))".

    Raises ValueError for brackets that do not match, a constituent without label or parts, text beside the tree, and
    nesting deeper than 200.
    """
    stack: list[tuple[str, list[Tree | str]]] = []
    done: Tree | None = None
    pieces = re.findall(r"[()]|[^\s()]+", text)
    expects_label = False
    for piece in pieces:
        if done is not None:
            raise ValueError(f"parse_tree: expected one tree, found {piece!r} behind it")
        if expects_label:
            if piece in "()":
                raise ValueError(f"parse_tree: expected a label behind '(', found {piece!r}")
            stack.append((piece, []))
            expects_label = False
        elif piece == "(":
            if len(stack) >= _DEEPEST:
                raise ValueError(f"parse_tree: expected at most {_DEEPEST} levels")
            expects_label = True
        elif not stack:
            raise ValueError(f"parse_tree: expected '(', found {piece!r}")
        elif piece == ")":
            label, children = stack.pop()
            if not children:
                raise ValueError(f"parse_tree: expected parts of {label!r}, found none")
            tree = Tree(label, tuple(children))
            if stack:
                stack[-1][1].append(tree)
            else:
                done = tree
        else:
            stack[-1][1].append(piece)
    if done is None:
        raise ValueError(f"parse_tree: expected {len(stack) + expects_label or 'a tree with'} more ')' at the end")
    return done


def rotate_children(tree: Tree, generator: Generator, *, p: float = 0.5, labels: Sequence[str] | None = None) -> Tree:
    """With probability p per constituent (of `labels`, or of any), its parts move on by a random number of places.

    The order around the circle stays: a list of coordinated phrases starts elsewhere, a sentence becomes verb first.
    """
    p = _probability("rotate_children", p)
    children = tuple(
        rotate_children(c, generator, p=p, labels=labels) if isinstance(c, Tree) else c for c in tree.children
    )
    if len(children) > 1 and (labels is None or tree.label in labels) and generator.random() < p:
        by = int(generator.integers(1, len(children)))
        children = children[by:] + children[:by]
    return Tree(tree.label, children)


def drop_adjuncts(tree: Tree, generator: Generator, *, p: float = 0.5, labels: Sequence[str] = ADJUNCTS) -> Tree:
    """Each constituent with one of `labels` left out with probability p; the last part of a constituent stays."""
    p = _probability("drop_adjuncts", p)
    children = tuple(
        drop_adjuncts(c, generator, p=p, labels=labels) if isinstance(c, Tree) else c for c in tree.children
    )
    keep = [not (isinstance(c, Tree) and c.label in labels and generator.random() < p) for c in children]
    if not any(keep):
        keep[0] = True
    return Tree(tree.label, tuple(c for c, k in zip(children, keep, strict=True) if k))


def replace_subtrees(tree: Tree, generator: Generator, *, bank: Sequence[Tree], p: float = 0.2) -> Tree:
    """Each constituent below the root replaced, with probability p, by one of the same label from the trees of `bank`.

    Source: H. Shi et al., Substructure substitution: Structured data augmentation for NLP, ACL Findings 2021.
    """
    p = _probability("replace_subtrees", p)
    known: dict[str, list[Tree]] = {}
    for other in bank:
        for subtree in other.subtrees():
            known.setdefault(subtree.label, []).append(subtree)

    def changed(node: Tree) -> Tree:
        children: list[Tree | str] = []
        for child in node.children:
            if isinstance(child, str):
                children.append(child)
            elif child.label in known and generator.random() < p:
                children.append(_pick(known[child.label], generator))
            else:
                children.append(changed(child))
        return Tree(node.label, tuple(children))

    return changed(tree)


# --- for batches


@dataclass(frozen=True)
class TokenRows:
    """A function of this module for each row of token numbers [N,T]: TokenRows(delete_words, options={"p": 0.1}).

    The tokens of a row are what stands before the `pad`s at its end; the result is cut or padded to T. Rows are changed
    with probability p, each by itself. Works on integer and on floating-point arrays that hold integers.
    """

    function: Callable[..., Sequence[Any]]
    pad: int = 0
    p: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)
    needs_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _probability("TokenRows", self.p)

    def __call__(self, x: Any, generator: Generator) -> Array:
        """A new batch [N,T] in the dtype of `x`. Raises ValueError for another shape or numbers that are no tokens."""
        a = np.array(x)
        if a.ndim != 2 or a.dtype.kind not in "iuf" or (a.dtype.kind == "f" and not (a == np.rint(a)).all()):
            raise ValueError(f"TokenRows: expected token numbers [N,T], got {a.dtype} of shape {list(a.shape)}")
        chosen = generator.random(len(a)) < self.p
        for i in np.flatnonzero(chosen).tolist():
            row = a[i].astype(np.int64)
            real = np.flatnonzero(row != self.pad)
            tokens = row[: int(real[-1]) + 1 if len(real) else 0].tolist()
            changed = list(self.function(tokens, generator, **self.options))[: a.shape[1]]
            a[i, : len(changed)], a[i, len(changed) :] = changed, self.pad
        return a
