"""Is synthetic data useful? A small classifier, trained with and without it, judged on real patients only."""
