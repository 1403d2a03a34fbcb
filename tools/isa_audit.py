"""Prove on object files that no instruction set leaks (`isa_audit.py BUILD_DIR`, what `make isa-audit` runs).

Checked on the three objects of cpp/isa (base, avx2, avx512):
  * no weak, common or unique symbol: nothing the linker could merge into another translation unit
  * no static initialiser (.init_array, .ctors, .preinit_array)
  * exactly one global defined symbol, the table rb::<level>_table
  * undefined symbols only from a short list (threads, memcpy and friends, pow)
Checked on base.o and on every other object of the build except the benchmarks (they probe peaks): no instruction with a
ymm, zmm or AVX-512 mask register, and none encoded with VEX (their mnemonics start with v). Exits 1 and says where on
any violation; prints counts otherwise.
`--self-test` first plants each kind of violation with the C++ compiler and requires that all are caught.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LEVELS = ("base", "avx2", "avx512")
ALLOWED_UNDEFINED = {
    "rb::parallel_for(long, double, void (*)(void*, long, long), void*)",
    "rb::worker_index()",
    "rb::winograd_enabled()",
    "rb::fft_table(long, bool, int, void*)",
    "rb::has_bf16_dot()",
    "memcpy",
    "memset",
    "memmove",
    "memcmp",
    "pow",
    "powf",
    "__stack_chk_fail",
    "_GLOBAL_OFFSET_TABLE_",
}
X86_MACHINES = ("elf64-x86-64", "pe-x86-64")
SYSTEM_V = {"verr", "verw", "vmcall", "vmfunc", "vmlaunch", "vmresume", "vmread", "vmwrite", "vmxon", "vmxoff"}
WIDE_REGISTER = re.compile(r"%[yz]mm\d|%k[0-7]\b")
SKIPPED = {"CompilerIdC", "CompilerIdCXX", "bench"}
INSTRUCTION = re.compile(r"^\s+[0-9a-f]+:\s+(.*)$")


def tool_output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def level_of(obj: Path) -> str | None:
    """The level whose source (cpp/isa/<level>.cpp) this object was compiled from, if any."""
    stem = obj.name.split(".")[0]
    return stem if stem in LEVELS and obj.parent.name == "isa" else None


def audit_symbols(obj: Path, level: str) -> tuple[list[str], int]:
    """Violations among the symbols of one level's object, and the number of symbols seen."""
    problems = []
    symbols = 0
    for line in tool_output("nm", "-C", str(obj)).splitlines():
        match = re.match(r"^[0-9a-f]*\s+(\S)\s+(.*)$", line)
        if not match:
            continue
        kind, name = match.groups()
        symbols += 1
        if kind in "wWvVuC":
            problems.append(f"weak, unique or common symbol ({kind}): {name}")
        elif kind == "U":
            if name not in ALLOWED_UNDEFINED:
                problems.append(f"undefined symbol outside the allow-list: {name}")
        elif kind.isupper() and name != f"rb::{level}_table":
            problems.append(f"global symbol other than the table ({kind}): {name}")
    if f"rb::{level}_table" not in tool_output("nm", "-C", "--defined-only", "--extern-only", str(obj)):
        problems.append(f"rb::{level}_table is not exported")
    for line in tool_output("objdump", "-h", str(obj)).splitlines():
        if re.search(r"\.(init_array|preinit_array|ctors|fini_array|dtors)\b", line):
            problems.append(f"static initialiser section: {line.split()[1]}")
    return problems, symbols


def audit_instructions(obj: Path) -> tuple[list[str], int]:
    """Instructions of one object that need AVX, and the number of instructions seen."""
    problems = []
    count = 0
    function = "?"
    for line in tool_output("objdump", "-d", "-C", "--no-show-raw-insn", str(obj)).splitlines():
        if line.endswith(">:"):
            function = line[line.find("<") + 1 : -2]
            continue
        match = INSTRUCTION.match(line)
        if not match:
            continue
        count += 1
        text = match.group(1)
        mnemonic = text.split(None, 1)[0] if text else ""
        vex = mnemonic.startswith("v") and mnemonic not in SYSTEM_V
        if vex or WIDE_REGISTER.search(text):
            problems.append(f"needs AVX: `{text.strip()}` in {function}")
    return problems, count


