//! Tables: each row whole, byte by byte and cut at each place must give the same.

mod attacks;
mod rules;

use super::driver;
