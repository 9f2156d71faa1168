"""Recommenders that are made of others."""

from recsys.pipeline.blend import Blend

__all__ = ["Blend"]
