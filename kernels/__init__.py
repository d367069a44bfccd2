"""Kernels: integer arithmetic with one meaning, in several speeds."""
