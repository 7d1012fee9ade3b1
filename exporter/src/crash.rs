//! Places between two steps of a job at which a test can have the process end as `kill -9` would.
//! They do nothing but with the feature `failpoints`, which only test builds have: there the variable
//! `FAILPOINTS` names them, such as `FAILPOINTS=put=return` (see the `fail` crate).

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("the feature failpoints is for tests: no release may have it");

/// A place that has just been reached.
#[cfg(feature = "failpoints")]
pub fn point(name: &'static str) {
    fail::fail_point!(name, |_| {
        tracing::error!(name, "ending here, as a test asked for");
        std::process::abort()
    });
}

/// A place that has just been reached.
#[cfg(not(feature = "failpoints"))]
pub fn point(_name: &'static str) {}

/// Reads which places are asked for; they are, as long as this is held.
#[cfg(feature = "failpoints")]
pub fn asked_for() -> fail::FailScenario<'static> {
    fail::FailScenario::setup()
}
