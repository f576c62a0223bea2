"""RAFT: eleven tasks with 50 labelled rows each, scored by the mean of their macro F1.

A submission has for each task TASK/predictions.csv with the columns ID and Label: each test row once, by the name of
its class. IDs of test rows follow those of the 50 labelled ones. Labels of test rows are nobody's to see, and there is
no validation set: whoever looks at a score and submits again has chosen on the test rows.

Paper: 2109.14076.
"""

from peftbench.tasks.leaderboards.base import Leaderboard

PAPER = "2109.14076"

NUM_ROWS = {
    "ade_corpus_v2": 5000,
    "banking_77": 5000,
    "neurips_impact_statement_risks": 150,
    "one_stop_english": 516,
    "overruling": 2350,
    "semiconductor_org_types": 449,
    "systematic_review_inclusion": 2243,
    "tai_safety_research": 1639,
    "terms_of_service": 5000,
    "tweet_eval_hate": 2966,
    "twitter_complaints": 3399,
}
"""As published; a copy from before has 518 rows of one_stop_english and 2,244 of systematic_review_inclusion."""

LEADERBOARD = Leaderboard("raft", "predictions.csv", "ID", "Label", NUM_ROWS)
