"""The two ways in which a comparison can come short, kept apart on purpose."""


class Missing(Exception):
    """A contender cannot be built or started on this machine. Says why and what would cure it.

    The comparison goes on without it and reports it as missing."""


class RunFailed(Exception):
    """A contender that exists crashed, refused connections or returned wrong data.

    The comparison goes on, and ends with a non-zero exit status."""
