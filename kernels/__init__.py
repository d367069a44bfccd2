"""Kernels: integer arithmetic with one meaning, in several speeds.

`reference*.py` is the meaning, `_native` the C++ that must be equal to it. The variant is chosen by
the processor; the environment variable LMC_KERNELS (scalar, avx2, avx512vnni, amx, neon, neondot)
forces one.
"""

from lmc.kernels._native import Cache, Network, Vocabulary

__all__ = ["Cache", "Network", "Vocabulary"]
