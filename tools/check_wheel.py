"""Checks a built wheel: size, contents, nothing that should not ship.  usage: python tools/check_wheel.py WHEEL"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

LIMIT = 4_000_000  # bytes
NEEDED = ("rosenblatt/__init__.py", "rosenblatt/py.typed", "rosenblatt/_core.pyi")


def main() -> int:
    wheel = Path(sys.argv[1])
    size = wheel.stat().st_size
    names = zipfile.ZipFile(wheel).namelist()
    faults = [f"missing {n}" for n in NEEDED if n not in names]
    if not any(n.startswith("rosenblatt/_core.") and n.endswith(".so") for n in names):
        faults.append("missing the compiled module")
    faults += [f"unexpected {n}" for n in names if not n.startswith(("rosenblatt/", "rosenblatt-"))]
    faults += [f"build product {n}" for n in names if n.endswith((".pyc", ".a", ".o", ".cpp", ".hpp"))]
    if size > LIMIT:
        faults.append(f"{size} bytes, more than {LIMIT}")
    for fault in faults:
        print(f"check_wheel: {wheel.name}: {fault}", file=sys.stderr)
    if not faults:
        print(f"check_wheel: {wheel.name}: {size / 1e6:.2f} MB, {len(names)} files")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
