"""Defects of convolutions: how far each is from commuting with a rotation, on feature maps."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from softeq_jax._checks import radians
