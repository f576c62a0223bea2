"""Methods: one file each, under the protocol in base.py."""
