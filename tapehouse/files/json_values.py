"""The values of long JSON lists, or of lines of JSON, one at a time: memory does not grow with the file."""

import codecs
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import IO, Final

from tapehouse.errors import InputError

_CHUNK_BYTES: Final = 1 << 20
# A single value that is longer is no row.
_MOST_CHARACTERS: Final = 1 << 25
_BETWEEN: Final = re.compile(r"[\s,]*")


def json_values(file: IO[bytes], name: str) -> Iterator[object]:
    """The values in the order of the file, of all lists if there are several, one after another.

    Raises InputError, which calls the file by `name`, for what is no JSON.
    """
    decoder, chunks = json.JSONDecoder(), _texts(file)
    text = next(chunks, "").lstrip()
    is_list = text.startswith("[") and text[1:].lstrip()[:1] in ("[", "{", "]")
    position = 1 if is_list else 0
    while True:
        position = _next_value(text, position)
        if is_list and text.startswith("]", position):
            text, position = _next_list(chain([text[position + 1 :]], chunks), name), 1
            if not text:
                return
            continue
        try:
            value, position = _decoded(decoder, text, position, name)
        except json.JSONDecodeError as error:
            text, more, position = text[position:], next(chunks, ""), 0
            if not (text or more or is_list):
                return
            if not more or len(text) > _MOST_CHARACTERS:
                raise InputError(f"{name} is cut short, or no JSON ({error.msg}): get it again.") from error
            text += more
        else:
            yield value


def _next_value(text: str, position: int) -> int:
    between = _BETWEEN.match(text, position)
    return between.end() if between else position


def _decoded(decoder: json.JSONDecoder, text: str, position: int, name: str) -> tuple[object, int]:
    """The value that begins there, and where it ends; raises JSONDecodeError where the text holds no whole one."""
    try:
        return decoder.raw_decode(text, position)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError) as error:
        raise InputError(f"{name} holds JSON that is nested too deep, or too long a number: it is no data.") from error


def _next_list(texts: Iterator[str], name: str) -> str:
    """The text from the next list on, empty where none follows; raises InputError where anything else does."""
    text = next((begun for text in texts if (begun := text.lstrip())), "")
    if text and not text.startswith("["):
        raise InputError(f"{name} goes on with no list where its first ends: get it again.")
    return text


def _texts(file: IO[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    while chunk := file.read(_CHUNK_BYTES):
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)
