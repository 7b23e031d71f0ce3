"""What makes each alert: a fault of a lab VM that has the whole stack, and how it is undone."""

from __future__ import annotations

from collections.abc import Mapping

from tests.lab.alerts.fault import Fault
from tests.lab.alerts.faults import care, clock, data, hosts, service, watching

FAULTS: Mapping[str, Fault] = {
    **service.FAULTS,
    **data.FAULTS,
    **hosts.FAULTS,
    **care.FAULTS,
    **clock.FAULTS,
    **watching.FAULTS,
}

# What is not caused here, and why.
ELSEWHERE: Mapping[str, str] = {
    "Watchdog": "it is always there; that its silence is heard is tested in tests/lab/stack/test_alerts.py",
}

# Pages, each caused by itself: timed with the rules as they are, and followed with hurried ones.
AS_THEY_ARE = (
    "AppDown",
    "WorkerDown",
    "NginxDown",
    "PostgresDown",
    "RedisDown",
    "QdrantDown",
    "HostDown",
    "EdgeUnreachable",
    "QuestionUnanswered",
    "ErrorRateVeryHigh",
    "AnswersVerySlow",
    "DiskFull",
    "CertificateEndsVerySoon",
)

# Pages of a budget that hours of a small fault burn, or a minute of a great one: on a fresh host that minute is most
# of what its rules look back at. By the rules as they are too; with the requests that then make up for it, and end it.
BUDGETS: Mapping[tuple[str, ...], str] = {
    ("LatencyBurnsFast", "LatencyBurns"): "--questions 5",
    ("AvailabilityBurnsFast", "AvailabilityBurns"): "--passing 150",
}

# All others by hurried rules; of a line at once: none of them holds another one back or undoes its fault.
HURRIED = (
    (
        *("UnitFailed", "UnitRestarts", "InodesLow", "DiskFillsUp", "TargetDown", "TextfileBroken"),
        *("CertificateEndsSoon", "CertificateRenewalFailed", "BackupOld", "DrillFailed"),
        *("DeployStuck", "DriftFound", "QdrantNotGreen", "QdrantRed"),
    ),
    ("RedisEvicts", "RedisRejectsConnections", "PostgresConnectionsHigh", "DeadLetters", "DriftUnknown", "DrillOld"),
    ("PostgresReplicationLag", "QueueWaits", "ConfigurationRefused", "NotificationsFail", "RulesFail"),
    ("AlertmanagerUnreachable", "OutOfMemory", "ClockWrong"),
    ("DependencyUnreachable", "AvailabilityBurnsFast", "AvailabilityBurns"),
    ("ErrorRateHigh",),
    ("AvailabilityBurnsSlowly",),
    ("LatencyBurnsFast", "LatencyBurns", "AnswersSlow"),
    ("LatencyBurnsSlowly",),
    ("DatabasePoolFull",),
    ("ProviderFails", "ProviderSlow", "SpendAboveLimit"),
    ("CacheHitRateFell",),
    ("CpuBusy",),
    ("MemoryLow",),
    # The last: Prometheus takes two minutes to let go of a store that does not answer.
    ("RemoteWriteBehind",),
)
