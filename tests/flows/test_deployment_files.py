"""The compose file, the image and its entry point: what can be said of them without Docker."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml
from prefect.settings import Settings
from psycopg.conninfo import conninfo_to_dict

from flows.settings import SERVER, WORKER
from tapehouse.cli.metrics import metrics
from tapehouse.cli.stream import stream
from tapehouse.stream.batcher import LAST_TRY_S
from tests.flows.services import ROOT

FOLDER: Final = ROOT / "deployments"
COMPOSE: Final[Mapping[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: Final[Mapping[str, Mapping[str, Any]]] = COMPOSE["services"]
_VARIABLE: Final = re.compile(r"(?<!\$)\$\{([A-Z_]+)")
_PINNED_IMAGE: Final = re.compile(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-pg\d+)?")


def test_the_compose_file_has_the_services_that_a_server_needs() -> None:
    runs = {"database", "prefect-database", "prefect", "migrate", "deploy", "worker", "maintenance"}
    watches = {"metrics", "prometheus", "grafana"}
    assert set(SERVICES) == runs | watches | {"stream"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_and_open_to_this_machine_alone(name: str) -> None:
    service = SERVICES[name]

    assert _PINNED_IMAGE.fullmatch(service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_only_for_services_that_can_tell(name: str) -> None:
    needs = SERVICES[name].get("depends_on", {})
    if isinstance(needs, list):
        assert set(cast("list[str]", needs)) <= set(SERVICES)
        return
    for needed, how in needs.items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed]
        else:
            assert how["condition"] == "service_completed_successfully"
            assert SERVICES[needed]["restart"].startswith("on-failure")


@pytest.mark.parametrize("name", SERVICES)
def test_passwords_come_from_declared_secret_files(name: str) -> None:
    secrets = [secret if isinstance(secret, str) else secret["source"] for secret in SERVICES[name].get("secrets", [])]

    assert set(secrets) <= set(COMPOSE["secrets"])
    for variable, value in SERVICES[name].get("environment", {}).items():
        assert "PASSWORD" not in variable or value.startswith("/run/secrets/"), variable
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("secrets/")


def test_volumes_are_declared_and_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    files = {name for name in used if name.startswith("./")}

    assert used - files == set(COMPOSE["volumes"])
    assert all((FOLDER / name).exists() for name in files)
    # The database's image sources scripts that can't be run, and ours would end it.
    assert os.access(FOLDER / "roles.sh", os.X_OK)


def test_what_watches_finds_what_it_asks() -> None:
    """The names, ports and paths that files of Prometheus and Grafana share with the compose file."""
    scraped = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"][0]["static_configs"][0]
    provisioning = FOLDER / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "tapehouse.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "tapehouse.yaml").read_text())["providers"]
    ports = {parameter.name: parameter.default for parameter in metrics.params}
    of_metrics = conninfo_to_dict(SERVICES["metrics"]["environment"]["TAPEHOUSE_DATABASE_URL"])
    database, prometheus = sources

    assert scraped["targets"] == [f"metrics:{ports['port']}"]
    assert (database["user"], database["jsonData"]["database"]) == (of_metrics["user"], of_metrics["dbname"])
    assert f"create role {database['user']} login" in (FOLDER / "roles.sh").read_text()
    assert f"--reader {database['user']}" in SERVICES["migrate"]["command"][-1]
    assert database["url"] == "database:5432"
    assert prometheus["url"] == "http://prometheus:9090"
    assert database["secureJsonData"]["password"] == "$__file{/run/secrets/reader_password}"
    assert {"grafana_password", "reader_password"} == set(SERVICES["grafana"]["secrets"])
    mounts = {str(volume).split(":")[1]: str(volume).split(":")[0] for volume in SERVICES["grafana"]["volumes"]}
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"


def test_who_fetches_does_not_own_the_tables_and_every_queue_has_a_worker() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    queues = {one["work_pool"].get("work_queue_name", "default") for one in deployments}
    workers = {_option(SERVICES[name], "--work-queue"): _user(SERVICES[name]) for name in ("worker", "maintenance")}

    assert workers == {
        "default": "tapehouse_ingest",
        "maintenance": SERVICES["database"]["environment"]["POSTGRES_USER"],
    }
    assert set(workers) == queues
    assert f"create role {workers['default']} login" in (FOLDER / "roles.sh").read_text()
    assert f"--ingest {workers['default']}" in SERVICES["migrate"]["command"][-1]


def test_the_stream_runs_as_a_role_that_may_write_and_is_looked_after() -> None:
    """Its command is one that `tapehouse` understands, and the file that it renews is the one that is looked at."""
    service = SERVICES["stream"]
    given = dict(part.removeprefix("--").split("=", 1) for part in service["command"][4:])
    (folder,) = [volume.partition(":")[2] for volume in service["volumes"]]

    assert service["command"][:4] == ["python", "-m", "tapehouse", stream.name]
    assert set(given) <= {option.removeprefix("--") for parameter in stream.params for option in parameter.opts}
    assert given["heartbeat"] in service["healthcheck"]["test"][-1]
    assert _user(service) == "tapehouse_ingest"
    assert service["environment"]["TAPEHOUSE_DATA_DIR"] == folder
    assert folder in (FOLDER / "Dockerfile").read_text()
    # Longer than it tries to reach the database for the last time.
    assert int(service["stop_grace_period"].removesuffix("s")) > 2 * LAST_TRY_S


def test_the_places_that_runs_hold_outlive_the_container_of_prefect() -> None:
    dockerfile = (FOLDER / "Dockerfile").read_text()
    (user,) = re.findall(r"^USER (\w+)$", dockerfile, re.MULTILINE)
    home = f"/home/{user}/.prefect"

    assert SERVICES["prefect"]["volumes"] == [f"prefect:{home}"]
    # A new volume belongs to whom the folder of the image belongs to.
    assert re.search(rf"install --directory --owner {user} .*{home}( |$)", dockerfile, re.MULTILINE)


def _option(service: Mapping[str, Any], name: str) -> str:
    return service["command"][service["command"].index(name) + 1]


def _user(service: Mapping[str, Any]) -> object:
    return conninfo_to_dict(service["environment"]["TAPEHOUSE_DATABASE_URL"])["user"]


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    example = (FOLDER / ".env.example").read_text()
    known = {line.split("=")[0] for line in example.splitlines() if line and not line.startswith("#")}

    assert set(_VARIABLE.findall((FOLDER / "compose.yaml").read_text())) == known


def test_all_deployments_are_told_of() -> None:
    deployments = yaml.safe_load((FOLDER.parent / "prefect.yaml").read_text())["deployments"]
    named = {f"{one['entrypoint'].split('.')[1].replace('_', '-')}/{one['name']}" for one in deployments}

    told = re.findall(r"^\| `([a-z-]+/[a-z-]+)` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)

    assert sorted(told) == sorted(named)


def test_prefect_knows_the_settings_of_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    given = SERVICES["prefect"]["environment"]
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    understood = Settings().to_environment_variables(exclude_unset=True)

    assert set(given) <= set(understood)


def test_prefect_runs_with_the_settings_of_make_up() -> None:
    assert SERVICES["prefect"]["environment"].items() >= SERVER.items()
    for name in ("worker", "maintenance"):
        assert SERVICES[name]["environment"].items() >= WORKER.items()


def test_the_database_is_one_that_the_store_accepts() -> None:
    from tapehouse.store.server import OLDEST_TIMESCALEDB

    version = SERVICES["database"]["image"].partition(":")[2].partition("-")[0]

    assert tuple(map(int, version.split(".")[:2])) >= OLDEST_TIMESCALEDB
    # The suffix -oss marks the edition without compression and continuous aggregates.
    assert "oss" not in SERVICES["database"]["image"]


def test_the_image_holds_what_flows_import_and_runs_as_a_user() -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    copied = {line.split()[1].rstrip("/") for line in lines if line.startswith("COPY ")}

    assert {"tapehouse", "sql", "flows", "tasks", "prefect.yaml", "requirements/runtime.txt"} <= copied
    assert all((ROOT / path).exists() for path in copied)
    assert any("--require-hashes" in line for line in lines)
    assert [line for line in lines if line.startswith("USER ")] == ["USER tapehouse"]


def test_the_entry_point_fills_variables_from_secret_files(tmp_path: Path) -> None:
    (tmp_path / "PGPASSWORD").write_text("a b$c'd\n")
    (tmp_path / "OTHER").write_text("two")
    show = [
        "sh",
        str(FOLDER / "entrypoint.sh"),
        "sh",
        "-c",
        'printf "%s|%s|%s" "$PGPASSWORD" "$OTHER" "$1"',
        "sh",
        "x y",
    ]

    done = subprocess.run(
        show, env={"SECRETS_DIR": str(tmp_path), "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
    )

    assert done.stdout == "a b$c'd|two|x y"


def test_the_entry_point_does_without_secrets(tmp_path: Path) -> None:
    environment = {"SECRETS_DIR": str(tmp_path), "PATH": os.environ["PATH"]}

    done = subprocess.run(["sh", str(FOLDER / "entrypoint.sh"), "sh", "-c", "exit 7"], env=environment, check=False)

    assert done.returncode == 7
