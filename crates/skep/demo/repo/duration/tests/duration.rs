use duration::parse;

#[test]
fn minutes_and_seconds_add_up() {
    assert_eq!(parse("2m30s"), Some(150));
}

#[test]
fn an_hour_has_sixty_minutes() {
    assert_eq!(parse("1h30m"), Some(5_400));
}

#[test]
fn nothing_is_not_a_duration() {
    assert_eq!(parse(""), None);
}

#[test]
fn an_unknown_unit_is_refused() {
    assert_eq!(parse("3w"), None);
}
