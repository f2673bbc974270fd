"""The rim for the customer: pages without JavaScript. `register` is all that the app needs."""

from vrm.web.direct import NewRecords
from vrm.web.wiring import register

__all__ = ["NewRecords", "register"]
