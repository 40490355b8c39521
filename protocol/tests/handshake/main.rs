//! Opening handshakes of both roles: every request gets its exact status, every answer is complete and
//! says nothing unlawful, and every response gets its exact verdict.

mod answers;
mod corpus;
mod requests;
mod responses;
