"""Every exception that the library raises on purpose."""


class RecsysError(Exception):
    """Root of the library's exceptions."""


class NotFittedError(RecsysError, ValueError, AttributeError):
    """A model was asked for results before `fit`."""


class DataError(RecsysError, ValueError):
    """Data or ids that the library cannot accept."""


class ParameterError(RecsysError, ValueError):
    """A hyperparameter or argument outside its bounds."""


class UnsupportedError(RecsysError, TypeError):
    """Something that this model or data set cannot do."""


class TrainingError(RecsysError, ArithmeticError):
    """Training that diverged: the loss or the weights became NaN or infinite."""


class LoadError(RecsysError, ValueError):
    """A saved model that is damaged, foreign or of another format version."""
