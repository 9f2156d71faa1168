"""Models that propagate vectors over the graph of interactions."""

from recsys.models.graph.lightgcn import LightGCN

__all__ = ["LightGCN"]
