"""What `scripts/bench` measures; `docs/operators/performance.md` has the tables."""
