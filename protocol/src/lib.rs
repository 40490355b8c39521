//! fanwire-protocol
