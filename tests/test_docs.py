"""The documentation says what the code does: its scripts run, its names, variables, paths, links and versions exist."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

import rosenblatt as rb
from rosenblatt.cli.main import build_parser, main

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = sorted([README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    """Code blocks marked with `language`, "" for those without a mark."""
    return [code for mark, code in re.findall(r"^```(\w*)\n(.*?)^```$", text(path), re.M | re.S) if mark == language]


def without_blocks(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", text(path), flags=re.M | re.S)


# --- scripts


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_readme_scripts_run(number, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    code = re.sub(r"epochs=\d+", "epochs=1", blocks(README, "python")[number])
    exec(compile(code, f"README.md, script {number}", "exec"), {"__name__": "readme"})


def test_readme_has_the_promised_scripts():
    assert len(blocks(README, "python")) >= 2
    assert all(len([line for line in b.splitlines() if line.strip()]) <= 16 for b in blocks(README, "python"))


EXAMPLES = {
    "train_digits.py": (["--epochs", "1"], "the loaded network gives the same bytes: True"),
    "fast_ops.py": (["--size", "96", "--repeat", "1"], "pixels on the outline"),
    "own_loop.py": ([], "0 xor 1 -> 0.9"),
    "neurons.py": (["--out", "neurons.png"], "xor  error correction  did not converge in 100 passes"),
    "bias_variance.py": (["--repeats", "20", "--out", "plots"], "least expected error: degree 2"),
    "vanishing_gradients.py": (["--depth", "6", "--epochs", "1", "--seeds", "1"], "ReLU, He x 3 (exploding)"),
    "loss_landscape.py": (["--out", "plots"], "saddle, exact gradient: ends at (0.0000, 0.0000)"),
    "autoencoders.py": (["linear", "--seeds", "1"], "largest angle, degrees"),
    "autoencoder_uses.py": (["recommender", "--seeds", "1"], "item mean"),
    "convnets.py": (["depth20", "--seeds", "1"], "20 layers, plain: accuracy"),
    "deconvnet.py": (["--epochs", "1", "--samples", "32", "--hidden", "16", "--pictures", "12"], "conv5: a unit sees"),
    "features_without_labels.py": (["selection", "--seeds", "1"], "rank of the winner when trained"),
    "pixels_and_boxes.py": (["classical", "--seeds", "1"], "threshold: IoU of the objects"),
}


def test_every_example_is_run_and_shown():
    assert {p.name for p in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    options, expected = EXAMPLES[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *options])
    monkeypatch.syspath_prepend(ROOT / "examples")
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    assert expected in capsys.readouterr().out


# --- the command line shown in the README


def console() -> list[tuple[str, list[str]]]:
    """(command, lines of its output) of the README's transcript."""
    found: list[tuple[str, list[str]]] = []
    for block in blocks(README, ""):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:].split("#")[0].strip(), []))
            elif found and line:
                found[-1][1].append(line)
    return found


def test_readme_commands_are_understood():
    commands = console()
    assert {"list", "train", "predict", "info"} <= {shlex.split(c)[1] for c, _ in commands}
    for command in [*(c for c, _ in commands), *re.findall(r"`(rosenblatt [^`]+)`", without_blocks(README))]:
        build_parser().parse_args(shlex.split(command)[1:])


def test_readme_names_every_subcommand():
    actions = [a for a in build_parser()._actions if isinstance(a.choices, dict)]
    for name in actions[0].choices:
        assert f"rosenblatt {name}" in text(README), name


def test_makefile_commands_are_understood():
    for command in re.findall(r"/bin/rosenblatt (.+)$", text(ROOT / "Makefile"), re.M):
        build_parser().parse_args(shlex.split(command))


def test_readme_shows_what_list_prints(capsys):
    shown = next(lines for command, lines in console() if command == "rosenblatt list")
    assert main(["list"]) == 0
    assert capsys.readouterr().out.splitlines() == shown


def test_networks_page_lists_every_network():
    page = text(ROOT / "docs" / "networks.md")
    for name in rb.models.names():
        large = rb.models.info(name).full is not None
        with rb.nn.init.without_weights() if large else contextlib.nullcontext():
            model = rb.models.build(name)
        assert re.search(rf"^\| `{name}` \|.*\| {model.num_parameters():,} \|", page, re.M), name


# --- environment variables, build options, make targets


def sources(*folders: str) -> list[Path]:
    """Files of the project that may read a variable."""
    found = [ROOT / "Makefile", ROOT / ".ci" / "run"]
    for folder in folders:
        for suffix in ("*.cpp", "*.hpp", "*.inl", "*.py"):
            found += (ROOT / folder).rglob(suffix)
    return [p for p in found if p.exists()]


def table_of(page: str, heading: str) -> set[str]:
    """Names in the first column of the table that follows a heading."""
    part = text(ROOT / "docs" / page).split(heading, 1)[1].split("\n#", 1)[0]
    return set(re.findall(r"^\| `(RB_\w+)` \|", part, re.M))


def test_environment_variables_are_documented():
    reads = re.compile(r"(?:getenv\(|environ\.get\(|environ\[|\$\{?)\s*\"?(RB_[A-Z0-9_]+)")
    read = {name for path in sources("cpp", "python", "bench", "tools") for name in reads.findall(text(path))}
    assert {"RB_ISA", "RB_THREADS"} <= read
    assert read == table_of("env_vars.md", "# Environment variables")


def test_build_options_are_documented():
    cmake = text(ROOT / "CMakeLists.txt")
    options = set(re.findall(r"^option\((RB_\w+)", cmake, re.M))
    options |= set(re.findall(r"^set\((RB_\w+) .*CACHE", cmake, re.M))
    assert options == table_of("env_vars.md", "## Options of the CMake build")


