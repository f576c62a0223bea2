"""Records to rows: what each row of a table is, as facts."""
