"""The declarative base and the column types that every table shares.

Knows naming conventions and common columns. Knows nothing of any noun of the product.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Enum, Identity, MetaData, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

Key = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Created = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Json = dict[str, Any]


class Table(DeclarativeBase):
    """Base of all tables. No relationships: a join is written where it is needed, so no page can query by accident."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # Words are text with a named check, not native enums: a new word is then one changed constraint.
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it as a plain mapping
        str: Text,
        # None is NULL: JSON's own null would pass for a value in every `is not null`.
        Json: JSONB(none_as_null=True),
        StrEnum: Enum(
            StrEnum,
            native_enum=False,
            create_constraint=False,
            length=40,
            values_callable=lambda words: [w.value for w in words],
        ),
    }


def one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    """A check that `column` holds one of `words` (or null, where the column may be null)."""
    listed = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{column} in ({listed})", name=f"{column}_known")
