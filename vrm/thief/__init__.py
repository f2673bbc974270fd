"""`vrm thief COPY`: what a thief gets from a copy of the data directory."""

from vrm.thief.robbery import Report, add_arguments, rob, run

__all__ = ["Report", "add_arguments", "rob", "run"]
