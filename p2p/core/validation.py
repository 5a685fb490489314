"""Validated settings: the types of their fields, and errors in one line that name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from p2p.core.errors import UsageError
from p2p.core.foreign import hint
from p2p.core.names import called
from p2p.core.numbers import whole_number


def _as_whole(value: Any) -> Any:
    try:
        return whole_number(value) if isinstance(value, str) else value
    except ValueError as error:
        raise PydanticCustomError("whole_number", "{why}", {"why": str(error)}) from None


Whole = Annotated[int, BeforeValidator(_as_whole)]  # texts too: 1e6, 1M, 1_000_000
Count = Annotated[Whole, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Unit = Annotated[float, Field(ge=0, le=1)]
Settings = TypeVar("Settings", bound=BaseModel)


def validated(
    model: type[Settings],
    settings: Mapping[str, Any],
    *,
    known: Iterable[str] = (),
    stored: bool = False,
) -> Settings:
    """Return a `model` of these settings.

    Args:
        known: names that an unknown setting may have been meant to be, beside the fields.
        stored: they come from a file that p2p has written (`is_stored`).

    Raises:
        UsageError: in one line, what is wrong with them.
    """
    try:
        context = {"stored": stored, "sources": settings.get("source_sha256", {})}
        return model.model_validate(dict(settings), context=context)
    except ValidationError as error:
        raise UsageError(one_line(error, {*model.model_fields, *known})) from None


def is_stored(info: ValidationInfo) -> bool:
    """Say whether what is validated comes from a file of p2p's own."""
    return bool((info.context or {}).get("stored"))


def one_line(error: ValidationError, known: Iterable[str]) -> str:
    """Turn pydantic's report into one line: setting, value, complaint."""
    parts = []
    for item in error.errors():
        if item["type"] == "default_factory_not_called":  # follows from another error
            continue
        message = item["msg"].removeprefix("Value error, ")
        first, *inner = (str(part) for part in item["loc"]) if item["loc"] else ("",)
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown setting {first!r}{hint(first, known)}")
        elif item["type"] == "value_error":
            parts.append(message)
        else:
            name = called(first)
            name = ".".join([name, *inner]) if name == first else name  # a flag has no parts
            parts.append(f"{name}={item['input']!r}: {message[0].lower()}{message[1:]}")
    return "; ".join(parts)
