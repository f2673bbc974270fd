"""The rim for the customer: pages without JavaScript. `register` is all that the app needs."""

from vrm.web.wiring import register

__all__ = ["register"]
