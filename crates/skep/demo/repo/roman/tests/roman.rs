use roman::to_roman;

#[test]
fn letters_add_up() {
    assert_eq!(to_roman(2023), "MMXXIII");
}

#[test]
fn a_smaller_letter_in_front_is_taken_away() {
    assert_eq!(to_roman(4), "IV");
    assert_eq!(to_roman(1994), "MCMXCIV");
}
