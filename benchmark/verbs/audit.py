"""``audit``: measures what each step of the released evaluation adds where the truth is known, or checks predictions against one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError
from benchmark.overrides import OVERRIDES as ALL
from benchmark.show import NOTES
from benchmark.verbs.audit_predictions import add_arguments
from benchmark.verbs.audit_predictions import run as audit_predictions
from benchmark.verbs.common import JSON, compute_rounds, renew_statistics
from results.plan import Plan

DEFAULTS = ("n=3000", "seeds=5", "method.max_epochs=20", "method.patience=5")
QUICK = ("n=300", "seeds=1", "folds=3", "bootstrap=200", "dataset.draws=32", "method.max_epochs=4")
DRAWS = 10
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "audit.md"

OWN = ("method", "protocol", "outcomes", "rectifier")
"""Overrides that the audit sets itself."""
OVERRIDES = tuple(key for key in ALL if key not in (*OWN, "arm"))


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "method", nargs="?", default="crl_mmnar", help="whose training and predictions (default crl_mmnar)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small cohort, one fold, the steps that need no further fit but A1"
    )
    parser.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="processes, one thread each (default 1)")
    parser.add_argument(
        "--test-folds", type=int, metavar="K", help="test the first K folds of the split only (default all)"
    )
    parser.add_argument(
        "--later-share", type=float, metavar="SHARE", help="of A3: survivors who come back uncounted (0.3)"
    )
    parser.add_argument(
        "--mention", type=float, metavar="SD", help="of A3: how far a later note is moved by its event (2.0)"
    )
    parser.add_argument(
        "--docs", action="store_true", help="compute nothing: report and docs/audit.md from the newest audits stored"
    )
    parser.add_argument("--json", action="store_true", help=JSON)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    add_arguments(parser)


def run(options: Namespace) -> int:
    """Run the audit of a method's evaluation, or of a predictions file."""
    if options.predictions is not None:
        return audit_predictions(options)
    if "=" in options.method:
        options.overrides.insert(0, options.method)
        options.method = "crl_mmnar"
    if options.jobs < 1:
        raise UsageError(f"-j {options.jobs} is too small: 1 or more processes")
    config = _compose_config(options)
    from benchmark.plan.config import check_device
    from results.storage.store import Store

    store = Store(config.store)
    if not options.docs:
        check_device(config)
    plans, failures = _load_stored(store) if options.docs else _compute(options, config, store)
    _report(store, plans, config.out, options.json)
    if options.docs:
        from benchmark.audit.plan import describe_steps
        from reports.audit.document import rewrite_document

        NOTES.print(f"wrote {rewrite_document(store, plans, DOCUMENT, describe_steps())}")
    for name, reason in failures:
        NOTES.print(f"failed: {name}: {reason}", style="red")
    return 1 if failures else 0


def _report(store: Any, plans: list[Plan], out: str, as_json: bool) -> None:
    from reports.audit.report import build_audit_report
    from reports.build import write_report
    from reports.formats.files import render_text

    report = build_audit_report(store, plans)
    if as_json:
        print(report.numbers.to_json(orient="records", indent=1))
        return
    for path in write_report(report, Path(out)):
        NOTES.print(f"wrote {path}")
    print(render_text(report.measured))


def _load_stored(store: Any) -> tuple[list[Plan], list[tuple[str, str]]]:
    """Bring the intervals of the newest stored plans up to date; return the plans, and no failures."""
    from reports.audit.numbers import select_audit_plans

    plans = select_audit_plans(store)
    if not any(plan.experiment == "audit" for plan in plans):
        raise UsageError(f"no audit is stored in {store.root}: python -m benchmark audit")
    _renew(store, plans)
    return plans, []


def _renew(store: Any, plans: list[Plan]) -> None:
    """Bring the intervals of the plans ``audit`` up to date; those of simulations have none."""
    for plan in plans:
        if plan.experiment == "audit":
            renew_statistics(store, plan)


def _compose_config(options: Namespace) -> Any:
    from benchmark.plan.config import load_config

    if any(text.split("=")[0] in OWN for text in options.overrides):
        raise UsageError("audit METHOD is strict, with the rectifier, on true and on shuffled outcomes: method=, protocol=, outcomes= and "
                         "rectifier= are not its overrides")  # fmt: skip
    given = {text.split("=")[0] for text in options.overrides}
    dataset = next((text.split("=")[1] for text in options.overrides if text.startswith("dataset=")), "embedded-")
    kept = [text for text in (*DEFAULTS, *(QUICK if options.quick else ())) if text.split("=")[0] not in given]
    if not dataset.startswith("embedded-"):
        kept = [text for text in kept if not text.startswith(("n=", "dataset."))]
    kept = list({text.split("=")[0]: text for text in kept}.values())
    kept = [
        text for text in kept if not text.startswith("method.") or _has_field(options.method, text[7:].split("=")[0])
    ]
    return load_config("table1", [f"method={options.method}", *kept, *options.overrides])


def _has_field(method: str, field: str) -> bool:
    """Return whether a method has this hyper-parameter; one without ``lr`` is not trained by epochs."""
    from methods import registry

    return hasattr(registry.load(method.partition(":")[0]).Config(), field)


def _compute(options: Namespace, config: Any, store: Any) -> tuple[list[Plan], list[tuple[str, str]]]:
    """Compute what is missing; return the plans, and the failures as (name, reason)."""
    from benchmark.audit.cohorts import Dials
    from benchmark.audit.plan import plan_audit
    from benchmark.audit.simulations import plan_noise, plan_sampler
    from benchmark.audit.unit import measure
    from benchmark.executors import Work, read_stored_cell

    dials = {k: v for k, v in (("later_share", options.later_share), ("mention", options.mention)) if v is not None}
    folds = options.test_folds or (1 if options.quick else config.folds)
    audits = [plan_audit(config, outcomes, folds, options.quick, Dials(**dials)) for outcomes in ("true", "shuffled")]
    noise, simulations = plan_noise(1 if options.quick else DRAWS)
    plans, waves = [*(a.plan for a in audits), noise], [simulations]
    samplers: list[Any] = []
    if not options.quick and _has_field(options.method, "lr"):
        plan, samplers = plan_sampler(config)
        plans.append(plan)
    for seed in range(config.seeds):
        for kind in ("fits", "rows"):
            units = [(u, a.grounds[u.cell.landmark]) for a in audits for u in getattr(a, kind) if u.cell.seed == seed]
            waves.append([Work(unit, ground, how=measure) for unit, ground in units])
        waves.append([work for work in samplers if work.planned.cell.seed == seed])
    for plan in plans:
        store.write_plan(plan)
    whole = {work.planned.key: work for wave in waves for work in wave}
    left = {key for key, work in whole.items() if not read_stored_cell(store, work.planned).finished}
    todo = [list({work.planned.key: work for work in wave if work.planned.key in left}.values()) for wave in waves]
    NOTES.print(
        f"audit of {audits[0].plan.audit['title']} on {config.dataset['name']}: {len(whole)} units, {len(left)} to do"
    )
    outcomes = compute_rounds(
        todo,
        sum(map(len, todo)),
        config,
        options.jobs,
        describe=lambda cell: f"{cell.landmark} {cell.variant} seed {cell.seed}",
    )
    _renew(store, plans)
    return plans, [(o.cell.name, o.reason or "") for o in outcomes if o.status == "failed"]
