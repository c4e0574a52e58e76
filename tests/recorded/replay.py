"""A server of recorded answers: what was put at a host and path, and a named 404 for all else."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from aiohttp import web


@dataclass
class Replay:
    """The answers by `host/path`, or by `host/path?name=value` where they are for that query alone."""

    answers: dict[str, str] = field(default_factory=dict[str, str])
    unanswered: list[str] = field(default_factory=list[str])
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        """The answer for that path whose own query, if it has one, is part of the query asked."""
        asked = set(parse_qsl(request.query_string))
        for place, body in self.answers.items():
            path, _, query = place.partition("?")
            if request.path == f"/{path}" and set(parse_qsl(query)) <= asked:
                return web.Response(text=body, content_type="application/json")
        self.unanswered.append(request.path_qs)
        return web.json_response({"error": "nothing recorded"}, status=404)


@asynccontextmanager
async def replay_server() -> AsyncGenerator[Replay]:
    """A server on this machine, gone at the end."""
    replay = Replay()
    application = web.Application()
    application.router.add_route("*", "/{place:.*}", replay.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        replay.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield replay
    finally:
        await runner.cleanup()
