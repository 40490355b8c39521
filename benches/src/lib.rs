//! fanwire-benches
