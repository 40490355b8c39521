//! The scripts: what each scripted server does with what it hears.

pub mod arrivals;
pub mod delays;
pub mod faults;
pub mod hub;
pub mod parrot;
