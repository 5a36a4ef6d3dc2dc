//! TCP (RFC 9293), one worker's engine.
#![allow(dead_code)] // parts arrive one by one

mod assembler;
mod seq;
mod stamp;
mod table;
mod wheel;

pub use seq::Seq;
