"""Interpolation: what resampling does between the points of the lattice, network apart."""

import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._bandwidth import low_pass
from softeq_jax.measures.base._layouts import Fiber, Image, Tokens
from softeq_jax.measures.diagnosis._diagnosis import Finding
from softeq_jax.measures.diagnosis._elements import Trial
from softeq_jax.measures.diagnosis._meanings import Meaning, frame_of
from softeq_jax.measures.diagnosis._patient import Patient, relative
from softeq_jax.measures.diagnosis._widened import in_double
from softeq_jax.measures.finite._elements import element

_SHARE = 0.5
"""Of the Nyquist frequency, that the test images hold."""
WORSE = 3.0
"""Floors up to which an error between the points of the lattice is put down to resampling."""


def between(patient: Patient, trial: Trial) -> tuple[float, float]:
    """The error at an element that resamples, and the floor: what turning there and back does.

    Both are of images without their finest waves.
    """
    layout = patient.source.layout
    smooth = patient.x
    if isinstance(layout, Image | Tokens):
        smooth = np.asarray(low_pass(jnp.asarray(patient.x), _SHARE, layout))
    other = Patient(patient.f, smooth, patient.group, patient.source, patient.target, patient.frame)
    with in_double():
        x = np.asarray(smooth, np.float64)
        there = patient.source.move(patient.group, trial.g, x, patient.frame)
        back = np.linalg.inv(trial.g)
        again = patient.source.move(patient.group, back, there, patient.frame)
        if isinstance(layout, Fiber):  # it does not lose anything: against bilinear resampling
            plain = Meaning(Image(layout.axes) if len(layout.axes) == 2 else Tokens(), "")
            frame = frame_of(plain, x.shape)
            floor = relative(plain.move(patient.group, trial.g, x, frame), there)
        else:
            mask = element(patient.group, trial.g).mask(x.shape, layout, patient.frame)
            floor = relative(np.asarray(mask) * again, np.asarray(mask) * x)
    still, moved = other.run(smooth), other.run(there)
    patient.passes += other.passes
    return other.error(trial, moved, still, patient.target), floor


def resampling(error: float, floor: float, trial: Trial, lattice: bool) -> Finding:
    """The finding that turns between the points of the lattice are not exact."""
    exact = "all turns and flips of the lattice are exact, but " if lattice else ""
    return Finding(
        "interpolation",
        None,
        error,
        f"{exact}{trial.name} give {error:.2g}; turning the images there and back by "
        f"interpolation alone gives {floor:.2g}",
        "measure by quarter turns and flips, which are exact, or by reps.image on odd grids; "
        "low-pass the images and cut them to a disc before turning them by other angles",
    )
