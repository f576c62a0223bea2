"""What rows prove: intervals, paired tests, break-even, sensitivity, advice."""
