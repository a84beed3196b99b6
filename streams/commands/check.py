"""`check`: whether all is as workers need it."""

import typer

from streams.operate.console import printable
from streams.settings import SettingsError, WorkerSettings, load_settings
from streams.terminal import AsJson, ToDev, json_line, kafka_settings, run_on_kafka


def check(as_json: AsJson = False, to_dev: ToDev = False) -> None:
    """Look at connection, topics, ACLs, group, clock, robot and settings; each line is ok, or says what mends it.

    Exit codes: 0 all is ok, 1 something is not.
    """
    from streams.operate.check import Finding, findings

    settings = kafka_settings(to_dev)
    worker, problem = None, None
    try:
        # Those of dev's own workers are not looked at.
        worker = None if to_dev else load_settings(WorkerSettings)
    except SettingsError as error:
        problem = str(error)

    def show(finding: Finding) -> bool:
        if as_json:
            fields = {"what": finding.what, "ok": finding.ok, "words": finding.words, "mend": finding.mend}
            typer.echo(json_line(fields))
        else:
            typer.echo(printable(f"{'ok' if finding.ok else '!!':<3} {finding.what}: {finding.words}"))
            if finding.mend is not None:
                typer.echo(printable(f"    to mend: {finding.mend}"))
        return finding.ok

    async def look() -> bool:
        # Each as it is found: the next one may have to wait for a broker.
        return all([show(finding) async for finding in findings(settings, worker)])

    all_ok = run_on_kafka(settings, look())
    if worker is not None:
        show(Finding("settings", "a worker can start with them"))
    elif problem is not None:
        all_ok = show(Finding("settings", problem, "set them (robot-orchestrator settings shows all)"))
    raise typer.Exit(0 if all_ok else 1)
