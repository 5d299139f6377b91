//! Numbers as Romans wrote them.

/// `number` in Roman numerals.
pub fn to_roman(mut number: u32) -> String {
    let mut text = String::new();
    for (value, letters) in NUMERALS {
        while number >= *value {
            text.push_str(letters);
            number -= value;
        }
    }
    text
}

const NUMERALS: &[(u32, &str)] = &[
    (1000, "M"),
    (500, "D"),
    (100, "C"),
    (50, "L"),
    (10, "X"),
    (5, "V"),
    (1, "I"),
];
