//! Times as organisers type them: by the clock of the place, without an offset. Pure.

use chrono::{DateTime, LocalResult, NaiveDateTime, SecondsFormat, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;

/// How browsers send a date and a time.
const TYPED: [&str; 4] = [
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S",
    // Those that have no field for it leave it to people.
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%S%.f",
];

/// The instant that is meant; of the two of an hour that comes twice, the first.
pub fn instant(typed: &str, zone: Tz) -> Result<String, &'static str> {
    let mut forms = TYPED.iter();
    let local = forms.find_map(|form| NaiveDateTime::parse_from_str(typed, form).ok());
    let local = local.ok_or("must be a date and a time such as 2031-06-12 20:00")?;
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => {
            Ok(at.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true))
        }
        LocalResult::None => Err("is a time that the clocks leave out there: they are put forward then"),
    }
}

/// An instant as a field for a date and a time has it.
pub fn typed(instant: &str, zone: Tz) -> String {
    let Ok(at) = DateTime::parse_from_rfc3339(instant) else {
        return String::new();
    };
    let at = at.with_timezone(&zone);
    let form = match at.second() {
        0 => "%Y-%m-%dT%H:%M",
        _ => "%Y-%m-%dT%H:%M:%S",
    };
    at.format(form).to_string()
}

/// An instant with the offset of the place.
pub fn there(instant: &str, zone: &str) -> String {
    let at = DateTime::parse_from_rfc3339(instant).map(|at| at.to_utc());
    match (at, zone.parse::<Tz>()) {
        (Ok(at), Ok(zone)) => at.with_timezone(&zone).to_rfc3339(),
        _unreadable => instant.to_owned(),
    }
}

/// So many minutes, or days, ago.
pub fn ago(now: DateTime<Utc>, span: chrono::Duration) -> String {
    (now - span).to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_the_place_are_meant() {
        let berlin = chrono_tz::Europe::Berlin;
        assert_eq!(
            instant("2031-06-12T20:00", berlin).as_deref(),
            Ok("2031-06-12T18:00:00Z")
        );
        assert_eq!(typed("2031-06-12T18:00:00Z", berlin), "2031-06-12T20:00");
        assert_eq!(typed("2031-06-12T18:00:30.000Z", berlin), "2031-06-12T20:00:30");
        assert_eq!(
            there("2031-06-12T18:00:00Z", "Europe/Berlin"),
            "2031-06-12T20:00:00+02:00"
        );
        // The night in which an hour is missing, and the one in which it comes twice.
        assert!(instant("2027-03-28T02:30", berlin).is_err());
        assert_eq!(
            instant("2027-10-31T02:30", berlin).as_deref(),
            Ok("2027-10-31T00:30:00Z")
        );
        assert!(instant("soon", berlin).is_err());
        assert_eq!(
            (typed("soon", berlin), there("soon", "Moon")),
            (String::new(), "soon".to_owned())
        );
    }
}
