"""What was learned, on disk and in batches; adapters of other programs come in here and leave from here."""
