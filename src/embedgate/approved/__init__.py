"""What people have approved and decided: baselines, tolerances, expected failures, pinned examples."""
