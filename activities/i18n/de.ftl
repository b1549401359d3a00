# Was Käufer lesen, auf Deutsch. Dieselben Nachrichten wie in en.ftl; eine Prüfung beim Start vergleicht sie.

booking-confirmed =
    .subject = Ihre Karten für { $event }
    .lead = Ihre Buchung ist bestätigt. Bitte bewahren Sie diese Nummer auf:
    .short = Bestätigt: { $seatCount ->
        [one] ein Platz
       *[other] { $seatCount } Plätze
    } für { $event }, { $date }. Ihre Nummer: { $number }

booking-cancelled =
    .subject = Ihre Buchung für { $event } wurde storniert
    .lead = { $seatCount ->
        [one] Der Platz { $seats } ist
       *[other] Die Plätze { $seats } sind
    } wieder frei. Was dafür abgebucht wurde ({ $total }), erhalten Sie zurück.
    .short = Storniert: { $event }, { $date }. { $total } erhalten Sie zurück.

event-cancelled =
    .subject = { $event } findet nicht statt
    .lead = Die Veranstaltung wurde abgesagt. Was Sie für { $seatCount ->
        [one] den Platz { $seats }
       *[other] die Plätze { $seats }
    } bezahlt haben ({ $total }), erhalten Sie zurück; Sie müssen nichts tun. Je nach Bank dauert es fünf bis zehn Tage, bis Sie es sehen.
    .short = { $event } am { $date } wurde abgesagt. { $total } erhalten Sie zurück.

cancellation-finished =
    .subject = { $event } ist abgesagt
    .lead = { $bookings ->
        [one] Eine Buchung wurde
       *[other] { $bookings } Buchungen wurden
    } abgewickelt: Alle haben ihr Geld zurück.
    .short = { $event } ist abgesagt: { $bookings ->
        [one] eine Buchung
       *[other] { $bookings } Buchungen
    } abgewickelt.

alert-raised =
    .subject = Alarm: { $alert }
    .lead = { $metric } ist { $value }, über { $threshold }.
    .short = Alarm { $alert }: { $metric } ist { $value }, über { $threshold }.

alert-ended =
    .subject = Vorbei: { $alert }
    .lead = { $metric } ist { $value }, unter { $threshold }.
    .short = { $alert } ist vorbei: { $metric } ist { $value }, unter { $threshold }.

workers-scaled =
    .subject = Arbeitsprozesse: { $workers }
    .lead = Von nun an sollen es { $workers } sein.
    .short = Arbeitsprozesse von nun an: { $workers }.

# Mails zum Konto: activities/src/accounts/message.rs. $hours: wie lange der Link gilt. Ohne Namen: Wer sich mit einer fremden
# Adresse registriert, würde sonst bestimmen, was dort gelesen wird.

account-confirmation =
    .subject = Bitte bestätigen Sie Ihre Adresse
    .greeting = Guten Tag,
    .lead = bitte bestätigen Sie, dass dies Ihre Adresse ist:
    .footer = { $hours ->
        [one] Der Link gilt einmal, eine Stunde lang.
       *[other] Der Link gilt einmal, { $hours } Stunden lang.
    } Wenn Sie sich nicht registriert haben, müssen Sie nichts tun.

account-password-reset =
    .subject = Ein neues Passwort
    .greeting = Guten Tag,
    .lead = jemand, wahrscheinlich Sie, hat das Passwort Ihres Kontos vergessen. Hier setzen Sie ein neues:
    .footer = { $hours ->
        [one] Der Link gilt einmal, eine Stunde lang.
       *[other] Der Link gilt einmal, { $hours } Stunden lang.
    } Wenn Sie es nicht waren, müssen Sie nichts tun: Ihr Passwort bleibt, wie es ist.

account-password-changed =
    .subject = Ihr Passwort wurde geändert
    .greeting = Guten Tag,
    .lead = das Passwort Ihres Kontos wurde geändert, und Sie wurden überall sonst abgemeldet.
    .footer = Wenn Sie es nicht waren, setzen Sie gleich ein anderes: „Passwort vergessen“ schickt Ihnen einen Link.

account-email-change =
    .subject = Bitte bestätigen Sie Ihre neue Adresse
    .greeting = Guten Tag,
    .lead = bitte bestätigen Sie, dass dies die Adresse Ihres Kontos werden soll:
    .footer = { $hours ->
        [one] Der Link gilt einmal, eine Stunde lang.
       *[other] Der Link gilt einmal, { $hours } Stunden lang.
    } Wenn Sie das nicht wollten, müssen Sie nichts tun.

account-email-changed =
    .subject = Die Adresse Ihres Kontos wurde geändert
    .greeting = Guten Tag,
    .lead = Ihr Konto hat jetzt eine andere Adresse. Diese hier gehört nicht mehr dazu.
    .footer = Wenn Sie es nicht waren, sagen Sie uns gleich Bescheid.

label-event = Veranstaltung
label-venue = Ort
label-date = Datum
label-seats = Plätze
label-total = Summe
footer = Buchung { $booking }

date = { $weekday ->
    [1] Montag
    [2] Dienstag
    [3] Mittwoch
    [4] Donnerstag
    [5] Freitag
    [6] Samstag
   *[7] Sonntag
}, { $day }. { $month ->
    [1] Januar
    [2] Februar
    [3] März
    [4] April
    [5] Mai
    [6] Juni
    [7] Juli
    [8] August
    [9] September
    [10] Oktober
    [11] November
   *[12] Dezember
} { $year }, { $time } Uhr (UTC{ $offset })
amount = { $whole },{ $hundredths } { $currency }
amount-whole = { $whole } { $currency }
