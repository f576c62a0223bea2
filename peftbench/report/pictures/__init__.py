"""A report as figures: the page, SVG, PNG."""
