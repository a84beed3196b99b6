"""The pure core: every cell of the table, the two policies, and random lives."""
