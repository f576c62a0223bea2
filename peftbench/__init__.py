"""peftbench: in-context learning or parameter-efficient fine-tuning, what each costs and how accurate it is."""

__version__ = "0.1.0"
