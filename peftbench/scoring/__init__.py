"""Answer choices to log-probabilities and their ranking: the one place where both ways of learning are scored."""
