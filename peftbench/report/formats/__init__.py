"""A report as text: terminal, CSV, JSON, HTML fields, Markdown, LaTeX."""
