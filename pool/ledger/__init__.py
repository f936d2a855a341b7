"""The ledger: the SQL database, which is what lasts. The only user of SQLAlchemy."""

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
