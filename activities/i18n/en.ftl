# What buyers are told, in English. Variables are listed in activities/src/notifications/content.rs; an unknown one is found at start.

booking-confirmed =
    .subject = Your tickets for { $event }
    .lead = Your booking is confirmed. Keep this number:
    .short = Confirmed: { $seatCount ->
        [one] one seat
       *[other] { $seatCount } seats
    } for { $event }, { $date }. Your number: { $number }

booking-cancelled =
    .subject = Your booking for { $event } was cancelled
    .lead = { $seatCount ->
        [one] The seat { $seats } is
       *[other] The seats { $seats } are
    } free again. Whatever was charged for { $seatCount ->
        [one] it
       *[other] them
    } ({ $total }) is returned to you.
    .short = Cancelled: { $event }, { $date }. { $total } is returned to you.

event-cancelled =
    .subject = { $event } does not take place
    .lead = The event was called off. What you paid for { $seatCount ->
        [one] the seat { $seats }
       *[other] the seats { $seats }
    } ({ $total }) is returned to you; you need not do anything. Depending on your bank it takes five to ten days until you see it.
    .short = { $event } on { $date } was called off. { $total } is returned to you.

cancellation-finished =
    .subject = { $event } is called off
    .lead = { $bookings ->
        [one] One booking was
       *[other] { $bookings } bookings were
    } settled: every buyer has their money back.
    .short = { $event } is called off: { $bookings ->
        [one] one booking
       *[other] { $bookings } bookings
    } settled.

alert-raised =
    .subject = Alert: { $alert }
    .lead = { $metric } is { $value }, above { $threshold }.
    .short = Alert { $alert }: { $metric } is { $value }, above { $threshold }.

alert-ended =
    .subject = Over: { $alert }
    .lead = { $metric } is { $value }, below { $threshold }.
    .short = { $alert } is over: { $metric } is { $value }, below { $threshold }.

workers-scaled =
    .subject = Workers: { $workers }
    .lead = From now on there are to be { $workers }.
    .short = Workers from now on: { $workers }.

# Mails about accounts: activities/src/accounts/message.rs. $hours is how long the link is good. None has the name: whoever
# registers with somebody else's address would choose what its owner reads.

account-confirmation =
    .subject = Confirm your address
    .greeting = Hello,
    .lead = please confirm that this is your address:
    .footer = { $hours ->
        [one] The link is good once, for an hour.
       *[other] The link is good once, for { $hours } hours.
    } If you didn't register, you need not do anything.

account-password-reset =
    .subject = A new password
    .greeting = Hello,
    .lead = somebody, most likely you, has forgotten the password of your account. Set a new one here:
    .footer = { $hours ->
        [one] The link is good once, for an hour.
       *[other] The link is good once, for { $hours } hours.
    } If it wasn't you, you need not do anything: your password stays as it is.

account-password-changed =
    .subject = Your password was changed
    .greeting = Hello,
    .lead = the password of your account was changed, and you were logged out everywhere else.
    .footer = If it wasn't you, set another one at once: “forgotten password” sends you a link.

account-email-change =
    .subject = Confirm your new address
    .greeting = Hello,
    .lead = please confirm that this is to be the address of your account:
    .footer = { $hours ->
        [one] The link is good once, for an hour.
       *[other] The link is good once, for { $hours } hours.
    } If you didn't ask for it, you need not do anything.

account-email-changed =
    .subject = The address of your account was changed
    .greeting = Hello,
    .lead = your account has another address now. This one is not its address any more.
    .footer = If it wasn't you, tell us at once.

label-event = Event
label-venue = Venue
label-date = Date
label-seats = Seats
label-total = Total
footer = Booking { $booking }

# $weekday: 1 (Monday) to 7. $offset: as in +02:00.
date = { $weekday ->
    [1] Monday
    [2] Tuesday
    [3] Wednesday
    [4] Thursday
    [5] Friday
    [6] Saturday
   *[7] Sunday
}, { $day } { $month ->
    [1] January
    [2] February
    [3] March
    [4] April
    [5] May
    [6] June
    [7] July
    [8] August
    [9] September
    [10] October
    [11] November
   *[12] December
} { $year }, { $time } (UTC{ $offset })
amount = { $currency } { $whole }.{ $hundredths }
amount-whole = { $currency } { $whole }
