//! Placeholder for the build.
