//! Outside programs that some tests need.

/// Whether `program` is on PATH. Where it isn't, says that the test is skipped; under `CI=true` that is a failure.
///
/// ```
/// if !testkit::require("sh") {
///     return;
/// }
/// ```
pub fn require(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(
            !ci,
            "{program} is not installed, and under CI=true no test may be skipped"
        );
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_there_is_found() {
        assert!(super::require("sh"));
    }
}
