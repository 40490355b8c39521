//! fanwire-reactor
