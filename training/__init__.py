"""Train Qwen-Audio's multi-task framework on audio that the project synthesises, or on a user's own."""
