"""The command line: a thin door. Every command calls the function of its name and says what came of it.

Exit codes: 0 fine, 1 the job found a problem, 2 bad input. Heavy modules are imported inside the commands, so that
help and errors come at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App
from rich.console import Console

from twelvefold.cli import (
    audit,
    clean,
    data,
    detector,
    extract,
    features,
    fetch,
    pretrain,
    runs,
    serve,
    submit,
    use,
    weights,
)
from twelvefold.schema import TwelvefoldError

app = App(
    name="twelvefold",
    help="One vision-and-language model, twelve tasks. `twelvefold demo` runs everything once, on a world of its own.",
    version_flags=["--version"],
)
for command in (
    runs.demo,
    runs.world,
    extract.extract,
    runs.prepare,
    pretrain.pretrain,
    runs.train,
    pretrain.finetune,
    runs.calibrate,
    runs.evaluate,
    runs.baselines,
    runs.report,
    runs.recipes,
    submit.submit,
    use.ask,
    use.find,
    use.point,
    use.choose,
    use.guess,
    use.compare,
    use.entails,
    use.ground,
    use.answer,
    use.app,
    serve.serve,
    audit.app,
    clean.app,
    data.datasets,
    data.doctor,
    fetch.fetch,
    features.app,
    weights.app,
    detector.app,
):
    app.command(command)
app.command(runs.baselines, name="blind", show=False)  # the command's former name


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    # Threads that wait for each other should sleep: spinning starves them when other programs want the cores too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(arguments)
    except TwelvefoldError as error:
        Console(stderr=True, soft_wrap=True).print(f"twelvefold: {error}", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
