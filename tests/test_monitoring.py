"""The scripts of docs/monitoring.md run, in order, and what the page says about them holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "monitoring.md"


def test_the_scripts_run_in_order(tmp_path, monkeypatch, capsys):
    for package in ("sklearn", "matplotlib", "tensorboardX"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    scripts = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(scripts) >= 7
    names: dict[str, object] = {"__name__": "monitoring"}
    for number, code in enumerate(scripts):
        exec(compile(code, f"monitoring.md, script {number}", "exec"), names)
    assert {"ensemble.safetensors", "norms.svg", "runs"} <= {p.name for p in tmp_path.iterdir()}
    assert names["ensemble"].evaluate(names["x_test"], names["y_test"])["accuracy"] > 0.8
    assert 1e-4 < names["optimizer"].lr < 10.0
    assert "% of gemm" in capsys.readouterr().out
