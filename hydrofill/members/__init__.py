"""Draw members: fields that are each possible where a gap was filled, with errors as they were on hidden cells."""
