"""Models of rows of fields: categories, numbers and tags to a logit."""

from recsys.models.fields.dcn import DCN
from recsys.models.fields.deepfm import DeepFM

__all__ = ["DCN", "DeepFM"]
