"""Autoencoders of users' profiles, and of the ratings of users or items."""

from recsys.models.autoencoders.autorec import AutoRec
from recsys.models.autoencoders.cdae import CDAE
from recsys.models.autoencoders.deeprec import DeepRec
from recsys.models.autoencoders.multdae import MultDAE
from recsys.models.autoencoders.multvae import MultVAE

__all__ = ["CDAE", "AutoRec", "DeepRec", "MultDAE", "MultVAE"]
