"""Name what can be wrong with an evaluation; each message is what the user reads."""

from __future__ import annotations


class EvaluationError(Exception):
    """The evaluation cannot go on."""

    code = "evaluation_error"
    retryable = False


class UnknownEvaluation(EvaluationError):
    """There is no official evaluation of this name."""

    code = "unknown_evaluation"


class InvalidOptions(EvaluationError):
    """An option does not fit the task, or has an unknown value."""

    code = "invalid_options"


class InvalidLine(EvaluationError):
    """A line of the data cannot be asked about: it is left out and counted."""

    code = "invalid_line"


class NoData(EvaluationError):
    """The data set cannot be read, or no line of it can be asked about."""

    code = "no_data"


class OtherPredictions(EvaluationError):
    """The file of predictions was written by another evaluation, or by nobody like us."""

    code = "other_predictions"


class MissingPackages(EvaluationError):
    """A package that computes a figure is not installed."""

    code = "missing_packages"
