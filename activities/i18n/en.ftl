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
