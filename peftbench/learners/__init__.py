"""The two ways to learn, in-context and by tuning; both end in a Predictor."""
