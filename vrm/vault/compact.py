"""JSON that we write ourselves, to be sealed: as short as it can be, UTF-8, and fast.

Promises: `loads(dumps(value))` is the value; the bytes are those of `json.dumps` without blanks, and without
escapes of what is not ASCII. What others send is read by `vrm.strict_json`. The only module that touches
`orjson`.
"""

from __future__ import annotations

from orjson import dumps, loads

__all__ = ["dumps", "loads"]
