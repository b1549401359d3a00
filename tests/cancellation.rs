//! An event is called off, through every real process, while the payment provider turns three in ten refunds away and processes are killed:
//! `bench cancellation` at a size for a test, which audits the provider's own ledger.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_buyer_of_an_event_that_is_called_off_is_refunded_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_sagaline"))
        .args([
            "--output",
            "jsonl",
            "bench",
            "cancellation",
            "--bookings",
            "300",
            "--rate-limited",
            "0.3",
            "--kill",
        ])
        .args(["--broker", "in-process"])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    let report: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&report["refunded_once"], &report["refunded_twice"]),
        (&300.into(), &0.into()),
        "{report}"
    );
    assert!(report["turned_away"].as_i64().unwrap() > 0, "{report}");
}
