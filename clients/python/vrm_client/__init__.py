"""Ask a customer's personal data vault for exactly what you need, and read what was granted.

`Vendor` asks and finishes, `Connection` reads; every error is a `VrmClientError`.
"""

from vrm_client.asking import Asked, Part, accept
from vrm_client.connection import Connection, Saved
from vrm_client.deposits import Deposit, Deposits
from vrm_client.discovery import Vault, discover
from vrm_client.errors import (
    BusyError,
    DeclinedError,
    NotFoundError,
    NotGrantedError,
    Problem,
    ProtocolError,
    RefusedError,
    RevokedError,
    UnreachableError,
    VrmClientError,
)
from vrm_client.events import Event, EventError, Receiver
from vrm_client.finding import PublicTransport, find
from vrm_client.keys import SigningKey, client_metadata
from vrm_client.later import Pending
from vrm_client.records import Record
from vrm_client.sync import Copy, Synced
from vrm_client.tokens import Tokens
from vrm_client.transport import Transport
from vrm_client.vendor import Vendor

__all__ = [
    "Asked",
    "BusyError",
    "Connection",
    "Copy",
    "DeclinedError",
    "Deposit",
    "Deposits",
    "Event",
    "EventError",
    "NotFoundError",
    "NotGrantedError",
    "Part",
    "Pending",
    "Problem",
    "ProtocolError",
    "PublicTransport",
    "Receiver",
    "Record",
    "RefusedError",
    "RevokedError",
    "Saved",
    "SigningKey",
    "Synced",
    "Tokens",
    "Transport",
    "UnreachableError",
    "Vault",
    "Vendor",
    "VrmClientError",
    "accept",
    "client_metadata",
    "discover",
    "find",
]
