"""The one way in which tasks are retried, and kept from storing what they are given and return."""

from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from tapehouse.errors import RetryableError, StoreUnreachable

P = ParamSpec("P")
R = TypeVar("R")

# The exchange's own retries have been patient for up to a minute before a task fails.
RETRIES: Final = 3
FIRST_DELAY_S: Final = 5.0


def retried_task(
    *, name: str, run_name: str
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Task[P, Coroutine[Any, Any, R]]]:
    """A task that is tried again after faults that usually pass; `run_name` may name its parameters in braces."""
    return task(
        name=name,
        task_run_name=run_name,
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(FIRST_DELAY_S),
        retry_jitter_factor=0.5,
        retry_condition_fn=usually_passes,
        # Arguments are open connections and results are counts: hashing or storing them serves nobody.
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def usually_passes(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether the task failed with a fault of the network, the exchange or the database that trying again may mend."""
    return isinstance(state.data, RetryableError | StoreUnreachable)
