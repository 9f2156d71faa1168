"""Models of rows of fields: categories, numbers and tags to a logit."""

from recsys.models.fields.dcn import DCN
from recsys.models.fields.deepfm import DeepFM
from recsys.models.fields.dlrm import DLRM
from recsys.models.fields.fm import FM
from recsys.models.fields.wide_deep import WideDeep

__all__ = ["DCN", "DLRM", "FM", "DeepFM", "WideDeep"]
