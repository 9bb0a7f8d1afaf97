"""`coterie run`."""

from __future__ import annotations

from collections.abc import Sequence

from coterie._json import JsonValue
from coterie.artifacts import ArtifactStore
from coterie.cli.session import Job, JournalMode, perform
from coterie.cli.sources import artifacts_url, load_plan, load_team, parse_params
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console, print_outputs, print_run
from coterie.ref import Ref
from coterie.result import WorkflowResult, output_to_dict

__all__ = ["run_command", "run_job"]

# A longer output is named by its place alone.
_SHOWN_BYTES = 4096


def run_command(
    plan_path: str,
    team_path: str,
    *,
    params: Sequence[str],
    artifacts: str | None,
    run_id: str | None,
    journal: JournalMode,
    graceful_shutdown_timeout_s: float | None,
    logs_json: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run a plan, say how it ended, and return the exit code."""
    plan, run_params = load_plan(plan_path, parse_params(params))
    job = Job(
        plan,
        load_team(team_path),
        run_params,
        artifacts_url(artifacts),
        run_id,
        journal=journal,
        graceful_shutdown_timeout_s=graceful_shutdown_timeout_s,
        logs_json=logs_json,
    )
    return run_job(job, as_json=as_json, quiet=quiet)


def run_job(job: Job, *, as_json: bool, quiet: bool) -> int:
    """Run a plan, or go on with it, say how that ended, and return the exit code."""
    plan = job.plan
    result, outputs = perform(job, _outputs, quiet=quiet)
    if as_json:
        values = {name: output_to_dict(output) for name, output in outputs.items()}
        document = {**result.to_dict(), "values": values, "exit_code": result.exit_code}
        write_json(document)
    else:
        console = output_console()
        print_run(console, plan, result)
        print_outputs(console, outputs)
    return result.exit_code


async def _outputs(result: WorkflowResult, store: ArtifactStore) -> dict[str, JsonValue | Ref]:
    outputs: dict[str, JsonValue | Ref] = {}
    for name in result.outputs:
        output = result[name].output
        if result[name].state == "succeeded":
            small = isinstance(output, Ref) and output.size_bytes <= _SHOWN_BYTES
            outputs[name] = await store.load(output) if small and isinstance(output, Ref) else output
    return outputs
