"""How the embedded models are made from that text."""
