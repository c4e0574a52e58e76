"""The sandbox's own JSON over HTTP, without ccxt."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tapehouse.sandbox import Sandbox


def get(sandbox: Sandbox, path: str) -> Any:
    """The JSON at `host/path?query`; numbers with decimals exactly as they are written."""
    return get_with_headers(sandbox, path)[0]


def get_with_headers(sandbox: Sandbox, path: str) -> tuple[Any, Mapping[str, str]]:
    with urllib.request.urlopen(f"{sandbox.url}/{path}") as answer:
        return json.load(answer, parse_float=Decimal), dict(answer.headers)


def refusal(sandbox: Sandbox, path: str) -> tuple[int, Any]:
    """The status and the JSON of an error."""
    try:
        get(sandbox, path)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    raise AssertionError(f"{path} was answered.")
