"""How far averaging over rotations makes an unconstrained potential symmetric.

    python -m experiments.potentials --out experiments/potentials/results

Takes about two minutes on one CPU core. Expected: the strict potential varies by rounding alone;
the unconstrained one loses more of its variation with 4, 24 and 60 rotations of a polyhedron than
with as many random ones.
"""

import pathlib

from experiments.potentials import page
from experiments.potentials.run import FULL, TINY, results
from experiments.shared.command import parser_of


def main() -> None:
    """Writes the page, its figure and its numbers."""
    parser = parser_of(__doc__, "experiments.potentials")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument("--tiny", action="store_true", help="in seconds, for tests")
    arguments = parser.parse_args()
    page.write(results(TINY if arguments.tiny else FULL), arguments.out)


if __name__ == "__main__":
    main()
