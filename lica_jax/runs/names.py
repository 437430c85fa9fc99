"""The files of a run directory by name; reading them needs no JAX."""

CONFIG, RUNS, COMMANDS, LOCK = "config.json", "runs.json", "command.txt", ".lock"
METRICS, EVALS, RESULT = "metrics.jsonl", "eval.jsonl", "result.json"
POLICY, CHECKPOINTS, REPLAYS = "policy.safetensors", "checkpoints", "replays"
VERSIONS = "versions.json"
