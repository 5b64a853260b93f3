"""Refuse what is not known in a request, with the list of what is, and a body that is all wrong after a part of it.

Making an error costs a hundred times what reading a field costs, and a body of 1 MiB has room for a hundred thousand of
them, while nobody else is answered.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from pipeline.tasks.requests import without_most_unknown

STEP_ITEMS = 100  # of a long list: behind a step with errors nothing is looked at


def refusal(code: str, reason: str) -> PydanticCustomError:
    """Return the error that a validator raises to refuse a value; ``reason`` is shown as it stands."""
    return PydanticCustomError(code, "{reason}", {"reason": reason})


_NOT_AN_OBJECT = ("model_type", "model_attributes_type", "dict_type")  # pydantic's words speak of Python


class Input(BaseModel):
    """What a client may send: unknown fields are refused by name, and the known ones listed."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_known(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(without_most_unknown(value, cls.model_fields))
        except ValidationError as error:
            details = [cls._with_the_known(detail) for detail in error.errors()]
            raise ValidationError.from_exception_data(cls.__name__, details) from None

    @classmethod
    def _with_the_known(cls, detail: ErrorDetails) -> InitErrorDetails:
        # Rebuilt in every case: pydantic does not take its own details back when a validator raised them.
        code, reason = detail["type"], detail["msg"]
        if code == "extra_forbidden":
            code, reason = "unknown_field", f"no such field: choose from {', '.join(cls.model_fields)}"
        elif code in _NOT_AN_OBJECT:
            reason = "Input should be an object"
        return InitErrorDetails(type=refusal(code, reason), loc=detail["loc"], input=detail["input"])


def in_steps(most: int) -> WrapValidator:
    """Return the validator of a list of up to ``most`` items that stops behind the first hundred with errors."""

    def check(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(value, list) or len(value) > most:
            return validate(value)
        found: list[Any] = []
        for start in range(0, max(len(value), 1), STEP_ITEMS):
            try:
                found += validate(value[start : start + STEP_ITEMS])
            except ValidationError as error:
                details = [_further(detail, start) for detail in error.errors()]
                raise ValidationError.from_exception_data("list", details) from None
        return found

    return WrapValidator(check)


def _further(detail: ErrorDetails, start: int) -> InitErrorDetails:
    place, *rest = detail["loc"] or (None,)
    where = (place + start, *rest) if isinstance(place, int) else detail["loc"]
    return InitErrorDetails(type=refusal(detail["type"], detail["msg"]), loc=where, input=detail["input"])
