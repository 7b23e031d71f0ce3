"""The service, its worker, its models, and the edge before it."""

from __future__ import annotations

from tests.lab.alerts.fault import PROGRAMS, Fault, asked, each, ended, running, stopped, together

# Every request is answered by 503, while nginx and all behind it are well.
CLOSED = Fault(
    "touch /etc/nginx/maintenance",
    "rm -f /etc/nginx/maintenance",
    fills={"NAME": "sed -n 's/^ALLOWED_HOSTS=\"\\([^,]*\\),.*/\\1/p' /etc/anchorage/app.env"},
)

CUT = (
    "printf '%s\\n' 'table inet fault {' 'chain out {' 'type filter hook output priority -10;' "
    "'meta skuid anchorage tcp dport 6333 reject with tcp reset' '}' '}' | nft -f -; ss -K dport = 6333 >/dev/null || true"
)


def _cut_from_qdrant(load: str) -> Fault:
    """The service alone does not reach Qdrant, which is well: questions fail, other requests don't."""
    return Fault(
        together(asked("asking", load), CUT), each("nft delete table inet fault", ended("asking")), fills=BUSY_QUERY
    )


# How runbooks find what holds up the others.
BUSY_QUERY = {
    "PID": "runuser -u postgres -- psql -qAtc \"select pid from pg_stat_activity where state = 'idle in transaction' limit 1\""
}


def _held_up(questions: float, held_s: float, free_s: float) -> Fault:
    """Somebody locks what every question reads."""
    load = f"--questions {questions} --held {held_s} --free {free_s}"
    return Fault(asked("asking", load), ended("asking"), fills=BUSY_QUERY)


ALL_FAIL = _cut_from_qdrant("--questions 2")
# Of a hundred requests two fail: between the warning's share and the page's.
SOME_FAIL = _cut_from_qdrant("--questions 0.4 --passing 20")
# Of a thousand four: above what is promised for days, below what pages. The probe's own questions fail too.
FEW_FAIL = _cut_from_qdrant("--questions 0.5 --passing 130")

MOST_ARE_SLOW = _held_up(4, 3.6, 0.1)
# More wait for it than there are connections in the pool.
ALL_ARE_VERY_SLOW = _held_up(4, 13, 0.1)
SOME_ARE_SLOW = _held_up(5, 1.35, 2.8)

# A provider that refuses every connection, and one that takes 9 s to begin and whose tokens are dear.
WITH_PROVIDERS = "/run/systemd/system/anchorage-app@.service.d"
DEAR = '{"llama3.2": {"input": 1000000, "output": 1000000}}'
BAD_PROVIDERS = Fault(
    together(
        running("model", f"exec python3 {PROGRAMS}/model_server.py 11499 9 10"),
        f"mkdir -p {WITH_PROVIDERS}",
        "printf '%s\\n' '[Service]' Environment=OPENAI_API_KEY=none Environment=OPENAI_BASE_URL=http://127.0.0.1:9/v1 "
        f"Environment=OLLAMA_HOST=http://127.0.0.1:11499 'Environment=MODEL_PRICES={DEAR.replace(chr(34), chr(92) * 2 + chr(34))}' "
        f"> {WITH_PROVIDERS}/fault.conf",
        "systemctl daemon-reload",
        "systemctl restart anchorage-app@blue",
        asked("asking-refused", "--questions 1 --provider openai"),
        asked("asking-slow", "--questions 1 --provider ollama"),
    ),
    each(
        ended("asking-refused"),
        ended("asking-slow"),
        ended("model"),
        f"rm -r {WITH_PROVIDERS}",
        "systemctl daemon-reload",
        "systemctl restart anchorage-app@blue",
    ),
)

ASK = 'curl -sf -H "Authorization: Bearer $(cat /etc/anchorage/credentials/admin_api_key)" http://127.0.0.1:8001/api/v1'
GONE = "runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 -d anchorage -c"
DEAD_LETTER = Fault(
    together(
        "printf '%s' '%PDF-1.7 and nothing that a PDF has' > /run/broken.pdf",
        f"{ASK}/documents -F files=@/run/broken.pdf",
        "rm /run/broken.pdf",
    ),
    f"{GONE} \"delete from jobs where state = 'failed'\"",
    fills={"JOB": f"{ASK}/jobs?state=failed | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"items\"][0][\"id\"])'"},
)
# The clock can't be turned on by ten minutes, so the job is put back by as much.
WAITING_JOB = Fault(
    together(
        "systemctl stop anchorage-worker",
        f"{ASK}/documents -H 'Content-Type: application/json' -d '{{\"text\": \"It waits.\", \"title\": \"Waiting\"}}'",
        f"{GONE} \"update jobs set run_at = run_at - interval '11 min' where state = 'queued'\"",
    ),
    "systemctl start anchorage-worker",
)

FAULTS = {
    "AppDown": stopped("anchorage-app@blue"),
    "WorkerDown": stopped("anchorage-worker"),
    "NginxDown": stopped("nginx"),
    "EdgeUnreachable": CLOSED,
    "QuestionUnanswered": CLOSED,
    "ErrorRateVeryHigh": ALL_FAIL,
    "DependencyUnreachable": ALL_FAIL,
    "AvailabilityBurnsFast": ALL_FAIL,
    "AvailabilityBurns": ALL_FAIL,
    "ErrorRateHigh": SOME_FAIL,
    "AvailabilityBurnsSlowly": FEW_FAIL,
    "LatencyBurnsFast": MOST_ARE_SLOW,
    "LatencyBurns": MOST_ARE_SLOW,
    "AnswersSlow": MOST_ARE_SLOW,
    "LatencyBurnsSlowly": SOME_ARE_SLOW,
    "AnswersVerySlow": ALL_ARE_VERY_SLOW,
    "DatabasePoolFull": ALL_ARE_VERY_SLOW,
    "CacheHitRateFell": Fault(asked("asking", "--questions 7 --cached 40"), ended("asking")),
    "QueueWaits": WAITING_JOB,
    "DeadLetters": DEAD_LETTER,
    "ProviderFails": BAD_PROVIDERS,
    "ProviderSlow": BAD_PROVIDERS,
    "SpendAboveLimit": BAD_PROVIDERS,
}
