"""Writes docs/api.md: every public name of the package with its signature and the first line of its docstring.

    python tools/gen_api.py           rewrite the page
    python tools/gen_api.py --check   exit 1 when the page differs from the code
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"

# Module, and what the page says about it.
MODULES = {
    "rosenblatt": "The package itself, `import rosenblatt as rb`.",
    "rosenblatt.ops": "Operations on NumPy arrays (no tape) and tensors (taped); the same kind comes back.",
    "rosenblatt.fft": "Fourier transforms of NumPy arrays, with NumPy's names.",
    "rosenblatt.nn": "Layers, losses, `Module`, graphs of calls.",
    "rosenblatt.nn.init": "Initialisers; their names go into `weight_init=`.",
    "rosenblatt.optim": "Optimisers.",
    "rosenblatt.train": "Fitting, evaluation, callbacks, `summary`.",
    "rosenblatt.metrics": "Figures of merit, computed in float64.",
    "rosenblatt.data": "Data sets, file formats, augmentation. Nothing is downloaded.",
    "rosenblatt.data.augment": "Random affine maps, resizing.",
    "rosenblatt.data.images": "Operations on images: plain functions.",
    "rosenblatt.data.transforms": "Random operations on batches, for `fit(augment=...)`.",
    "rosenblatt.data.audio": "Operations on sounds.",
    "rosenblatt.data.text": "Operations on texts and syntax trees.",
    "rosenblatt.distributed": "Several processes: `mpiexec -n K rosenblatt train ...`.",
    "rosenblatt.data.generate": "Generated data sets.",
    "rosenblatt.models": "Networks by name.",
    "rosenblatt.estimators": "Estimators for scikit-learn's tools; importing it needs the extra `sklearn`.",
    "rosenblatt.io": "Weights on disk.",
    "rosenblatt.viz": "Plots and the training report.",
}
HEAD = """# Public names

One line each; `help(name)` has shapes, options and errors. Written by `tools/gen_api.py`: do not edit.
"""


class Shown:
    """A default value that is written as the given text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def default(value: Any) -> Any:
    """The default as a signature should show it: types by name, factories as "..."."""
    if isinstance(value, type) and value is not inspect.Parameter.empty:
        return Shown(value.__name__)
    return Shown("...") if "<factory>" in str(value) else value


def signature(value: Any) -> str:
    """Parameter names and defaults without annotations; "" for what cannot be called."""
    if not callable(value):
        return ""
    try:
        s = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    plain = [
        p.replace(annotation=inspect.Parameter.empty, default=default(p.default)) for p in s.parameters.values()
    ]
    return str(s.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def first_line(value: Any) -> str:
    """The docstring's first line, ready for a table: marks that Markdown would take for its own are escaped."""
    if isinstance(value, str):
        return "The version"
    line = (inspect.getdoc(value) or "").split("\n", 1)[0].replace("|", "\\|")
    if line.endswith(".") and not line.endswith("..."):
        line = line[:-1]
    parts = line.split("`")
    parts[::2] = [text.replace("*", "\\*") for text in parts[::2]]
    return "`".join(parts)


def page() -> str:
    lines = [HEAD]
    for module_name, what in MODULES.items():
        module = importlib.import_module(module_name)
        lines += [f"## {module_name}", "", what, "", "| name | what |", "|---|---|"]
        for name in sorted(module.__all__, key=str.lower):
            value = getattr(module, name)
            if inspect.ismodule(value):
                lines.append(f"| `{name}` | module: {first_line(value)} |")
            else:
                lines.append(f"| `{name}{signature(value)}` | {first_line(value)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") != text:
            print(f"{PAGE} is not what the code says; run python tools/gen_api.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
