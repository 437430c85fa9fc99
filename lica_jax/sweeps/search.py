"""Searches: Optuna's samplers by ask and tell, kept in a journal; no sampler of our own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from lica_jax.errors import UserError, unknown

SAMPLERS = ("tpe", "random", "sobol", "cmaes")
KINDS = {
    "float": "float:LOW:HIGH[:STEP]", "log": "log:LOW:HIGH", "int": "int:LOW:HIGH[:STEP]",
    "logint": "logint:LOW:HIGH", "choice": "choice:A,B,...",
}  # fmt: skip
MOST_STEPS = 2**50  # behind which neighbours are one number, or nearly
Values = dict[str, Any]


class Distribution(NamedTuple):
    """Of the values of one field.

    Attributes:
      kind: one of ``KINDS``.
      low, high, step: of numbers; both ends are possible.
      choices: of ``choice``, as text.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    choices: tuple[str, ...] = ()


def read_distribution(name: str, text: str) -> Distribution:
    """``log:1e-4:3e-3`` and its like; raises ``UserError`` that calls it ``name``."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS:
        raise unknown(f"distribution of {name}", text, KINDS.values(), "")
    if kind == "choice":
        choices = tuple(rest.split(","))
        if len(choices) < 2 or len(set(choices)) < len(choices) or not all(choices):
            raise UserError(f"{name} needs two or more different choices, got {text!r}")
        return Distribution(kind, choices=choices)
    parts, most = rest.split(":"), 2 if kind.startswith("log") else 3
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        raise UserError(f"{name} must read {KINDS[kind]}, got {text!r}") from None
    if not 2 <= len(numbers) <= most or not all(map(math.isfinite, numbers)):
        raise UserError(f"{name} must read {KINDS[kind]}, got {text!r}")
    low, high, step = (*numbers, None)[:3]
    if not low < high:
        raise UserError(f"{name}: its lowest value must be below its highest, got {text!r}")
    if kind.startswith("log") and low <= 0:
        raise UserError(f"{name}: a logarithm needs values above 0, got {text!r}")
    if step is not None and not 0 < step <= high - low:
        raise UserError(f"{name}: a step must be above 0 and within the range, got {text!r}")
    if step is not None and (high - low) / step > MOST_STEPS:
        raise UserError(f"{name}: a step must be a {MOST_STEPS:.0e}th of the range, got {text!r}")
    if step is not None:  # the last value that it comes to, as decimals: 3 x 0.3 is 0.9
        first, last, by = (Decimal(str(x)) for x in (low, high, step))
        high = float(first + by * ((last - first) // by))
    if "int" in kind and not all(n.is_integer() for n in numbers):
        raise UserError(f"{name} is of integers, got {text!r}")
    return Distribution(kind, low, high, step)


class Study:
    """A search's trials in ``study.log``. A trial is a setting; its value is the mean of its runs.

    The same values are drawn whether a sweep was interrupted or not: each with a sampler of its
    own, seeded by the setting's number, from what has been told before.
    """

    def __init__(
        self, path: Path, fields: Mapping[str, str], sampler: str, seed: int = 0, trials: int = 0
    ):
        """``fields``: distributions in words by name; ``trials``: how many it has at least.

        Raises:
          UserError: Optuna is missing, or the file lacks trials.
        """
        optuna = _optuna()
        _drop_half_a_line(path)
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self._optuna, self._sampler, self._seed = optuna, sampler, seed
        self._fields = {k: _optunas(optuna, read_distribution(k, v)) for k, v in fields.items()}
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))), study_name="sweep",
            direction="maximize", load_if_exists=True, sampler=self._make_sampler(0),
        )  # fmt: skip
        if (found := len(self._study.get_trials(deepcopy=False))) < trials:
            raise UserError(f"{path} is damaged: it has {found} of {trials} trials")

    def _make_sampler(self, number: int) -> Any:
        samplers, seed = self._optuna.samplers, self._seed + number
        if self._sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if self._sampler == "sobol":  # one sequence; the storage knows how far it is
            return samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=self._seed)
        if self._sampler == "cmaes":
            return samplers.CmaEsSampler(seed=seed)
        # The trials of a wave are drawn together: each is told that the others are under way.
        return samplers.TPESampler(seed=seed, constant_liar=True, multivariate=True)

    def ask(self, count: int, known: Collection[int], first: int) -> list[tuple[int, Values]]:
        """``count`` more trials: number in the study, and values.

        Trials that were drawn before a kill and never written down (not in ``known``) are taken up
        again. ``first``: how many settings there are already, from which seeds follow.
        """
        states, drawn = self._optuna.trial.TrialState, []
        for trial in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            if trial.number in known or len(drawn) == count:
                continue
            if len(trial.params) == len(self._fields):
                drawn.append((trial.number, dict(trial.params)))
            else:  # killed while it was drawn
                self._study.tell(trial.number, state=states.FAIL)
        while len(drawn) < count:
            self._study.sampler = self._make_sampler(first + len(drawn))
            trial = self._study.ask(self._fields)
            drawn.append((trial.number, dict(trial.params)))
        return drawn

    def tell(self, number: int, value: float | None) -> None:
        """The value of a trial; None where all of its runs failed. A second time is ignored."""
        states = self._optuna.trial.TrialState
        if self._study.get_trials(deepcopy=False)[number].state.is_finished():
            return
        if value is None:
            self._study.tell(number, state=states.FAIL)
        else:
            self._study.tell(number, value)

    def importance(self) -> dict[str, float]:
        """How much of the objective's differences each field explains (PED-ANOVA), summing to 1;
        {} where there are too few trials to say."""
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # it says that all are equal, then
                evaluator = PedAnovaImportanceEvaluator()
                return dict(get_param_importances(self._study, evaluator=evaluator))
        except (ValueError, RuntimeError, ZeroDivisionError, UserWarning):
            return {}


def _drop_half_a_line(path: Path) -> None:
    """What a full disk or a power failure leaves at the end of a journal, on which Optuna would
    write on; for who has the sweep's lock."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def check_installed(sampler: str) -> None:
    """Raises ``UserError`` where the packages of a search are missing."""
    _optuna()
    if sampler == "cmaes":
        try:
            import cmaes  # noqa: F401
        except ImportError:
            raise _missing("cmaes") from None


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise _missing("optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Of Sobol's sequence, multivariate TPE and PED-ANOVA, all of which are asked for here.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def _missing(package: str) -> UserError:
    return UserError(f"a search needs {package}: pip install 'lica_jax[search]'")


def _optunas(optuna: Any, d: Distribution) -> Any:
    kinds = optuna.distributions
    if d.kind == "choice":
        return kinds.CategoricalDistribution(d.choices)
    if "int" in d.kind:
        step = 1 if d.step is None else int(d.step)
        return kinds.IntDistribution(int(d.low), int(d.high), log=d.kind == "logint", step=step)
    return kinds.FloatDistribution(d.low, d.high, log=d.kind == "log", step=d.step)