def audit(build: Path) -> int:
    objects = sorted(p for p in build.rglob("*") if p.suffix in (".o", ".obj") and not SKIPPED & set(p.parts))
    if not objects:
        print(f"isa-audit: no object file under {build}; build first")
        return 1
    found = {level for p in objects if (level := level_of(p))}
    machine = re.search(r"file format (\S+)", tool_output("objdump", "-f", str(objects[0])))
    x86 = machine is not None and machine.group(1) in X86_MACHINES
    problems = []
    missing = (set(LEVELS) if x86 else {"base"}) - found
    if missing:
        problems.append(f"{build}: no object for level {', '.join(sorted(missing))}")
    levels = plain = symbols = instructions = 0
    for obj in objects:
        level = level_of(obj)
        if level:
            bad, seen = audit_symbols(obj, level)
            levels += 1
            symbols += seen
            problems += [f"{obj}: {p}" for p in bad]
        if x86 and level in (None, "base"):
            bad, seen = audit_instructions(obj)
            plain += 1
            instructions += seen
            problems += [f"{obj}: {p}" for p in bad[:10]]
            if len(bad) > 10:
                problems.append(f"{obj}: ... and {len(bad) - 10} more instructions")
    if problems:
        print("\n".join(problems))
        print(f"isa-audit: {len(problems)} violations")
        return 1
    print(
        f"isa-audit: ok, {levels} level objects ({symbols} symbols), {plain} baseline objects "
        f"({instructions} instructions) hold no AVX"
    )
    return 0


PLANTS = {
    "weak symbol": (
        "isa/avx2",
        "inline int shared(int x) { return x * 3; } int (*volatile keep)(int);"
        "namespace { void f() { keep = shared; } void (*const p)() = f; }"
        "namespace rb { extern const long avx2_table; const long avx2_table = (f(), 1); }",
        "weak",
    ),
    "static initialiser": (
        "isa/avx512",
        "extern int *volatile q; namespace { int *volatile z; struct S { S() { z = new int; } } s; }"
        "namespace rb { extern const long avx512_table; const long avx512_table = 1; }",
        "static initialiser",
    ),
    "second global": (
        "isa/base",
        "namespace rb { extern const long base_table; const long base_table = 1; int other = 2; }",
        "global symbol other than the table",
    ),
    "foreign call": (
        "isa/avx2",
        'extern "C" double cos(double); namespace { double f(double x) { return cos(x); } }'
        "namespace rb { extern double (*const avx2_table)(double); double (*const avx2_table)(double) = f; }",
        "allow-list",
    ),
    "AVX in a baseline object": (
        "core/run",
        'void f(float* p) { asm volatile("vaddps %%ymm0, %%ymm1, %%ymm2" ::: "xmm2"); *p = 1; }',
        "needs AVX",
    ),
}
CLEAN = "namespace rb { extern const long %s_table; const long %s_table = 1; }"


def self_test() -> int:
    """Plants violations one at a time among clean objects; each must be reported, and the clean set must pass."""
    compiler = os.environ.get("CXX", "g++")
    failures = []
    for name, plant in [("clean objects", None), *PLANTS.items()]:
        with tempfile.TemporaryDirectory() as tmp:
            sources = {f"isa/{level}": CLEAN % (level, level) for level in LEVELS}
            sources["core/run"] = "int f(int x) { return x + 1; }"
            if plant:
                sources[plant[0]] = plant[1]
            for stem, text in sources.items():
                source = Path(tmp) / f"{stem}.cpp"
                source.parent.mkdir(exist_ok=True)
                source.write_text(text)
                subprocess.run(
                    [compiler, "-std=gnu++20", "-O1", "-c", str(source), "-o", f"{tmp}/{stem}.cpp.o"], check=True
                )
            script = [sys.executable, __file__, tmp]
            done = subprocess.run(script, capture_output=True, text=True, check=False)
            caught = done.returncode == 1 and plant is not None and plant[2] in done.stdout
            if caught or (plant is None and done.returncode == 0):
                print(f"self-test: {name}: {'caught' if plant else 'passes'}")
            else:
                failures.append(name)
                print(f"self-test: {name}: MISSED (exit {done.returncode})\n{done.stdout}{done.stderr}")
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", type=Path, help="build folder that holds the object files")
    parser.add_argument("--self-test", action="store_true", help="plant violations and require that they are caught")
    args = parser.parse_args()
    if args.build is None and not args.self_test:
        parser.error("name a build folder")
    if args.self_test and self_test():
        return 1
    return audit(args.build) if args.build else 0


if __name__ == "__main__":
    sys.exit(main())
