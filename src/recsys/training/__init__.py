"""The one training loop, the examples it runs over, and the negatives drawn for them."""

from recsys.training.checkpoint import Checkpoint, run_key
from recsys.training.examples import Examples, PairExamples, ProfileExamples, SequenceExamples
from recsys.training.negatives import Negatives
from recsys.training.optimizers import make_optimizers
from recsys.training.stream import Position, StreamedExamples
from recsys.training.trainer import Trainer, pick_device, seeded

__all__ = [
    "Checkpoint",
    "Examples",
    "Negatives",
    "PairExamples",
    "Position",
    "ProfileExamples",
    "SequenceExamples",
    "StreamedExamples",
    "Trainer",
    "make_optimizers",
    "pick_device",
    "run_key",
    "seeded",
]
