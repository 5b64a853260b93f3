"""Refuse what is not known in a request, with the list of what is."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError


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
            return validate(value)
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
