"""The functional core: the life of a job, its deadlines, who may be next. Standard library only; no I/O, no clock."""
