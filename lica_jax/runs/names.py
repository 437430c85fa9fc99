"""The files of a run directory by name; reading them needs no JAX."""

CONFIG, RUNS, COMMANDS, LOCK = "config.json", "runs.json", "command.txt", ".lock"
METRICS, EVALS, RESULT = "metrics.jsonl", "eval.jsonl", "result.json"
POLICY, POLICY_LAST = "policy.safetensors", "policy_last.safetensors"
CRITIC = "critic.safetensors"
CHECKPOINTS, REPLAYS, LOGS = "checkpoints", "replays", "logs"
VERSIONS = "versions.json"
