"""Templates in other projects' files: promptsource's and lm-evaluation-harness's YAML."""
