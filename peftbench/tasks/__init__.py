"""Tasks: data, templates and shots. No torch here."""
