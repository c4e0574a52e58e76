"""What faults that are not of rows do to whole answers.

Which requests a fault strikes is `tapehouse.sandbox.faults`; what it does to rows `tapehouse.sandbox.damage`.
"""

from dataclasses import replace
from http import HTTPStatus
from typing import Final

from tapehouse.sandbox.answer import Answer
from tapehouse.sandbox.faults import Fault

_HTML: Final = b"<!DOCTYPE html><html><body><h1>We'll be right back</h1></body></html>"


def spoilt(answer: Answer, fault: Fault) -> Answer:
    """The answer as it looks after the fault."""
    match fault.kind:
        case "status":
            retry_after_s = fault.retry_after_s
            headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
            body = f"{HTTPStatus(fault.status).phrase} (fault injected by the sandbox)".encode()
            return Answer(body, fault.status, "text/plain; charset=utf-8", headers)
        case "html":
            return Answer(_HTML, content_type="text/html; charset=utf-8")
        case "broken_json":
            return replace(answer, body=answer.body[: len(answer.body) * 2 // 3])
        case "empty_body":
            return replace(answer, body=b"")
        case _:
            return answer
