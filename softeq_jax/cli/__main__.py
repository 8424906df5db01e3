"""``python -m softeq_jax.cli``, the same as ``softeq``."""

import sys

from softeq_jax.cli import main

sys.exit(main())
