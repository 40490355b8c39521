//! fanwire-loadgen
