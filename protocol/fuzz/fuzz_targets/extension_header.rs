//! Any bytes as the value of Sec-WebSocket-Extensions, in a request and in a response.

#![no_main]

#[path = "../src/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::extension_header(data));
