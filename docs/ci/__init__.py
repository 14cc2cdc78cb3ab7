"""What `embedgate init` writes into another repository for its CI, and docs/ci.md explains; installed as `embedgate.ci`."""
