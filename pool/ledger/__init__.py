"""Keep what must last, in an SQL database. Nothing else uses SQLAlchemy."""

from pool.ledger.ledger import Ledger
from pool.ledger.records import (
    ApiKey,
    AuditEntry,
    Binding,
    EventState,
    InboxEvent,
    NewEvent,
    Recorded,
    RecordedClaim,
)

__all__ = [
    "ApiKey",
    "AuditEntry",
    "Binding",
    "EventState",
    "InboxEvent",
    "Ledger",
    "NewEvent",
    "Recorded",
    "RecordedClaim",
]
