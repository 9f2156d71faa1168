"""Autoencoders of users' profiles."""

from recsys.models.autoencoders.multvae import MultVAE

__all__ = ["MultVAE"]
