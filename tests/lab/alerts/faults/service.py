"""The service, its worker, its models, and the edge before it."""

from __future__ import annotations

from tests.lab.alerts.fault import PROGRAMS, Fault, asked, each, ended, running, stopped, together

SQL = "runuser -u postgres -- psql -qAt -v ON_ERROR_STOP=1 -d anchorage -c"

# Every request is answered by 503, while nginx and all behind it are well.
CLOSED = Fault(
    "touch /etc/nginx/maintenance",
    "rm -f /etc/nginx/maintenance",
    fills={"NAME": "sed -n 's/^ALLOWED_HOSTS=\"\\([^,]*\\),.*/\\1/p' /etc/anchorage/app.env"},
)

CUT = (
    "printf '%s\\n' 'table inet fault {' 'chain out {' 'type filter hook output priority -10;' "
    "'meta skuid anchorage tcp dport 6333 reject with tcp reset' '}' '}' | nft -f -; "
    "ss -K dport = 6333 >/dev/null || true"
)


def _cut_from_qdrant(load: str) -> Fault:
    """The service alone does not reach Qdrant, which is well: questions fail, other requests don't."""
    return Fault(together(asked("asking", load), CUT), each("nft delete table inet fault", ended("asking")))


# Who holds up the others.
HOLDER = "select pid from pg_locks where mode = 'AccessExclusiveLock' and granted and relation is not null limit 1"
BUSY_QUERY = {"PID": f'until pid=$({SQL} "{HOLDER}") && [ -n "$pid" ]; do sleep 0.1; done; echo $pid'}


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
DEAR = """{\\"llama3.2\\": {\\"input\\": 1000000, \\"output\\": 1000000}}"""
SETTINGS = (
    "'[Service]' Environment=OPENAI_API_KEY=none Environment=OPENAI_BASE_URL=http://127.0.0.1:9/v1 "
    f"Environment=OLLAMA_HOST=http://127.0.0.1:11499 'Environment=\"MODEL_PRICES={DEAR}\"'"
)
BAD_PROVIDERS = Fault(
    together(
        running("model", f"exec python3 {PROGRAMS}/model_server.py 11499 9 10"),
        f"mkdir -p {WITH_PROVIDERS}",
        f"printf '%s\\n' {SETTINGS} > {WITH_PROVIDERS}/fault.conf",
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
FAILED_JOBS = "delete from jobs where state = 'failed'"
AGE = "update jobs set run_at = run_at - interval '11 min' where state = 'queued'"
FIRST = "import json, sys; print(json.load(sys.stdin)['jobs'][0]['id'])"
DEAD_LETTER = Fault(
    together(
        "echo '<html><body><p></p></body></html>' > /run/empty.html",
        f"{ASK}/documents -F file=@/run/empty.html",
        "rm /run/empty.html",
    ),
    f'{SQL} "{FAILED_JOBS}"',
    fills={"JOB": f'{ASK}/jobs?state=failed | python3 -c "{FIRST}"'},
)
# The clock can't be turned on by ten minutes, so the job is put back by as much.
WAITING_JOB = Fault(
    together(
        "systemctl stop anchorage-worker",
        # What is there already would make no job.
        f"date | {ASK}/documents -F 'file=@-;filename=waiting.txt;type=text/plain'",
        f'{SQL} "{AGE}"',
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