@each_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.M))
    named = re.findall(r"(?:`|^)make ([a-z -]+?)(?:`|\s{2,}|$)", text(page), re.M)
    assert {word for words in named for word in words.split()} <= targets


# --- names, paths, links, versions


def test_api_page_is_current(capsys):
    spec = importlib.util.spec_from_file_location("gen_api", ROOT / "tools" / "gen_api.py")
    assert spec and spec.loader
    gen_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gen_api)
    assert text(ROOT / "docs" / "api.md") == gen_api.page(), "run python tools/gen_api.py"
    for module in public_modules():
        assert module.__name__ in gen_api.MODULES


def public_modules():
    """The package and every module that it names or that they name."""
    found, ahead = [], [rb]
    for module in ahead:
        found.append(module)
        named = [getattr(module, name) for name in module.__all__]
        ahead += [m for m in named if inspect.ismodule(m) and m not in ahead]
    return found


def test_public_names_are_mentioned_and_described():
    parts = dict(re.findall(r"^## (rosenblatt\S*)\n(.*?)(?=^## |\Z)", text(ROOT / "docs" / "api.md"), re.M | re.S))
    for module in public_modules():
        for name in module.__all__:
            assert re.search(rf"^\| `{name}[(`]", parts[module.__name__], re.M), f"{module.__name__}.{name}"
            value = getattr(module, name)
            assert not callable(value) or inspect.getdoc(value), f"{module.__name__}.{name}"


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@each_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert ROOT in file.parents, target
        if fragment:
            assert fragment in {anchor(h) for h in re.findall(r"^#+ (.*)$", text(file), re.M)}, target


@each_page
def test_named_files_exist(page):
    folders = r"cpp|python|cmake|tests|bench|tools|docs|examples|\.ci"
    for name in re.findall(rf"`((?:{folders})/[\w./*-]+)", without_blocks(page)):
        if name.endswith("smallconv.py"):  # the skeleton of "add a network"
            continue
        assert list(ROOT.glob(name.rstrip("/"))), name


NAMED = {
    "rb": "",
    **{name: name for name in ("ops", "nn", "optim", "train", "viz", "io", "data", "models", "fft", "metrics")},
    **{name: name for name in ("distributed", "_core")},
    **{name: f"data.{name}" for name in ("images", "audio", "text", "transforms", "generate")},
}


@each_page
def test_named_functions_and_classes_exist(page):
    dotted = re.compile(rf"(?<![\w./])({'|'.join(NAMED)})((?:\.[A-Za-z_]\w*)+)")
    for code in re.findall(r"`([^`\n]+)`", without_blocks(page)):
        for start, rest in dotted.findall(code):
            if rest == ".pyi":
                continue
            value = importlib.import_module(".".join(filter(None, ("rosenblatt", NAMED[start]))))
            for name in rest[1:].split("."):
                assert hasattr(value, name), code
                value = getattr(value, name)


def test_versions_agree():
    version = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]["version"]
    headings = re.findall(r"^## \[([^\]]+)\]", text(ROOT / "CHANGELOG.md"), re.M)
    assert rb.__version__ == version
    assert headings[0] in ("Unreleased", version)
    assert f"version {version}" in text(README)


# --- the status page and the recipes

ROWS = {"P": 6, "N": 8, "E": 11, "C": 15, "R": 11, "B": 5, "G": 11, "T": 4, "O": 13, "F": 8, "X": 31}


def test_status_has_every_row_once():
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| ([^|]+?) \|", text(ROOT / "docs" / "status.md"), re.M)
    table = [(i, state) for i, _, state in rows if i not in ("id", "---")]
    ids = [i for i, _ in table]
    assert len(ids) == len(set(ids))
    assert {"W", *(f"{letter}{n:02d}" for letter, count in ROWS.items() for n in range(1, count + 1))} <= set(ids)
    assert {state for _, state in table} <= {"works", "partly", "not started"}


def test_skeleton_network_works(tmp_path):
    from rosenblatt.models import registry

    code = next(b for b in blocks(ROOT / "CONTRIBUTING.md", "py") if '"smallconv",' in b)
    try:
        exec(compile(code, "smallconv.py", "exec"), {"__name__": "rosenblatt.models.smallconv",
                                                     "__package__": "rosenblatt.models"})
        model = rb.models.build("smallconv", input_shape=(8, 8, 1), classes=10)
        assert model.num_parameters() == 3 * 3 * 16 + 16 + 4 * 4 * 16 * 10 + 10
        assert model.predict(rb.ops.ones((2, 8, 8, 1))).shape == (2, 10)
    finally:
        registry._REGISTRY.pop("smallconv", None)


def test_skeleton_op_meets_the_code_it_extends():
    """Every macro and helper that "add an op" uses is still there, in the file that the recipe names."""
    for file, words in {
        "cpp/include/rb/ops.def": ["RB_OP(sigmoid, IN(x) OUT(y))"],
        "cpp/core/check.cpp": ["RB_CHECK_UNARY("],
        "cpp/ref/ref_elementwise.cpp": ["RB_REF_UNARY(", "RB_REF_INSTANTIATE("],
        "cpp/kernels/math.inl": ["rb_exp(", "rb_log(", "rb_abs(", "rb_relu("],
        "cpp/kernels/elementwise.inl": ["RB_UNARY(", "RB_ADD("],
        "python/rosenblatt/ops/elementwise.py": ["def _unary(name: str, kernel: Kernel, x: Any)", "def sigmoid("],
        "tests/kerneltable.py": ["def _unary(name, function, ulps"],
        "tests/cpp/test_elementwise.cpp": ["void unary(const char* op, double low, double high, double ulps)"],
    }.items():
        for word in words:
            assert word in text(ROOT / file), (file, word)
