"""People's approvals and decisions: baselines, tolerances, expected failures, pinned examples."""
