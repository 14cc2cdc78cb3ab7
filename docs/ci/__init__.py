"""What `embedgate init` writes for the CI of another repository, installed as `embedgate.ci`; see docs/ci.md."""
