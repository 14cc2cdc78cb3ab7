"""What was approved: `<hardware-profile>/<model>.json`, `tolerances.toml` and `expected_failures.toml`."""
