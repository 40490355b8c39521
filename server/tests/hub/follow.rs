//! What concerns several shards: one order for all, patterns, coming and going.
