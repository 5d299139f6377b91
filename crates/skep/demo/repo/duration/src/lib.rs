//! Durations as people write them: `1h30m`, `45s`, `2d`.

/// The number of seconds in `text`, or `None` when it is not a duration.
pub fn parse(text: &str) -> Option<u64> {
    let mut seconds = 0;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let amount: u64 = number.parse().ok()?;
        number.clear();
        seconds += amount * unit(c)?;
    }
    number.is_empty().then_some(seconds)
}

fn unit(letter: char) -> Option<u64> {
    match letter {
        'd' => Some(86_400),
        'h' => Some(60),
        'm' => Some(60),
        's' => Some(1),
        _ => None,
    }
}
