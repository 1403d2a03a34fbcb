"""What this installation runs on, and the number of threads."""

from __future__ import annotations

import os
import platform

from . import _core
from ._version import __version__


def check_settings() -> None:
    """Raises ValueError naming the first RB_* environment variable that cannot be understood (ops do the same)."""
    _core.check_settings()


def get_num_threads() -> int:
    """Size of the team of threads that large operations use."""
    return _core.num_threads()


def set_num_threads(n: int) -> None:
    """Sets the team size for the whole process. Results do not depend on it. Raises ValueError unless 1 <= n <= 256."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"set_num_threads: expected an integer, got {n!r}")
    _core.set_num_threads(n)


def _openmp_runtimes() -> list[str]:
    """OpenMP libraries loaded in this process, by file name."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            paths = {line.split()[-1] for line in maps if "omp" in line.rsplit("/", 1)[-1]}
    except OSError:
        return []
    return sorted(os.path.basename(p) for p in paths if ".so" in p)


def show_config() -> str:
    """Version, processor features, instruction set in use, threads, caches, OpenMP runtimes, devices, as text."""
    import numpy as np

    c = _core.config()
    mib = 1 << 20
    pool = _core.pool_stats()
    rows = [
        ("rosenblatt", __version__),
        ("python / numpy", f"{platform.python_version()} / {np.__version__}"),
        ("machine", f"{platform.machine()}, {os.cpu_count()} processors"),
        ("cpu features", c["cpu_features"] or "none known"),
        ("instruction set", f"{c['isa']} (machine has {c['machine_isa']}; cap with RB_ISA)"),
        ("threads", f"{c['threads']} ({c['parallel']}{', forked child: serial' if c['forked'] else ''})"),
        ("openmp runtimes", ", ".join(_openmp_runtimes()) or "none loaded"),
        ("caches", f"L1d {c['l1_bytes'] >> 10} KiB, L2 {c['l2_bytes'] >> 10} KiB, L3 {c['l3_bytes'] >> 10} KiB"),
        ("buffers", f"{pool['live_bytes'] / mib:.1f} MiB in use, {pool['cached_bytes'] / mib:.1f} kept of at most "
                    f"{pool['cap_bytes'] / mib:.0f}"),
        ("op table", f"{c['ops']} ops, hash {c['table_hash']:016x}"),
        ("devices", "cpu"),
        ("compiler", c["compiler"]),
    ]
    settings = {k: v for k, v in sorted(os.environ.items()) if k.startswith("RB_")}
    rows += [("ignored", f"{name}={value} (not understood)") for name, value in c["bad_settings"].items()]
    rows.append(("settings", " ".join(f"{k}={v}" for k, v in settings.items()) or "none"))
    return "\n".join(f"{name:<16} {value}" for name, value in rows)
