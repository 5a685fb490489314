"""Validated settings: the types of their fields, and errors in one line that name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
)
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


def _in_float32(value: float) -> float:
    """Refuse what would be 0 or infinite where networks compute."""
    if value and not FLOAT32[0] <= abs(value) <= FLOAT32[1]:
        least, most = (f"{bound:.2g}" for bound in FLOAT32)
        raise PydanticCustomError(
            "float32", "is beyond the numbers of float32, {least} to {most}",
            {"least": least, "most": most},
        )  # fmt: skip
    return value


FLOAT32 = 1.1754944e-38, 3.4028235e38  # its least, with all digits, and its largest number
Whole = Annotated[int, BeforeValidator(_as_whole), Field(gt=-(2**63), lt=2**63)]  # texts too: 1e6
Count = Annotated[Whole, Field(ge=1)]
Size = Annotated[Whole, Field(ge=1, lt=2**31)]  # of an array's axis
Finite = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_in_float32)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_in_float32)]
Rate = Annotated[Positive, Field(le=1e37)]  # Adam divides it by 0.1 at first
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_in_float32)]
Unit = Annotated[float, Field(ge=0, le=1)]
Settings = TypeVar("Settings", bound=BaseModel)


def validated(
    model: type[Settings],
    settings: Mapping[str, Any],
    *,
    stored: bool = False,
) -> Settings:
    """Return a `model` of these settings.

    Args:
        stored: they come from a file that p2p has written (`is_stored`).

    Raises:
        UsageError: in one line, what is wrong with them.
    """
    try:
        context = {"stored": stored, "sources": settings.get("source_sha256", {})}
        return model.model_validate(dict(settings), context=context)
    except ValidationError as error:
        raise UsageError(one_line(error, model.model_fields)) from None


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
