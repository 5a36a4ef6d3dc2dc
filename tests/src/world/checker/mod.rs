//! What must hold after every step, whatever the network does.
//!
//! ```text
//!   books      every frame ends exactly once, nothing leaks, every bound holds, counters only grow
//!   sent       every frame that leaves is one that the RFCs allow us to send
//!   answers    every answer answers a question that came, and only once
//!   flows      every TCP segment that leaves goes with those before it
//!   events     what an application hears of a connection makes sense, and ends once
//! ```
//! That questions are answered at all is for the peers to say, when the faults are over.

mod answers;
mod books;
mod events;
mod flows;
pub mod sent;

pub use answers::Answers;
pub use books::Books;
pub use events::Watched;
pub use flows::Flows;
