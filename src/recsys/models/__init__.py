"""Recommender models, one file a model."""
