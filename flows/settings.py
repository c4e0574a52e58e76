"""How tapehouse uses Prefect: the names and settings that are the same on this machine and in `deployments/`.

Nothing of Prefect is imported here, since it reads its settings when it is.
"""

from collections.abc import Mapping
from typing import Final

WORK_POOL: Final = "tapehouse"
# Where alerts are sent to, as JSON; nowhere if it is not set.
ALERT_URL: Final = "TAPEHOUSE_ALERT_URL"
# Of the server.
SERVER: Final[Mapping[str, str]] = {
    # With Prefect's own batch sizes a run of 2,000 tasks takes over a minute to show.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "200",
    # By themselves runs stay for ever and events for a week, some thousands a day.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "604800",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
    # Kept in memory, the places that runs hold would be lost when the server restarts, and with them long runs.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # Who waits for a place looks so often at least; by itself, Prefect lets half a minute pass.
    "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
}
# Of the worker and of the runs that it starts: a run whose heartbeats stop is found dead by an automation.
WORKER: Final[Mapping[str, str]] = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
