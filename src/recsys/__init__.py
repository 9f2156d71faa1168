"""Recommender systems behind one `fit`, `predict`, `recommend`."""
