"""Streams: from an exchange's WebSocket through validation into the store, with what was missed fetched by requests."""

from tapehouse.stream.batcher import Flushing
from tapehouse.stream.request import DATASETS, StreamRequest
from tapehouse.stream.service import stream
from tapehouse.stream.statistics import StreamStatistics
from tapehouse.stream.supervision import run_stream

__all__ = ["DATASETS", "Flushing", "StreamRequest", "StreamStatistics", "run_stream", "stream"]
