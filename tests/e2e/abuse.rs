//! Too much, too often, too slow, and what is meant to lead astray: refused, and others do not notice.

mod answers;
mod connections;
mod heads;
mod hosts;
mod http2;
mod overload;
mod rates;
mod raw;
