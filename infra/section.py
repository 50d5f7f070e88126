"""What all sections of the settings are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=0, le=65_535)]


class Section(BaseModel):
    """Base of all sections: unknown names are refused, so that a typing error is not silent."""

    model_config = ConfigDict(extra="forbid", frozen=True)
