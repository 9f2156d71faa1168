"""How good a model's lists and predictions, or given lists, are on data they have not seen."""

from recsys.evaluation.given import evaluate_lists
from recsys.evaluation.model import DEFAULT, Candidates, Ties, Unknown, evaluate
from recsys.evaluation.result import Result

__all__ = ["DEFAULT", "Candidates", "Result", "Ties", "Unknown", "evaluate", "evaluate_lists"]
