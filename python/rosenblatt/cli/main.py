"""`rosenblatt`: list, train, predict, report, zoo, info.

Promises: a wrong option, file or name gives one line on standard error and exit status 2, without a traceback;
Ctrl-C gives 130 (a training run is saved first); anything else that goes wrong is a fault of ours and shows its
traceback. Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


class UsageError(Exception):
    """The user asked for something that cannot be done; the message is one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text}")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text}")
    return value


def _size(text: str) -> tuple[int, int]:
    rows, _, columns = text.lower().partition("x")
    try:
        pair = int(rows), int(columns or rows)
    except ValueError:
        pair = 0, 0
    if min(pair) < 1:
        raise argparse.ArgumentTypeError(f"expected ROWSxCOLUMNS, for example 28x28, got {text}")
    return pair


# argparse puts these names into its messages: "invalid whole number value: 'x'"
_positive.__name__ = _natural.__name__ = "whole number"
_rate.__name__ = _fraction.__name__ = "number"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rosenblatt")
    except PackageNotFoundError:
        import rosenblatt

        return str(getattr(rosenblatt, "__version__", "unknown"))


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; every subcommand sets `run` to its function."""
    parser = _Parser(prog="rosenblatt", description="Train, run and inspect networks.")
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    listing = commands.add_parser("list", help="the networks that can be trained")
    listing.set_defaults(run=_list)

    train = commands.add_parser("train", help="train a network and leave a run folder")
    train.add_argument("name", metavar="NAME", nargs="?", help="a name from `rosenblatt list`")
    train.add_argument(
        "--data",
        help="'digits', 'scenes' (generated pictures), generated points ('moons', 'circles', 'spirals', 'blobs', "
        "'xor') or signals ('sounds', 'spectrograms', 'skeletons', 'pictures', 'volumes', 'videos'), or a path: folder "
        "of IDX, CIFAR or class subfolders, .csv, .npz (default: the network's: digits, scenes)",
    )
    train.add_argument("--label", default="label", help="label column of a .csv, name or number (default: label)")
    train.add_argument(
        "--full", action="store_true", help="pictures of the published size where the default are smaller ones"
    )
    train.add_argument("--size", type=_size, help="ROWSxCOLUMNS to bring pictures to")
    train.add_argument(
        "--validation",
        type=_fraction,
        metavar="FRACTION",
        help="hold this part of the training samples out, by seed, and keep the weights that do best on it",
    )
    train.add_argument(
        "--samples", type=_positive, metavar="N", help="train and test on N samples each, evenly spaced in the data"
    )
    train.add_argument("--epochs", type=_positive, help="passes over the training set")
    train.add_argument("--batch-size", type=_positive, help="samples per update")
    train.add_argument("--optimizer", choices=("adam", "sgd", "rmsprop"), help="default: the network's recipe")
    train.add_argument("--lr", type=_rate, help="learning rate")
    train.add_argument("--seed", type=_natural, default=0, help="of all random numbers (default: 0)")
    train.add_argument("--threads", type=_positive, help="CPU threads (default: all that this process may use)")
    train.add_argument(
        "--augment", action=argparse.BooleanOptionalAction, help="random maps of the images (default: the recipe)"
    )
    train.add_argument("--out", metavar="FOLDER", help="run folder (default: runs/NAME-<time>); must be new or empty")
    train.add_argument("--overwrite", action="store_true", help="replace the run that --out holds; other files stay")
    train.add_argument(
        "--checkpoint-every", type=_positive, metavar="EPOCHS", help="write a checkpoint into the run folder this often"
    )
    train.add_argument("--checkpoint-steps", type=_positive, metavar="UPDATES", help="and after so many updates")
    train.add_argument(
        "--resume", metavar="RUN_FOLDER",
        help="continue a run that writes checkpoints, with its options; only --epochs, --threads, --quiet can be given",
    )
    train.add_argument(
        "--fallback", action="store_true", help="with --resume: if the newest checkpoint is damaged, take an older one"
    )
    train.add_argument("--no-report", action="store_true", help="leave out report.html")
    train.add_argument(
        "--check-finite", action="store_true", help="stop at the first NaN or infinity, naming the layer"
    )
    train.add_argument(
        "--histograms", action="store_true",
        help="record norms and histograms of weights, gradients and activations after every epoch, for the report",
    )
    train.add_argument("--tensorboard", metavar="FOLDER", help="write TensorBoard event files; needs tensorboardX")
    train.add_argument("--quiet", action="store_true", help="print only the result")
    train.set_defaults(run=_train)

    predict = commands.add_parser("predict", help="classify files with a trained network")
    predict.add_argument("folder", metavar="RUN_FOLDER")
    predict.add_argument("files", nargs="*", metavar="FILE", help="pictures, .npy or .npz (array x)")
    predict.add_argument(
        "--digits-test", type=_natural, nargs="+", metavar="INDEX", help="samples of the digits' test half, by number"
    )
    predict.add_argument("--invert", action="store_true", help="pictures are dark on light; the network was not")
    predict.add_argument("--top", type=_positive, default=1, help="answers per sample (default: 1)")
    predict.add_argument("--threads", type=_positive, help="CPU threads")
    predict.set_defaults(run=_predict)

    report = commands.add_parser("report", help="write report.html of a run folder, evaluating it again on its data")
    report.add_argument("folder", metavar="RUN_FOLDER")
    report.add_argument("--data", help="where the data is now (default: where it was)")
    report.add_argument("--threads", type=_positive, help="CPU threads")
    report.set_defaults(run=_report)

    zoo = commands.add_parser("zoo", help="train networks by their recipes, several seeds each, and print the results")
    zoo.add_argument("names", metavar="NAME", nargs="*", help="names from `rosenblatt list` (default: all)")
    zoo.add_argument("--seeds", type=_positive, default=3, help="runs of each network: seeds 0, 1, ... (default: 3)")
    zoo.add_argument("--epochs", type=_positive, help="passes over the training set (default: the recipe's)")
    zoo.add_argument("--quick", action="store_true", help="one epoch on 16 samples, one seed: does everything run?")
    zoo.add_argument("--threads", type=_positive, help="CPU threads of a run")
    zoo.add_argument(
        "--out", metavar="FOLDER", help="run folders and zoo.json (default: runs/zoo); runs done are not repeated"
    )
    zoo.set_defaults(run=_zoo)

    info = commands.add_parser("info", help="this machine, a network or a run")
    info.add_argument("what", nargs="?", metavar="RUN_FOLDER|NAME")
    info.set_defaults(run=_info)
    return parser


def _list(_: argparse.Namespace) -> int:
    from .inspect import list_models

    return list_models()


def _train(options: argparse.Namespace) -> int:
    from ..distributed.launch import launch
    from .train import train

    return launch(train, options)


def _predict(options: argparse.Namespace) -> int:
    from .predict import predict

    return predict(options)


def _report(options: argparse.Namespace) -> int:
    from .report import report

    return report(options)


def _zoo(options: argparse.Namespace) -> int:
    from .zoo import zoo

    return zoo(options)


def _info(options: argparse.Namespace) -> int:
    from .inspect import info

    return info(options.what)


def user_errors() -> tuple[type[BaseException], ...]:
    """What the user can mend: wrong options, files that do not fit, missing extras, disks that refuse."""
    from ..data.dataset import DataError
    from ..io.checkpoint import CheckpointError
    from ..io.extras import MissingExtraError
    from ..io.weights import WeightsError
    from ..models.registry import UnknownModelError

    return UsageError, DataError, WeightsError, CheckpointError, MissingExtraError, UnknownModelError, OSError


def _fail(error: BaseException) -> int:
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"rosenblatt: {text}", file=sys.stderr)
    return 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 wrong usage or data, 130 interrupted."""
    parser = build_parser()
    try:
        options, rest = parser.parse_known_args(argv, argparse.Namespace())
        if options.command == "predict" and not any(word.startswith("-") for word in rest):
            options.files += rest  # argparse leaves files that follow an option over
        elif rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        if options.version:
            print(f"rosenblatt {_version()}")
            return 0
        if options.command is None:
            parser.print_help()
            return 2
    except UsageError as error:
        return _fail(error)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("rosenblatt: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of our output went away (`| head`): nothing to say, and nothing more to write
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if isinstance(error, user_errors()):
            return _fail(error)
        raise


if __name__ == "__main__":
    sys.exit(main())
