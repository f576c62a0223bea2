"""Records -> tables. No torch here."""
