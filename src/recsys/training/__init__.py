"""The one training loop, in one process or many, the examples it runs over, and the negatives drawn for them."""

from recsys.training.checkpoint import Checkpoint, run_key
from recsys.training.distributed import Processes, is_first, join
from recsys.training.examples import (
    Examples,
    PairExamples,
    ProfileExamples,
    RatingProfileExamples,
    SequenceExamples,
    WholeExamples,
)
from recsys.training.negatives import Negatives, SharedNegatives
from recsys.training.optimizers import make_optimizers
from recsys.training.stream import Position, StreamedExamples
from recsys.training.trainer import Trainer, pick_device, seeded

__all__ = [
    "Checkpoint",
    "Examples",
    "Negatives",
    "PairExamples",
    "Position",
    "Processes",
    "ProfileExamples",
    "RatingProfileExamples",
    "SequenceExamples",
    "SharedNegatives",
    "StreamedExamples",
    "Trainer",
    "WholeExamples",
    "is_first",
    "join",
    "make_optimizers",
    "pick_device",
    "run_key",
    "seeded",
]
