"""One door to every kind of data: a name or a path in, a training and a test set out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .builtin import digits
from .dataset import DataError, Dataset
from .folders import image_folder
from .formats import load_cifar10, load_cifar100, load_mnist_idx
from .tables import load_csv, load_npz

__all__ = ["NAMED", "load"]

GENERATED = ("blobs", "circles", "moons", "spirals", "xor")  # points in the plane: 500 to train, 500 to test
SIGNALS = ("pictures", "skeletons", "sounds", "spectrograms", "videos", "volumes")  # 600 (pictures: 2400) and 300
NAMED = ("digits", "scenes", *GENERATED, *SIGNALS)  # sources that are no paths

_KINDS = (
    "'digits', 'scenes' (generated pictures of six shapes), generated points ('blobs', 'circles', 'moons', 'spirals', "
    "'xor'), generated signals ('pictures', "
    "'skeletons', 'sounds', 'spectrograms', 'videos', 'volumes'), a folder of MNIST IDX files, a folder "
    "of CIFAR-10 or CIFAR-100 binary files, a .csv with a column 'label', an .npz with arrays x and y, or a folder "
    "with one subfolder of pictures per class"
)


def _holds(folder: Path, name: str) -> bool:
    return any((folder / inner / name).is_file() for inner in ("", "cifar-10-batches-bin", "cifar-100-binary"))


def _signals(name: str, n: int, seed: int) -> Dataset:
    """n generated samples of one of SIGNALS, as `conv_nd` takes them: rows, pictures or volumes with channels last."""
    from . import generate

    if name == "pictures":
        return replace(generate.scenes(n, 32, seed=seed).dataset("shape"), name=name)
    if name == "videos":
        return replace(generate.moving_shapes(n, 8, 16, noise=0.02, seed=seed, channels=3), name=name)
    if name == "skeletons":
        moving = generate.skeletons(n, seed=seed)
        return replace(moving, x=moving.x.reshape(*moving.x.shape[:2], -1))  # [N,T,2 x joints]
    found: Dataset = getattr(generate, name)(n, seed=seed)
    return found


def load(
    source: str | os.PathLike[str],
    *,
    size: int | Sequence[int] | None = None,
    grayscale: bool = False,
    label: str | int = "label",
) -> tuple[Dataset, Dataset]:
    """(train, test) from a name or a path; the format is told from what is there.

    "digits" is split into its halves; "scenes" gives 600 generated pictures to train (seed 0) and 300 others to test
    (seed 1), of 32x32 pixels or of `size`, which is square, with six shapes for classes; points in the plane are
    functions of `data.generate` and give 500 to train (seed 0) and 500 others to test (seed 1); generated signals
    ("sounds" [N,2000,1], "skeletons" [N,24,28], "spectrograms" [N,32,65,1], "pictures" [N,32,32,3], "volumes"
    [N,16,16,16,1], "videos" [N,8,16,16,3]) give 600 to train ("pictures" 2400) and 300 to test; IDX and CIFAR folders
    have their own test files; a folder with `train` and `test` subfolders of class folders is used as it is;
    everything else gives every fifth sample of each class to the test set (`Dataset.hold_out`). `size` and
    `grayscale` concern pictures, `label` CSV files.

    Raises
    ------
    DataError
        nothing usable is there, or a file is damaged.
    """
    if source == "digits":
        return digits(split=True)
    if source == "scenes":
        from .scenes import scenes

        rows, columns = (32, 32) if size is None else (size, size) if isinstance(size, int) else size
        if rows != columns:
            raise DataError(f"scenes: expected a square size, got {rows}x{columns}")
        parts = (scenes(n, rows, channels=1 if grayscale else 3, seed=seed) for n, seed in ((600, 0), (300, 1)))
        train, test = (part.dataset() for part in parts)
        return train, test
    if source in GENERATED:
        from . import generate  # the command line does without it otherwise

        make = getattr(generate, str(source))
        return make(seed=0), make(seed=1)
    if source in SIGNALS:
        return _signals(str(source), 2400 if source == "pictures" else 600, 0), _signals(str(source), 300, 1)
    path = Path(source)
    if not path.exists():
        raise DataError(f"{path}: not found. Expected {_KINDS}")
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix == ".npz":
            return load_npz(path).hold_out()
        if suffix == ".csv":
            return load_csv(path, label).hold_out()
        raise DataError(f"{path}: file of unknown kind {suffix or '(no ending)'}. Expected {_KINDS}")
    if _holds(path, "data_batch_1.bin"):
        return load_cifar10(path, "train"), load_cifar10(path, "test")
    if _holds(path, "train.bin"):
        return load_cifar100(path, "train"), load_cifar100(path, "test")
    if any(path.glob("train-images*idx3-ubyte*")):
        return load_mnist_idx(path, "train"), load_mnist_idx(path, "test")
    if (path / "train").is_dir() and (path / "test").is_dir():
        train = image_folder(path / "train", size, grayscale)
        test = image_folder(path / "test", size or (train.x.shape[1], train.x.shape[2]), grayscale)
        if test.classes != train.classes:
            odd = sorted(set(test.classes) ^ set(train.classes))
            raise DataError(f"{path}: expected the same classes in train and test, found a difference in {odd[0]!r}")
        return train, test
    if any(d.is_dir() for d in path.iterdir()):
        return image_folder(path, size, grayscale).hold_out()
    raise DataError(f"{path}: nothing usable in this folder. Expected {_KINDS}")
