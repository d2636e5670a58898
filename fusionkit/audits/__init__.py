"""What the tables do not show by themselves: each module backs one notebook of ``notebooks/audits``."""
