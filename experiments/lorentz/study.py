"""Lorentz scattering, while a term breaks the symmetry: the tensor study under O(1,3).

Rows, budget and scores are those of ``experiments.tensors``; the group is not compact, so that the
projections are orthogonal only in the coordinates of the lab, and networks see bounded boosts. The
small size has half the published widths and epochs, the rows where the five works meet, and noise 0
and .5. Strengths are those of O(5), not tried again.
"""

from experiments.shared.studies import Preset, Study
from experiments.tensors import run
from experiments.tensors import study as tensors

LORENTZ = tensors.O5 | {"problem": "lorentz", "widths": [400, 200, 200, 200]}
SMALL = LORENTZ | {"widths": [200, 100, 100, 100], "mlp_widths": [256] * 3, "epochs": 250}
TINY = tensors.TINY | {"problem": "lorentz", "widths": [8, 8], "mlp_widths": [16]}

STUDY = Study(
    name="lorentz",
    title="Lorentz scattering with a broken symmetry",
    claims=(tensors.BEATS_STRICT, tensors.BEATS_FREE, tensors.GROWS),
    presets={
        "tiny": Preset(TINY, 1, {"noises": {"0.5": "few"}}, note="Seconds, for the tests."),
        "small": Preset(
            SMALL,
            3,
            {"noises": {"0": "works", "0.5": "works"}},
            more_seeds={f"{name} at 0.5": 5 for name in ("heat .3", "strict", "free")},
            note="Half the published widths and epochs.",
        ),
        "paper": Preset(
            LORENTZ | {"learning_rate": 1e-4},
            5,
            tensors.GRID,
            note="The published size. Not run here.",
        ),
    },
    rows=tensors.rows,
    run=run.do,
    metrics=tensors.STUDY.metrics,
    defect="invariance",
    floors=tensors.floors,
    floor=run.mean_predictor,
    condition="noise",
    step_cost=run.step_cost,
)
