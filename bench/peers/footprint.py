"""A process that trains one network in one form with one library and prints its memory as a line of JSON.

    python -m peers.footprint LIBRARY THREADS STEPS VARIANT < case.json      with bench/ on the path

`variants` : the forms there are (all that is printed when VARIANT is "?")
`imported` : resident bytes once the library is imported and set to THREADS threads
`grown`    : the most that was resident from then on, less `imported`: weights, batches, state, graph, recording
`peak`     : the most that was resident in the life of the process
`about`    : the library's version, threads and configuration
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import sys
from pathlib import Path

from .cases import Case
from .worker import MODULES

__all__ = ["main"]


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {field}")
    return int(found.group(1)) << 10


def main(library: str, threads: int, steps: int, variant: str) -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        module = importlib.import_module(MODULES[library])
    except ImportError as error:
        json.dump({"absent": str(error)}, answer)
        return
    about = module.start(threads)
    case = Case(**json.load(sys.stdin))
    makers = getattr(module, "TRAINERS", {}).get(case.kind, lambda case: {})(case)
    if variant == "?":
        json.dump({"variants": list(makers)}, answer)
        return
    gc.collect()
    imported, before = _status("VmRSS"), _status("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident
    made = makers[variant]()
    losses = made.check()
    for _ in range(steps):
        made.run()
    made.finish()
    after = _status("VmHWM")
    facts = {"imported": imported, "grown": after - imported, "peak": max(before, after), "losses": losses}
    facts["about"] = about
    json.dump(facts, answer)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
