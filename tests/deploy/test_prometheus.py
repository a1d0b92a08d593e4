"""Alerting rules (SG-10): valid, tested, about metrics that exist, and each with a runbook."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from services.kernel.telemetry import METRIC_NAMES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules" / "casewarden.yml"
RULE_TESTS = sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"
DASHBOARD = DEPLOY / "grafana" / "casewarden.json"
RUNBOOK = ROOT / "docs" / "operations.md"

PACKAGES = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}
EXPECTED = {
    "AlertRaised",
    "AuditLagging",
    "BackgroundStalled",
    "HighErrorRate",
    "LogUnavailable",
    "LoginsThrottled",
    "MessageGivenUp",
    "MessagesUndelivered",
    "ProjectionLagging",
    "ProjectionStopped",
    "RepeatedLoginFailures",
    "ServiceClientAdded",
    "SevereAlertRaised",
    "SlowReads",
    "TargetDown",
}


def run(program: str, *arguments: str | Path) -> str:
    """Run one of Prometheus's own programs; skip where it is not, fail where it complains."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not on PATH (Debian package {PACKAGES[program]})")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rule_blocks() -> dict[str, str]:
    """Return each alert's own lines, by its name."""
    parts = re.split(r"^ +- (?:alert|record): (\S+)$", RULES.read_text(), flags=re.MULTILINE)[1:]
    named = zip(parts[::2], parts[1::2], strict=True)
    return {name: block for name, block in named if ":" not in name}


def rule_cases() -> list[tuple[str, bool]]:
    """Return for each unit test its alert and whether it expects it to fire."""
    text = "\n".join(path.read_text() for path in RULE_TESTS)
    cases = re.findall(r"- alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:(.*)", text)
    assert len(cases) == text.count("alertname:")
    return [(alert, rest.strip() != "[]") for alert, rest in cases]


def metrics_in(text: str) -> set[str]:
    """Return the metrics named, a histogram by its own name."""
    return {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bcasewarden_\w+", text)
    }


def expressions() -> str:
    """Return every expression of the rules."""
    return "\n".join(re.findall(r"expr: >-\n((?: {10}.*\n)+)", RULES.read_text()))


def recorded() -> set[str]:
    """Return the names of the recording rules."""
    return set(re.findall(r"- record: (\S+)", RULES.read_text()))


def test_promtool_accepts_the_rules() -> None:
    run("promtool", "check", "rules", RULES)


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_do_not_fire_as_their_tests_say(path: Path) -> None:
    run("promtool", "test", "rules", path)


def test_promtool_accepts_the_configuration() -> None:
    run("promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_amtool_accepts_the_configuration() -> None:
    run("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize(
    ("team", "severity", "receiver"),
    [
        ("security", "critical", "security-page"),
        ("security", "warning", "security"),
        ("operations", "critical", "operations-page"),
        ("operations", "warning", "operations"),
    ],
)
def test_each_team_is_told_of_its_own_alerts(team: str, severity: str, receiver: str) -> None:
    told = run(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={ALERTMANAGER}",
        f"team={team}",
        f"severity={severity}",
    )
    assert told.split() == [receiver]


def test_alerts_are_those_promised() -> None:
    assert set(rule_blocks()) == EXPECTED


@pytest.mark.parametrize("alert", sorted(EXPECTED))
def test_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(alert: str) -> None:
    assert {fires for name, fires in rule_cases() if name == alert} == {True, False}


@pytest.mark.parametrize("alert", sorted(EXPECTED))
def test_alert_says_how_bad_whose_what_and_what_to_do(alert: str) -> None:
    block = rule_blocks()[alert]
    assert re.search(r"^ +severity: (critical|warning|info)$", block, re.MULTILINE)
    assert re.search(r"^ +team: (security|operations)$", block, re.MULTILINE)
    assert re.search(r"^ +summary: >-\n +\S", block, re.MULTILINE)
    assert re.search(r"^ +description: >-\n +\S", block, re.MULTILINE)


@pytest.mark.parametrize("alert", sorted(EXPECTED))
def test_runbook_has_the_section_an_alert_links_to(alert: str) -> None:
    link = re.search(
        r"runbook_url: docs/operations\.md#([a-z-]+)$", rule_blocks()[alert], re.MULTILINE
    )
    assert link is not None
    section = re.search(rf"^### {link[1]}\n`(\w+)`", RUNBOOK.read_text(), re.MULTILINE)
    assert section is not None
    assert section[1] == alert


def test_rules_their_tests_and_the_dashboard_name_only_metrics_that_exist() -> None:
    """SG-18: and so only labels that telemetry defines, none of which holds a person."""
    for text in (expressions(), DASHBOARD.read_text(), *(p.read_text() for p in RULE_TESTS)):
        named = metrics_in(text)
        assert named
        assert named <= METRIC_NAMES


def test_recorded_names_that_are_used_are_recorded() -> None:
    used = re.findall(r"\bcasewarden:\w+:\w+", expressions() + DASHBOARD.read_text())
    assert set(used) == recorded()


def test_no_rule_decides_by_the_hour() -> None:
    """PromQL's hours are UTC; a school's are local, with holidays."""
    assert not re.search(r"\b(hour|day_of_\w+|minute|month)\(", expressions())


def test_no_outage_holds_back_a_security_alert() -> None:
    targets = re.findall(r"target_matchers: \[(.*)\]", ALERTMANAGER.read_text())
    assert targets
    assert all(target.startswith('team="operations"') for target in targets)


def test_dashboard_is_importable_and_every_panel_asks_something() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["uid"] == "casewarden"
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_nothing_deployed_holds_a_secret() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            text = path.read_text()
            assert not re.search(r"(?i)(password|token|secret): *['\"]?[A-Za-z0-9+/]{8,}", text)
            assert not re.search(r"://[^/\s:@]+:[^/\s@]+@", text)
