"""The one place where ccxt's errors become ours; importing it imports ccxt.

RateLimited     429, 418, or the exchange's own code for it
UnknownSymbol   the exchange knows no such market
PermanentError  geo blocks, missing credentials, refused requests, what an exchange does not have
BadPage         an answer that came and is not what was asked for
RetryableError  all else that usually passes: time-outs, dropped connections, 5xx, maintenance
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from aiohttp import ClientError
from ccxt.base import errors as ccxt_errors

from tapehouse.errors import BadPage, PermanentError, RateLimited, RetryableError, TapehouseError, UnknownSymbol

_RATE_LIMIT_STATUSES: Final = frozenset((418, 429))
_CREDENTIAL_STATUSES: Final = frozenset((401, 407))
_GEO_BLOCK_STATUSES: Final = frozenset((403, 451))
_PASSING_STATUSES: Final = frozenset((408, 409, 425))
# What CloudFront says: "configured to block access from your country" (quoted in ccxt's bybitid.py).
_COUNTRY: Final = re.compile(r"\byour country\b", re.IGNORECASE)
_MOST_CHARACTERS: Final = 120


@dataclass(frozen=True, slots=True)
class Answer:
    """What an exchange answered over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: str


def translate(error: Exception | None, *, exchange_id: str, answer: Answer | None = None) -> TapehouseError:
    """Our error for what ccxt raised; or, without one, for an HTTP answer with an error's status."""
    if isinstance(error, TapehouseError):
        return error
    status = answer.status if answer else 0
    if answer and status in _GEO_BLOCK_STATUSES and _COUNTRY.search(answer.body):
        error = ccxt_errors.RestrictedLocation()  # Where ccxt takes the status for something else.
    said = _said(error, answer, exchange_id)
    if status in _RATE_LIMIT_STATUSES or isinstance(error, ccxt_errors.RateLimitExceeded | ccxt_errors.DDoSProtection):
        retry_after_s = _retry_after_s(answer) if answer else None
        return RateLimited(
            f"{exchange_id} asks for fewer requests ({said}): wait, then ask again.", retry_after_s=retry_after_s
        )
    if isinstance(error, ccxt_errors.BadSymbol):
        return UnknownSymbol(f"{exchange_id} has no such symbol ({said}): see its instruments.")
    return _permanent(error, status, exchange_id, said) or _passing(error, status, exchange_id, said)


def _permanent(error: Exception | None, status: int, exchange_id: str, said: str) -> PermanentError | None:
    if isinstance(error, ccxt_errors.AuthenticationError) or status in _CREDENTIAL_STATUSES:
        return PermanentError(f"{exchange_id} wants credentials for this ({said}): ask only for public data.")
    if isinstance(error, ccxt_errors.RestrictedLocation) or status in _GEO_BLOCK_STATUSES:
        return PermanentError(
            f"{exchange_id} does not serve this address ({said}), most likely a geo block: "
            "ask from a place that it serves, or set a base URL that leads through one."
        )
    if _usually_passes(error, status):
        return None
    if isinstance(error, ccxt_errors.BaseError) or status >= 400:
        return PermanentError(f"{exchange_id} refused the request ({said}): asking again does not help.")
    return None


def _passing(error: Exception | None, status: int, exchange_id: str, said: str) -> RetryableError:
    is_network_fault = _usually_passes(error, status) and not isinstance(error, ccxt_errors.BadResponse)
    if is_network_fault:
        return RetryableError(f"{exchange_id} can't be asked at the moment ({said}): try again later.")
    return BadPage(f"{exchange_id} gave an answer that makes no sense ({said}): try again later.")


def _usually_passes(error: Exception | None, status: int) -> bool:
    if status >= 500:
        return True
    if error is None:
        return status in _PASSING_STATUSES
    # ccxt wraps a connection that breaks in mid-body in the plain ExchangeError of refused requests.
    return isinstance(error, ccxt_errors.OperationFailed | OSError) or isinstance(error.__cause__, ClientError)


def _said(error: Exception | None, answer: Answer | None, exchange_id: str) -> str:
    """What happened, in one short line without markup or query strings (which may hold keys)."""
    text = answer.body if answer else str(error)
    if re.search(r"<(!doctype|html|head|body)\b", text, re.IGNORECASE):
        text = "an HTML page"
    text = re.sub(r"\?\S+", "", text.removeprefix(exchange_id))
    text = " ".join(text.split())
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]}..."
    source = f"status {answer.status}" if answer else type(error).__name__
    return f"{source}: {text}" if text else source


def _retry_after_s(answer: Answer) -> float | None:
    """Seconds to wait: the header holds them, or a date (RFC 9110, 10.2.3)."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    value = headers.get("retry-after")
    if value is None:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value.strip()):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
