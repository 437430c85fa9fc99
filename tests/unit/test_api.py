"""Bad input to the public functions: one message, before anything runs."""

import numpy as np
import pytest

from lica_jax import evaluate, train
from lica_jax.algorithms.ppo import mappo
from lica_jax.api import _as_tuple
from lica_jax.config import TrainConfig, load_config
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.policy import Policy
from lica_jax.runs.evaluating import check_state

BAD = {
    "no seed": (lambda: train("lica", "smax/3m", seeds=None), "seeds must be"),
    "text as seeds": (lambda: train("lica", "smax/3m", seeds="012"), "seeds must be"),
    "a number for a task": (lambda: train("lica", 3), "task must be a name"),
    "no preset": (lambda: train("lica", "smax/3m", preset=None), "preset must be a name"),
    "another algorithm's numbers": (
        lambda: train("lica", "smax/3m", hp=mappo.HParams()),
        "hp must be a lica_jax.algorithms.lica.settings.HParams",
    ),
    "a setting without its group": (
        lambda: train("lica", "smax/3m", entropy_coef=0.3),
        "did you mean hp.entropy_coef",
    ),
    "truth as a seed": (lambda: train("lica", "smax/3m", seeds=True), "seeds must be"),
    "truth as one of the seeds": (lambda: train("lica", "smax/3m", seeds=[True]), "seeds must be"),
    "truth as a number": (
        lambda: train("lica", "smax/3m", hp={"entropy_coef": True}),
        "hp.entropy_coef: Input should be a valid number, got True",
    ),
    "a misspelled setting": (
        lambda: train("lica", "smax/3m", hp={"entropy_coeff": 0.3}),
        "unknown setting 'hp.entropy_coeff'; did you mean hp.entropy_coef",
    ),
    "a negative seed": (lambda: evaluate("nowhere", seed=-1), "seed must be an integer"),
    "half an episode": (lambda: evaluate("nowhere", episodes=0.5), "episodes must be an integer"),
    "no such value": (lambda: make_task("smax/3m", reward=1), "unknown value of option reward"),
    "no task": (lambda: make_task(3), "a task is a name"),
    "a number spelled oddly": (lambda: make_task("mpe/simple_spread_n03"), "unknown task"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message(case):
    call, words = BAD[case]
    with pytest.raises(UserError) as error:
        call()
    assert words in str(error.value)


def test_what_counts_as_seeds_and_options():
    assert _as_tuple(np.int64(3)) == (3,) and _as_tuple(np.arange(2)) == (0, 1)
    assert _as_tuple(5) == (5,) and _as_tuple(range(3)) == (0, 1, 2)
    assert make_task("game/penalty", k=-25).spec.name == make_task("game/penalty:k=-25").spec.name
    name = make_task("smac/3m", obs_last_action=True, step_mul=4).spec.name
    assert name == make_task("smac/3m:step_mul=4,obs_last_action=true").spec.name


def test_only_policies_with_a_critic_mind_the_states_size():
    small, large = (make_task(f"smac/3m{more}") for more in ("", ":state_timestep_number=true"))
    assert large.spec.state_size == small.spec.state_size + 1

    def policy(name, **algo) -> Policy:
        import jax

        from lica_jax.algorithms import make_algorithm

        config: TrainConfig = load_config(name, "smac/3m", algo=algo)
        built = make_algorithm(name, small.spec, config.algo)
        params = jax.eval_shape(lambda key: built.policy(built.init(key)), jax.random.key(0))
        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), params)
        return Policy.of(config, small.spec, zeros, seed=0)

    check_state(policy("qmix"), large)
    recurrent = policy("mappo", critic="gru")
    check_state(recurrent, small)
    with pytest.raises(UserError, match=r"state_size 48\), which its critic takes"):
        check_state(recurrent, large)
