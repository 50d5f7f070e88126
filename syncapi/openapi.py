"""How `/v1/sync` is described at `/schema`: the handler takes and gives bytes, so it is said here.

The schemas come from the types, by msgspec, as clients of either format need them: Litestar's own
take records that are written as arrays for objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Reference,
    RequestBody,
)

from schemas.encoding import Format, codings
from schemas.frames import PROBLEM_TYPE, Problem
from schemas.json_schema import one_line
from schemas.protocol import SyncRequest, SyncResponse

_REFERENCE: Final = "#/components/schemas/{name}"

_REFUSALS: Final = {
    400: "The request does not fit, its version is unknown (`supported`), or its token is refused "
    "(`reason`).",
    401: "The bearer token is missing, expired or not valid.",
    406: "`Accept` or `Accept-Encoding` allows no answer.",
    413: "The body is too large, as it came or unpacked.",
    415: "`Content-Type` or `Content-Encoding` is not known; the answer names those that are.",
    429: "The user asks too often, or too many requests without a valid token come from the "
    "address; come back after `Retry-After`.",
    431: "A header is too long.",
    503: "The store is away, or more is asked than can be answered; come back after `Retry-After`.",
}


def components() -> dict[str, Any]:
    """Build the schemas of request, answer and problem document, by name."""
    _, found = msgspec.json.schema_components(
        [SyncRequest, SyncResponse, Problem], ref_template=_REFERENCE
    )
    described: dict[str, Any] = one_line(found)
    return described


@dataclass
class SyncOperation(Operation):
    """The operation, with bodies that the handler's signature does not show."""

    def __post_init__(self) -> None:
        names = ", ".join(f"`{coding.token}`" for coding in codings())
        self.request_body = RequestBody(
            content=_both(SyncRequest),
            description=f"Codings: {names}. In MessagePack, bytes are bytes and not base64.",
            required=True,
        )
        answer = OpenAPIResponse(
            description=f"The answer, in a format of `Accept`. Codings: {names}.",
            content=_both(SyncResponse),
        )
        self.responses = {"200": answer}
        for status, why in _REFUSALS.items():
            self.responses[str(status)] = OpenAPIResponse(
                description=why, content={PROBLEM_TYPE: OpenAPIMediaType(schema=_of(Problem))}
            )


def _both(kind: type) -> dict[str, OpenAPIMediaType]:
    return {form.value: OpenAPIMediaType(schema=_of(kind)) for form in Format}


def _of(kind: type) -> Reference:
    return Reference(ref=_REFERENCE.format(name=kind.__name__))
