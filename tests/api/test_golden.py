"""Questions that cite the same after a restore, or `anchorage golden check` says which do not."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
from pathlib import Path

from typer.testing import CliRunner, Result

from app.cli import application
from app.settings import Settings
from tests.api.conftest import started

BERTH = "How much does a berth cost a night?"
HARBOUR = "# Berths\n\nA berth costs 34 euros a night."
DOGS = "# Dogs\n\nDogs must be on a leash on the pier."


async def golden(data: Path, *words: str) -> Result:
    """The command, as the operator's shell runs it, on this data."""
    environment = {"DATA_DIR": str(data), "COLUMNS": "200"}
    return await asyncio.to_thread(lambda: CliRunner().invoke(application, ["golden", *words], env=environment))


async def test_a_copy_cites_the_same_and_a_lost_document_is_told(settings: Settings, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "golden.json"
    settings = settings.model_copy(update={"data_dir": data})
    async with started(settings) as running:
        harbour = await running.add(HARBOUR)
        await running.add(DOGS)
        for question in (BERTH, BERTH, "What is the capital of France?", "Where must dogs be on a leash?"):
            await running.ask(question)

    done = await golden(data, "record", str(file), "--json")
    assert json.loads(done.stdout) == {"questions": 2}, "each once, and only what was answered"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    shutil.copytree(data, tmp_path / "copy")
    same = await golden(tmp_path / "copy", "check", str(file))
    assert same.exit_code == 0, same.output
    assert "2 of 2 questions cite the same" in same.stdout

    async with started(settings) as running:
        deleted = await running.client.delete(f"/api/v1/documents/{harbour}")
        assert deleted.status_code < 300
    differs = await golden(data, "check", str(file), "--json")
    assert differs.exit_code == 1
    (one,) = json.loads(differs.stdout)["differences"]
    assert (one["question"], one["found"]) == (BERTH, [])
    assert len(one["expected"]) == 1


async def test_asking_again_is_no_question_of_anybody(settings: Settings, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "golden.json"
    settings = settings.model_copy(update={"data_dir": data})
    async with started(settings) as running:
        await running.add(HARBOUR)
        await running.ask(BERTH)
    for _ in range(2):
        assert (await golden(data, "record", str(file))).exit_code == 0
    assert (await golden(data, "record", str(file), "--json")).stdout.strip() == '{"questions": 1}'


async def test_a_collection_that_is_gone_is_told(settings: Settings, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "golden.json"
    async with started(settings.model_copy(update={"data_dir": data})) as running:
        await running.add(HARBOUR)
        await running.ask(BERTH)
    await golden(data, "record", str(file))
    file.write_text(file.read_text().replace('"default"', '"gone"'))
    done = await golden(data, "check", str(file))
    assert done.exit_code == 1
    assert "its collection is gone" in done.stdout


async def test_a_file_that_holds_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "golden.json"
    for content, said in (("", "holds no golden questions"), ('{"form": 9}', "form 9"), (None, "can't be read")):
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_text(content)
        done = await golden(tmp_path / "data", "check", str(file))
        assert done.exit_code != 0
        assert said in str(done.exception.__dict__ if done.exception else done.output)
