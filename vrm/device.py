"""As what, and where, a program of the customer's own asks to be let in (RFC 8628): both sides know it."""

from typing import Final

DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
DEVICE_AUTHORIZATION: Final = "/oauth/device_authorization"
TOOL: Final = "vrm-tool"  # the client id of every program of the customer's own
MANAGE: Final = "vault:manage"
TOOLS: Final = "/api/v1/tools"  # where it works afterwards
