//! A permit to have one booking's tickets printed: made by whoever mails them, checked by the gateway. Both know one secret, which is never sent.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// What it is a permit for, so that it is good for nothing else.
const PURPOSE: &[u8] = b"sagaline tickets.pdf ";

/// The permit for a booking's tickets.
pub fn permit(secret: &str, booking: Uuid) -> String {
    hex::encode(mac(secret, booking).finalize().into_bytes())
}

/// Whether this is the permit; takes as long whatever is wrong with it.
pub fn is_permit(secret: &str, booking: Uuid, text: &str) -> bool {
    hex::decode(text).is_ok_and(|given| mac(secret, booking).verify_slice(&given).is_ok())
}

fn mac(secret: &str, booking: Uuid) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    mac.update(PURPOSE);
    mac.update(booking.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_good_for_one_booking_and_one_secret() {
        let [one, other] = [1, 2].map(Uuid::from_u128);
        let given = permit("secret", one);
        assert!(is_permit("secret", one, &given));
        assert!(!is_permit("secret", other, &given));
        assert!(!is_permit("another", one, &given));
        for changed in ["", "zz", &given[2..], &given.replace(&given[..1], "g")] {
            assert!(!is_permit("secret", one, changed), "{changed}");
        }
    }
}
