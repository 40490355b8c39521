//! fanwire-server
