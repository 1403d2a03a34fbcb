"""Units that fire or do not: McCulloch-Pitts gates, and what the perceptron rules can and cannot learn.

    python examples/neurons.py [--out neurons.png]

Prints truth tables, the runs of the rules on every gate (XOR does not converge) and the mistake bound; `--out` draws
the boundary of a perceptron between two clouds.
"""

from __future__ import annotations

import argparse

from rosenblatt import data, models, viz


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="file for the picture of the boundary (needs matplotlib)")
    options = parser.parse_args()

    print("McCulloch-Pitts units, inputs -> output")
    for name in ("and", "or", "not", "nor", "x1_and_not_x2"):
        unit = models.mcculloch_pitts_gate(name)
        table = models.truth_table(unit).astype(int)
        rows = "  ".join(f"{''.join(map(str, row[:-1]))} -> {row[-1]}" for row in table)
        print(f"  {name:<13} threshold {unit.threshold:g}, inhibitory {unit.inhibitory}:  {rows}")
    try:
        models.mcculloch_pitts_gate("nand")
    except ValueError as error:
        print(f"  {error}")
    print(f"  weighted NAND: {models.mcculloch_pitts_gate('nand', 'weighted')}")

    print("perceptron rules on the gates")
    for name in ("and", "or", "nand", "nor", "xor"):
        gate = data.generate.gate(name)
        print(f"  {name:<4} set rule          {models.set_rule(gate.x, gate.y, max_draws=1000)}")
        print(f"  {name:<4} error correction  {models.error_correction(gate.x, gate.y, max_epochs=100)}")

    blobs = data.generate.blobs(200, 2, 0.25, seed=1)
    run = models.error_correction(blobs.x, blobs.y)
    print(f"two clouds: {run}")
    if run.converged:
        # the fitted plane separates them, so it bounds the mistakes; a plane with more room would bound them better
        bound = models.mistake_bound(blobs.x, blobs.y, run.weights, run.bias)
        print(f"mistakes {run.updates}, bound (R / gamma)^2 with the fitted plane {bound:.0f}")
    three = data.generate.blobs(300, 3, 0.2, seed=1)
    print(f"three classes, dead zone 0.2: {models.dead_zone_rule(three.x, three.y)}")
    if options.out:
        viz.decision_boundary(run.predict, blobs.x, blobs.y, blobs.classes).savefig(options.out)
        print(f"drawn: {options.out}")


if __name__ == "__main__":
    main()
