"""What libraries find in the environment decides nothing here, and writes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("name", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_no_metric_is_written_to_a_file(name: str, tmp_path: Path) -> None:
    done = run("-m", "services.cli", "--help", **{name: str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_propagator_that_is_not_there_keeps_nothing_from_starting() -> None:
    done = run("-m", "services.cli", "--help", OTEL_PROPAGATORS="b3", OTEL_PYTHON_CONTEXT="none")
    assert (done.returncode, done.stderr) == (0, "")


def test_keys_of_connections_are_written_to_no_file(tmp_path: Path) -> None:
    """SG-5: what goes to the mail server or the database is not to be read by who recorded it."""
    script = "import services, ssl; print(ssl.create_default_context().keylog_filename)"
    done = run("-c", script, SSLKEYLOGFILE=str(tmp_path / "keys"))
    assert done.stdout == "None\n"


def test_a_validator_loads_no_plugin(tmp_path: Path) -> None:
    """SG-18: a plugin that is installed would be handed whatever is validated."""
    (tmp_path / "spy.py").write_text("print('loaded')\nplugin = None\n")
    metadata = tmp_path / "spy-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: spy\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[pydantic]\nspy = spy:plugin\n")
    script = "import services.kernel.texts"
    done = run("-c", script, PYTHONPATH=str(tmp_path), PYDANTIC_DISABLE_PLUGINS="")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
